"""Pictures of a panel as it looks in Slicer, and which of its texts do not fit.

>>> picture.save(panel, "panel.png", width=400)
[]
"""

from __future__ import annotations

from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from harness.ctk_widgets import ctkCollapsibleButton
from harness.mrml_widgets import qMRMLNodeComboBox

SLACK = 1  # pixels by which a text may be wider than its place, as rounding makes it


def save(panel, path, width: int = 400) -> list[str]:
    """Lay the widget out at this width and as high as it needs, write it as PNG, and return its ``cut_texts``.

    ``panel``: a widget, or an object with one in ``widget`` (a section) or ``parent`` (a module's widget object).
    """
    widget = _widget_of(panel)
    lay_out(widget, width)
    image = widget.grab()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not image.save(str(path), "PNG"):
        raise OSError(f"The picture could not be written to {path}.")
    grown = _width(widget)
    wider = [f"{_name(widget)} needs a width of {grown}, more than {width}"] if grown > width + SLACK else []
    return wider + cut_texts(widget)


def lay_out(widget, width: int) -> None:
    """Show the widget with this width; its height is what it needs then."""
    widget = _widget_of(widget)
    if widget.parentWidget() is None:
        widget.setAttribute(QtCore.Qt.WA_DontShowOnScreen, True)
        widget.show()
    for _ in range(3):  # a label that wraps is as high as its width makes it, which its parents learn in turn
        _settle()
        layout = widget.layout()
        needed = layout.totalHeightForWidth(width) if layout is not None and layout.hasHeightForWidth() else -1
        widget.resize(
            width, max(needed, widget.minimumSizeHint().height(), widget.sizeHint().height() if needed < 0 else 0)
        )
    _settle()


def _settle():
    for _ in range(3):
        QtWidgets.QApplication.sendPostedEvents(None, 0)
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ExcludeUserInputEvents)


def _widget_of(panel):
    if isinstance(panel, QtWidgets.QWidget):
        return panel
    return panel.widget if hasattr(panel, "widget") else panel.parent


def cut_texts(panel) -> list[str]:
    """One line for every visible widget whose text, or whose self, does not fit where it is.

    The choice shown in a node selector may be long and is not counted; Slicer shortens it in the middle.
    """
    widget = _widget_of(panel)
    found = []
    needed = widget.minimumSizeHint().width()
    if needed > _width(widget) + SLACK:
        found.append(f"{_name(widget)} needs a width of {needed} and has {_width(widget)}")
    for child in widget.findChildren(QtWidgets.QWidget):
        if child.isVisible() and not _is_inside_a_selector(child):
            found += _complaints(child)
    return found


def _is_inside_a_selector(widget) -> bool:
    while widget is not None:
        if isinstance(widget, qMRMLNodeComboBox):
            return True
        widget = widget.parentWidget()
    return False


def _complaints(widget) -> list[str]:
    needed, room = _text_size(widget)
    text = _shown_text(widget)
    found = []
    if needed is not None and (needed.width() > room.width() + SLACK or needed.height() > room.height() + SLACK):
        place = f"{room.width()} x {room.height()}"
        found.append(f"{_name(widget)}: {text!r} needs {needed.width()} x {needed.height()} and has {place}")
    if isinstance(widget, QtWidgets.QHeaderView) and widget.orientation() == QtCore.Qt.Horizontal:
        found += _cut_headers(widget)
    parent = widget.parentWidget()
    is_scrolled = parent is not None and isinstance(parent.parentWidget(), QtWidgets.QAbstractScrollArea)
    if text and parent is not None and not is_scrolled and not parent.rect.contains(widget.geometry):
        found.append(f"{_name(widget)}: {text!r} goes beyond the edge of {_name(parent)}")
    return found


def _cut_headers(header) -> list[str]:
    model, found = header.model(), []
    for section in range(header.count()):
        text = model.headerData(section, QtCore.Qt.Horizontal) if model is not None else None
        needed = header.sectionSizeFromContents(section).width() if text else 0
        if text and not header.isSectionHidden(section) and needed > header.sectionSize(section) + SLACK:
            found.append(f"{_name(header)}: {text!r} needs {needed} and has {header.sectionSize(section)}")
    return found


def _shown_text(widget) -> str:
    if isinstance(widget, QtWidgets.QComboBox):
        return widget.currentText
    if isinstance(widget, QtWidgets.QGroupBox):
        return widget.title
    if isinstance(widget, (QtWidgets.QLabel, QtWidgets.QAbstractButton)):
        return widget.text
    return ""


def _text_size(widget):
    """What the text needs and the room it has; None where there is no text."""
    text = _shown_text(widget)
    if not text:
        return None, None
    if isinstance(widget, QtWidgets.QLabel):
        return _label_size(widget), widget.size
    plain = widget.fontMetrics().size(QtCore.Qt.TextShowMnemonic, text)
    icon = (
        widget.iconSize.width() + 4 if isinstance(widget, QtWidgets.QAbstractButton) and not widget.icon.isNull() else 0
    )
    needed = QtCore.QSize(plain.width() + icon, plain.height())
    return needed, _room(widget)


def _label_size(label) -> QtCore.QSize:
    if label.wordWrap:
        width = _width(label)
        longest = max((label.fontMetrics().horizontalAdvance(word) for word in _words(label)), default=0)
        return QtCore.QSize(min(longest, width + longest), label.heightForWidth(width))
    return label.sizeHint()


def _words(label) -> list[str]:
    text = label.text
    if "</" in text or "<br" in text:
        document = QtGui.QTextDocument()
        document.setHtml(text)
        text = document.toPlainText()
    return text.replace("/", "/ ").replace("-", "- ").split()


def _room(widget) -> QtCore.QSize:
    """Where the style writes the text of a button, check box, combo box or group box."""
    style = widget.style()
    if isinstance(widget, ctkCollapsibleButton):
        return QtCore.QSize(_width(widget) - 26, widget.size.height())
    if isinstance(widget, QtWidgets.QComboBox):
        option = QtWidgets.QStyleOptionComboBox()
        widget.initStyleOption(option)
        place = QtWidgets.QStyle.SC_ComboBoxEditField
        return style.subControlRect(QtWidgets.QStyle.CC_ComboBox, option, place, widget).size()
    if isinstance(widget, (QtWidgets.QCheckBox, QtWidgets.QRadioButton)):
        option = QtWidgets.QStyleOptionButton()
        widget.initStyleOption(option)
        is_box = isinstance(widget, QtWidgets.QCheckBox)
        place = QtWidgets.QStyle.SE_CheckBoxContents if is_box else QtWidgets.QStyle.SE_RadioButtonContents
        return style.subElementRect(place, option, widget).size()
    if isinstance(widget, QtWidgets.QToolButton):
        return QtCore.QSize(_width(widget) - 4, widget.size.height())
    return QtCore.QSize(_width(widget) - 6, widget.size.height())


def _width(widget) -> int:
    return widget.size.width()


def _name(widget) -> str:
    return widget.property("objectName") or type(widget).__name__
