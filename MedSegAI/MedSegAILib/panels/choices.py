"""Combo boxes whose entries are translated, each with a tool tip, for values that are not."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _


def fillChoices(comboBox, choices):
    """``choices``: (value, text, tool tip) of each entry."""
    blocked = comboBox.blockSignals(True)
    comboBox.clear()
    for number, (value, text, tip) in enumerate(choices):
        comboBox.addItem(text, value)
        comboBox.setItemData(number, tip, qt.Qt.ToolTipRole)
    comboBox.blockSignals(blocked)
    comboBox.toolTip = "\n".join(f"{text}: {tip}" for _value, text, tip in choices)


def choose(comboBox, value):
    """Show a value without telling anybody; nothing is shown if there is no such entry."""
    blocked = comboBox.blockSignals(True)
    comboBox.setCurrentIndex(comboBox.findData(value))
    comboBox.blockSignals(blocked)


def chosen(comboBox):
    """The value that is shown, or None."""
    return comboBox.itemData(comboBox.currentIndex) if comboBox.currentIndex >= 0 else None


def qualities():
    return [
        ("fast", _("Fast"), _("tiles overlap by a quarter; a third of the time, less exact where tiles meet.")),
        ("standard", _("Standard"), _("tiles overlap by half; the same result as Best but for a few voxels.")),
        (
            "best",
            _("Best"),
            _("as nnU-Net does it: full precision, and mirrored copies where the model was trained for it; slow."),
        ),
    ]


def registrations():
    return [
        ("none", _("None"), _("the volumes are taken where they are.")),
        ("rigid", _("Rigid"), _("the others are shifted and turned onto the first one; seconds per volume.")),
        ("affine", _("Affine"), _("they are also scaled and sheared.")),
    ]


def devices(automatic: str | None):
    """``automatic``: what is taken if nothing is chosen, once it is known."""
    text = _("Automatic: {device}").format(device=automatic) if automatic else _("Automatic")
    return [
        ("auto", text, _("a graphics card if PyTorch can use one, else the processor.")),
        ("cuda", _("Graphics card (CUDA)"), _("an NVIDIA card; many times faster than the processor.")),
        ("mps", _("Apple graphics (MPS)"), _("the graphics of an Apple computer.")),
        ("cpu", _("Processor (CPU)"), _("works everywhere; minutes for large volumes.")),
    ]
