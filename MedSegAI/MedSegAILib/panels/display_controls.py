"""How the segmentation is shown: outline or fill in slice views, opacity, surfaces in 3D views."""

from __future__ import annotations

from slicer.i18n import tr as _

from MedSegAICore import mrml_display
from MedSegAILib.panels.busy import busyCursor


class DisplayControls:
    """Connects the widgets with the display node of the segmentation, which keeps all of it."""

    def __init__(self, ui):
        self._ui, self._node = ui, None
        for style, text in (("both", _("Outline and fill")), ("outline", _("Outline")), ("fill", _("Fill"))):
            ui.sliceStyleComboBox.addItem(text, style)
        ui.sliceStyleComboBox.currentIndexChanged.connect(self._onStyle)
        ui.opacitySlider.valueChanged.connect(self._onOpacity)
        ui.surfacesCheckBox.clicked.connect(self._onSurfaces)

    def update(self, node):
        """Show how this segmentation is displayed; it may be None."""
        self._node = node
        if node is None:
            return
        ui = self._ui
        for widget in (ui.sliceStyleComboBox, ui.opacitySlider):
            widget.blockSignals(True)
        ui.sliceStyleComboBox.setCurrentIndex(ui.sliceStyleComboBox.findData(mrml_display.slice_style(node)))
        ui.opacitySlider.setValue(round(100 * mrml_display.opacity(node)))
        for widget in (ui.sliceStyleComboBox, ui.opacitySlider):
            widget.blockSignals(False)
        ui.surfacesCheckBox.checked = mrml_display.surfaces_shown(node)

    def _onStyle(self, *_index):
        style = self._ui.sliceStyleComboBox.itemData(self._ui.sliceStyleComboBox.currentIndex)
        if self._node is not None and style:
            mrml_display.set_slice_style(self._node, style)

    def _onOpacity(self, value):
        if self._node is not None:
            mrml_display.set_opacity(self._node, value / 100)

    def _onSurfaces(self, shown):
        if self._node is None:
            return
        with busyCursor():
            mrml_display.show_surfaces(self._node, shown)
        self.update(self._node)
