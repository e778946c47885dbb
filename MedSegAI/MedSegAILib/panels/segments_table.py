"""The table of segments: color, name, whether it is shown, and volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import qt
from slicer.i18n import tr as _

from MedSegAICore.mrml_segments import SegmentRow, SegmentSize
from MedSegAICore.text import format_count, format_volume

MOST_ROWS = 8  # that are seen without scrolling
NAME, VOLUME = 0, 1
MARGIN = 4  # pixels beside the volume


class SegmentsTable:
    """Fills a QTableWidget. ``onVisible(segmentId, visible)`` is called when the user ticks a segment or clears it."""

    def __init__(self, table, onVisible: Callable[[str, bool], None]):
        self._table, self._onVisible, self._rows = table, onVisible, []
        table.setHorizontalHeaderLabels([_("Segment"), _("Volume (ml)")])
        table.horizontalHeader().setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        table.horizontalHeader().setSectionResizeMode(VOLUME, qt.QHeaderView.ResizeToContents)
        table.horizontalHeaderItem(NAME).setTextAlignment(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
        table.horizontalHeaderItem(VOLUME).setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        table.horizontalHeader().setHighlightSections(False)
        table.itemChanged.connect(self._onItemChanged)

    def fill(self, rows: Sequence[SegmentRow]) -> bool:
        """Show these segments. What is there already stays, its volumes too; whether other segments are listed now."""
        before, self._rows = self._rows, list(rows)
        if self._rows == before:
            return False
        self._table.blockSignals(True)
        others = [row.id for row in rows] != [row.id for row in before]
        if others:
            self._table.setRowCount(len(self._rows))
            for number in range(len(self._rows)):
                self._table.setItem(number, NAME, qt.QTableWidgetItem())
                self._table.setItem(number, VOLUME, _volumeItem())
        for number, row in enumerate(self._rows):
            _describe(self._table.item(number, NAME), row)
        self._table.blockSignals(False)
        self._fitHeight()
        return others

    def setSizes(self, sizes: Mapping[str, SegmentSize]):
        """Show the volumes; a segment that has none is left blank."""
        self._table.blockSignals(True)
        for number, row in enumerate(self._rows):
            item, size = self._table.item(number, VOLUME), sizes.get(row.id)
            item.setText(_volume(size) if size else "")
            item.setToolTip(_explanation(size) if size else "")
        self._table.blockSignals(False)

    def _onItemChanged(self, item):
        if item.column() == NAME and item.row() < len(self._rows):
            self._onVisible(self._rows[item.row()].id, item.checkState() == qt.Qt.Checked)

    def _fitHeight(self):
        row = self._table.verticalHeader().defaultSectionSize
        self._table.horizontalHeader().setFixedHeight(row)
        self._table.setFixedHeight(row * (1 + min(len(self._rows), MOST_ROWS)) + 2 * self._table.frameWidth)


def _volumeItem():
    item = qt.QTableWidgetItem()
    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    item.setFlags(qt.Qt.ItemIsEnabled)
    return item


def _describe(item, row: SegmentRow):
    item.setText(row.name)
    item.setToolTip(row.name)
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
    item.setCheckState(qt.Qt.Checked if row.visible else qt.Qt.Unchecked)
    item.setData(qt.Qt.DecorationRole, qt.QColor.fromRgbF(*row.color))


def _volume(size: SegmentSize) -> str:
    """The unit is in the header. Three digits that count, so that a small lesion is not taken for an empty segment."""
    return format_volume(size.volume_ml).removesuffix(" ml") if size.voxels else "0.00"


def _explanation(size: SegmentSize) -> str:
    if not size.voxels:
        return _("This segment is empty.")
    return _("{count} voxels of {size} mm³ each.").format(
        count=format_count(size.voxels), size=f"{size.voxel_ml * 1000:.4g}"
    )
