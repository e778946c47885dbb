"""A comparison as rows and columns of a table widget, which a click on a header sorts."""

from __future__ import annotations

import math
import re
import textwrap

import qt
from slicer.i18n import tr as _

from MedSegAIMetricsLib.measures import Measure

HEADER_WIDTH = 16  # letters
FEW_COLUMNS = 5  # fit side by side
MOST_ROWS = 8  # that are seen at once
SPARE_PIXELS = 8  # around the text of a header
SCROLL_BAR_PIXELS = 18


class ResultTable:
    """Fills a QTableWidget: the segment's name and color, then a column for each measure."""

    def __init__(self, widget):
        self._widget = widget
        self._comparison = None
        self._columns: list[Measure] = []
        self._keys: list[str] = []  # of the rows, from the top
        widget.horizontalHeader().sortIndicatorChanged.connect(self._fillRows)

    def show(self, comparison, measures):
        """Show these measures of a comparison; None clears the table."""
        if comparison is None or comparison is not self._comparison:
            self._keys = []  # the first row is selected then
        self._comparison, self._columns = comparison, list(measures)
        widget = self._widget
        widget.setColumnCount(1 + len(self._columns) if comparison is not None else 0)
        if comparison is None:
            widget.setRowCount(0)
            return
        headers = [(_("Segment"), _("Click a header to sort. How the segments were matched is in the tool tips."))]
        headers += [(headerOf(measure), definitionOf(measure)) for measure in self._columns]
        few = len(headers) <= FEW_COLUMNS
        for column, (text, tip) in enumerate(headers):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tip)
            widget.setHorizontalHeaderItem(column, item)
            mode = qt.QHeaderView.Stretch if few and not column else qt.QHeaderView.ResizeToContents
            widget.horizontalHeader().setSectionResizeMode(column, mode)
        widget.horizontalHeader().setSortIndicator(-1, qt.Qt.AscendingOrder)
        self._fillRows(-1, qt.Qt.AscendingOrder)
        lines = max(text.count("\n") + 1 for text, _tip in headers)
        self._setHeight(lines, 0 if few else SCROLL_BAR_PIXELS)

    def _setHeight(self, header_lines: int, more: int):
        """As high as its content. Qt can do that, too, but then it asks for the width of all columns as well."""
        widget = self._widget
        rows = max(1, min(len(self._keys), MOST_ROWS)) * widget.verticalHeader().defaultSectionSize
        height = header_lines * widget.fontMetrics().height() + SPARE_PIXELS + rows + more
        widget.minimumHeight = widget.maximumHeight = height

    def selectedKey(self) -> str:
        """The id of the selected row's segment; "" if there is none."""
        row = self._widget.currentRow()
        return self._keys[row] if 0 <= row < len(self._keys) else ""

    def selectedMeasure(self) -> Measure:
        """The measure of the selected column, or the first."""
        return self._columns[max(self._widget.currentColumn(), 1) - 1]

    def _fillRows(self, column, order):
        """Fill the rows, sorted by a column (-1: as compared). What is not defined comes last."""
        if self._comparison is None:
            return
        widget, selected = self._widget, self.selectedKey()
        self._keys = self._sorted(column, order == qt.Qt.DescendingOrder)
        widget.setRowCount(len(self._keys))
        for row, key in enumerate(self._keys):
            match = self._comparison.matches[key]
            name = qt.QTableWidgetItem(match.label.name)
            name.setData(qt.Qt.DecorationRole, qt.QColor.fromRgbF(*match.label.color))
            name.setToolTip(str(match))
            widget.setItem(row, 0, name)
            for number, measure in enumerate(self._columns, start=1):
                item = qt.QTableWidgetItem(textOf(self._comparison[key][measure.name], measure))
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                item.setToolTip(self._comparison.reasons[key].get(measure.name, ""))
                widget.setItem(row, number, item)
        if self._keys:
            widget.selectRow(self._keys.index(selected) if selected in self._keys else 0)

    def _sorted(self, column: int, descending: bool) -> list[str]:
        keys = list(self._comparison)
        if column == 0:
            return sorted(keys, key=lambda key: self._comparison.matches[key].label.name.casefold(), reverse=descending)
        if not 0 < column <= len(self._columns):
            return keys
        values = {key: self._comparison[key][self._columns[column - 1].name] for key in keys}
        defined = [key for key in keys if not math.isnan(values[key])]
        return sorted(defined, key=values.get, reverse=descending) + [key for key in keys if math.isnan(values[key])]


def headerOf(measure: Measure) -> str:
    """The short name that people use, else the title, and the unit or tolerance in a last line."""
    short = re.match(r"(dice|hd[\d.]*|assd|masd|nsd)(?=_|$)(?!_over|_under|_pooled|_meandir)", measure.name)
    if short:
        name = "Dice" if short[0] == "dice" else short[0].upper()
        detail = f"{measure.value:g} mm" if measure.parameter == "tolerance_mm" else measure.unit
        return f"{name}\n{detail}".strip()
    unit = "" if measure.unit in ("", "lesions") else f"\n{measure.unit}"
    return textwrap.fill(measure.title, HEADER_WIDTH) + unit


def definitionOf(measure: Measure) -> str:
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.title}{unit}: {measure.description}"


def textOf(value: float, measure: Measure) -> str:
    if math.isnan(value):
        return "–"
    digits = {"": 3, "voxels": 0, "lesions": 0}.get(measure.unit, 2)
    return f"{value:.{digits}f}"
