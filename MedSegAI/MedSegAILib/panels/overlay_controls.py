"""The map that lies over the image in the slice views: uncertainty, or the probability of a segment."""

from __future__ import annotations

from slicer.i18n import tr as _


class OverlayControls:
    """Keeps the choice in the parameter node, and the views as it says."""

    def __init__(self, ui, logic):
        self._ui, self._logic, self._parameterNode = ui, logic, None
        self._entries = None  # texts and IDs in the combo box
        self._shown = None  # ID of the map and opacity, as the views were told
        ui.overlayComboBox.currentIndexChanged.connect(self._onChosen)
        ui.overlaySlider.valueChanged.connect(self._onOpacity)

    def update(self, parameterNode):
        """List the maps of the chosen segmentation, and show the chosen one; the parameter node may be None."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            return
        maps = self._maps()
        chosen = parameterNode.overlayVolume
        if chosen is not None and chosen.GetID() not in [node.GetID() for _text, node in maps]:
            # It belongs to another segmentation, or to an earlier run.
            parameterNode.overlayVolume = chosen = None
        self._fill(maps, chosen)
        self._show(chosen)

    def closeScene(self):
        """Give the views their foreground back."""
        self._show(None)

    def _maps(self) -> list[tuple]:
        segmentation = self._parameterNode.resultSegmentation
        if segmentation is None:
            return []
        unsure = self._logic.uncertaintyNode(segmentation)
        maps = [(_("Uncertainty"), unsure)] if unsure is not None else []
        for node in self._logic.probabilityNodes(segmentation):
            name = node.GetName().removesuffix(" probability")  # as the run named it
            maps.append((_("Probability of {segment}").format(segment=name), node))
        return maps

    def _fill(self, maps, chosen):
        combo, slider = self._ui.overlayComboBox, self._ui.overlaySlider
        entries = [(_("None"), ""), *((text, node.GetID()) for text, node in maps)]
        combo.blockSignals(True)
        if entries != self._entries:  # not while somebody is choosing
            self._entries = entries
            combo.clear()
            for text, identifier in entries:
                combo.addItem(text, identifier)
        combo.setCurrentIndex(combo.findData(chosen.GetID() if chosen is not None else ""))
        combo.blockSignals(False)
        combo.enabled = bool(maps)
        combo.toolTip = self._explanation(maps)
        slider.blockSignals(True)
        slider.setValue(round(100 * self._parameterNode.overlayOpacity))
        slider.blockSignals(False)
        for widget in (self._ui.overlayOpacityLabel, slider):
            widget.visible = chosen is not None

    @staticmethod
    def _explanation(maps) -> str:
        if maps:
            return _("A map laid over the image in all slice views: where the model is unsure, or how sure it is.")
        return _(
            "There are no maps of this segmentation. To get them, tick Uncertainty or Probabilities under Advanced "
            "before you run the model."
        )

    def _onChosen(self, *_index):
        if self._parameterNode is None:
            return
        identifier = self._ui.overlayComboBox.itemData(self._ui.overlayComboBox.currentIndex)
        chosen = [node for _text, node in self._maps() if node.GetID() == identifier]
        self._parameterNode.overlayVolume = chosen[0] if chosen else None

    def _onOpacity(self, value):
        if self._parameterNode is not None:
            self._parameterNode.overlayOpacity = value / 100

    def _show(self, node):
        """Tell the views; those that were told the same before are left alone: the user may have changed them since."""
        wanted = (node.GetID(), self._parameterNode.overlayOpacity) if node is not None else None
        if wanted != self._shown:
            self._shown = wanted
            self._logic.showOverlay(node, *(wanted[1:] if wanted else ()))
        elif node is not None:
            self._logic.showOverlay(node, wanted[1], onlyNewViews=True)
