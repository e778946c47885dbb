"""The section that shows the result: its segments, where it came from, how it is displayed, and its export."""

from __future__ import annotations

import logging

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from MedSegAICore import mrml_display
from MedSegAICore.errors import MedSegAIError
from MedSegAICore.mrml_segments import segment_rows
from MedSegAICore.panels.section import Section
from MedSegAILib.panels.display_controls import DisplayControls
from MedSegAILib.panels.export_controls import ExportControls
from MedSegAILib.panels.overlay_controls import OverlayControls
from MedSegAILib.panels.provenance_text import provenanceText
from MedSegAILib.panels.segments_table import SegmentsTable

PAUSE_MS = 400  # without a stroke; then the volumes are counted again
SMALL = 0.9  # size of the text on the origin, of that of the panel


class ResultSection(Section):
    """Connects the widgets of Result.ui with the segmentation that the parameter node names, and follows its changes.

    Painting only starts a timer, so that it stays smooth: voxels are counted when the user pauses.
    """

    def __init__(self, path, logic):
        super().__init__(path, logic)
        ui = self.ui
        self._node, self._titles = None, {}
        self._table = SegmentsTable(ui.resultsTable, self._onVisible)
        self._display = DisplayControls(ui)
        self._overlay = OverlayControls(ui, logic)
        self._export = ExportControls(ui, logic)
        self._changed, self._edited = _timer(self._showChanges), _timer(self._showSizes)
        widest = ui.segmentationLabel
        ui.sliceViewsLabel.minimumWidth = widest.fontMetrics().horizontalAdvance(widest.text)  # to line up both forms
        _makeSmall(ui.provenanceLabel)
        _makeSmall(ui.warningsLabel)
        self._observe(None)

    def update(self):
        node = self.parameterNode.resultSegmentation if self.parameterNode is not None else None
        if node is not self._node:
            self._observe(node)
        self._showChanges()

    def closeScene(self):
        self._overlay.closeScene()

    def cleanup(self):
        self._observe(None)

    def _observe(self, node):
        """Follow this segmentation and no other; None follows nothing."""
        self._changed.stop()
        self._edited.stop()
        for observed in self._observed(self._node):
            self.removeObserver(*observed)
        self._node = node
        for observed in self._observed(node):
            self.addObserver(*observed)
        self.ui.partsWidget.visible = node is not None
        self._showSizes()

    def _observed(self, node) -> list[tuple]:
        """What is observed of a segmentation: subject, event and callback."""
        if node is None:
            return []
        segments = slicer.vtkSegmentation
        changed = (
            *(vtk.vtkCommand.ModifiedEvent, node.DisplayModifiedEvent, segments.SegmentModified),
            *(segments.SegmentsOrderModified, segments.ContainedRepresentationNamesModified),
        )
        edited = (segments.SegmentAdded, segments.SegmentRemoved, segments.SourceRepresentationModified)
        return [
            *((node, event, self._onChanged) for event in changed),
            *((node, event, self._onEdited) for event in edited),
            (slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._onChanged),  # it may be a map
            (slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self._onChanged),  # it may be a slice view
        ]

    def _onChanged(self, *_event):
        self._changed.start(0)

    def _onEdited(self, *_event):
        self._changed.start(0)
        self._edited.start(PAUSE_MS)  # again, if it is running: every stroke puts it off

    def _onVisible(self, segmentId, visible):
        if self._node is not None:
            mrml_display.set_segment_visible(self._node, segmentId, visible)

    def _showChanges(self):
        """Everything but what needs voxels."""
        if slicer.mrmlScene.IsImporting() or slicer.mrmlScene.IsClosing():
            return  # nodes have not found each other yet, or any more; the panel is told when it is over
        node = self._node
        rows = segment_rows(node) if node is not None else []
        if self._table.fill(rows):
            self._edited.start(0)
        self._display.update(node)
        self._overlay.update(self.parameterNode)
        self._export.update(node)
        self._showOrigin(rows)

    def _showOrigin(self, rows):
        node = self._node
        text = warnings = ""
        if node is not None:
            text = provenanceText(self.logic.provenance(node), rows, self._modelTitle)
            sentences = [_("Warning: {text}").format(text=warning) for warning in self.logic.warnings(node)]
            warnings = "\n".join(sentences)
        _setText(self.ui.provenanceLabel, text)
        _setText(self.ui.warningsLabel, warnings)

    def _modelTitle(self, identifier):
        if identifier not in self._titles:  # to look into the library takes a while
            self._titles[identifier] = self.logic.modelTitle(identifier)
        return self._titles[identifier]

    def _showSizes(self):
        """Count the voxels of all segments."""
        self._edited.stop()
        if self._node is None:
            self._table.fill([])
            _setText(self.ui.sizesLabel, _("Run a model, or choose a segmentation."))
            return
        try:
            sizes, problem = self.logic.segmentSizes(self._node), ""
        except MedSegAIError as error:
            logging.debug("No volumes of segments: %s", error)
            sizes, problem = {}, str(error)
        self._table.fill(segment_rows(self._node))
        self._table.setSizes(sizes)
        if not problem and not sizes:
            problem = _("There are no segments.")
        _setText(self.ui.sizesLabel, problem)


def _setText(label, text: str):
    label.text = text
    label.visible = bool(text)


def _makeSmall(label):
    font = label.font
    if font.pointSizeF() > 0:
        font.setPointSizeF(font.pointSizeF() * SMALL)
        label.setFont(font)


def _timer(function):
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(function)
    return timer
