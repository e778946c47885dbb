"""The section that shows the result: the volumes of the segments."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from MedSegAICore.panels.section import Section
from MedSegAICore.text import format_volume


class ResultSection(Section):
    """Connects the widgets of Result.ui with the segmentation that the last run made."""

    def __init__(self, path, logic):
        super().__init__(path, logic)
        self.ui.resultsTable.setHorizontalHeaderLabels([_("Segment"), _("Volume")])
        self.ui.resultsTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self.update()

    def update(self):
        node = self.parameterNode.resultSegmentation if self.parameterNode is not None else None
        self.ui.resultsTable.setRowCount(0)
        if node is None:
            return
        segmentation, volumes = node.GetSegmentation(), self.logic.volumesMl(node)
        self.ui.resultsTable.setRowCount(len(volumes))
        for row, (identifier, volume) in enumerate(volumes.items()):
            segment = segmentation.GetSegment(identifier)
            name = qt.QTableWidgetItem(segment.GetName())
            name.setData(qt.Qt.DecorationRole, qt.QColor.fromRgbF(*segment.GetColor()))
            self.ui.resultsTable.setItem(row, 0, name)
            self.ui.resultsTable.setItem(row, 1, qt.QTableWidgetItem(format_volume(volume)))
