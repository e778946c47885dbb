"""Slicer's light and dark colors for screenshots: the style Fusion with the main colors of Slicer's two palettes."""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

# Role: light, dark.
_COLORS = {
    "Window": ("#ffffff", "#323232"),
    "WindowText": ("#000000", "#ffffff"),
    "Base": ("#ffffff", "#1e1e1e"),
    "AlternateBase": ("#e4e4fe", "#323232"),
    "ToolTipBase": ("#ffffdc", "#ffffff"),
    "ToolTipText": ("#000000", "#323232"),
    "PlaceholderText": ("#808080", "#c0c0c0"),
    "Text": ("#000000", "#ffffff"),
    "Button": ("#fcfcfc", "#323232"),
    "ButtonText": ("#000000", "#ffffff"),
    "BrightText": ("#ff0000", "#ff4444"),
    "Light": ("#c8c8c8", "#828284"),
    "Midlight": ("#e6e6e6", "#5a5a5b"),
    "Dark": ("#aaaaaa", "#232323"),
    "Mid": ("#c8c8c8", "#2b2b2b"),
    "Shadow": ("#5a5a5a", "#141414"),
    "Highlight": ("#308cc6", "#3ca4ff"),
    "HighlightedText": ("#ffffff", "#ffffff"),
    "Link": ("#0000ff", "#3ca4ff"),
}
_DISABLED = {
    "WindowText": ("#bebebe", "#6d6d6d"),
    "Text": ("#bebebe", "#6d6d6d"),
    "ButtonText": ("#bebebe", "#b4b4b4"),
    "Highlight": ("#919191", "#505050"),
}


def set_style(name: str):
    """Make the application look as in Slicer's style; ``name``: "light" or "dark"."""
    index = ("light", "dark").index(name)
    palette = QPalette()
    for role, colors in _COLORS.items():
        palette.setColor(getattr(QPalette, role), QColor(colors[index]))
    for role, colors in _DISABLED.items():
        palette.setColor(QPalette.Disabled, getattr(QPalette, role), QColor(colors[index]))
    QApplication.setStyle(QStyleFactory.create("Fusion"))
    QApplication.setPalette(palette)
