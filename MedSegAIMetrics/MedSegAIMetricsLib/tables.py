"""Rows of measures, one for each case and segment, and what they say together."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from MedSegAIMetricsLib.label_maps import SegmentComparison
from MedSegAIMetricsLib.measures import Measure
from MedSegAIMetricsLib.statistics import Figures, figures

# In front of the measures in every CSV and JSON; never translated.
KEYS = ("case", "label", "segment")
# Behind them: see Row.
NOTES = ("region", "matched", "status", "reason")

COMPARED, NO_TEST, NO_REFERENCE, FAILED = "compared", "no test", "no reference", "failed"


@dataclass(frozen=True)
class Row:
    """The measures of one segment of one case.

    ``label``: its value in the reference. ``segment``: its name. ``values``: by measure name. ``matched``: how the two
    segments were found to belong together, and what was resampled. ``status``: ``compared``; ``no test`` (counted as an
    empty test, a failure); ``no reference`` or ``failed`` (nothing could be measured: all values are NaN).
    ``reason``: why values are NaN or hold by convention. ``group``: a value for each column of a subgroup table.
    """

    case: str
    label: int
    segment: str
    values: Mapping[str, float]
    region: str = "image"
    matched: str = ""
    status: str = COMPARED
    reason: str = ""
    group: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict:
        """All columns by name, in the order of the table."""
        keys = dict(zip(KEYS, (self.case, self.label, self.segment), strict=True))
        notes = dict(zip(NOTES, (self.region, self.matched, self.status, self.reason), strict=True))
        return {**keys, **self.values, **notes}


def rows_of(comparison: SegmentComparison, case: str = "") -> list[Row]:
    """A row for each segment of one comparison."""
    notes = " ".join(comparison.notes)
    return [
        Row(
            case,
            comparison.matches[key].label.value,
            comparison.matches[key].label.name,
            values,
            comparison.region,
            f"{comparison.matches[key]}. {notes}".strip(),
            reason=comparison.summaries[key],
        )
        for key, values in comparison.items()
    ]


@dataclass(frozen=True)
class SummaryLine:
    """One measure of one segment over all cases, or over those of a subgroup."""

    segment: str
    measure: Measure
    figures: Figures
    subgroup: str = ""
    column: str = ""  # of the subgroup table


def summarize(
    rows: Sequence[Row], measures: Sequence[Measure], subgroup: str = "", column: str = ""
) -> list[SummaryLine]:
    """Figures for each segment and measure, segments in the order in which they occur."""
    lines = []
    for segment in dict.fromkeys(row.segment for row in rows):
        own = [row for row in rows if row.segment == segment]
        for measure in measures:
            values = [row.values.get(measure.name, math.nan) for row in own]
            lines.append(SummaryLine(segment, measure, figures(values), subgroup, column))
    return lines


def summarize_subgroups(rows: Sequence[Row], measures: Sequence[Measure]) -> dict[str, list[SummaryLine]]:
    """For each column of the subgroup table, the lines of each of its values, values in alphabetical order."""
    columns = dict.fromkeys(column for row in rows for column in row.group)
    summary = {}
    for column in columns:
        values = sorted({row.group.get(column, "") for row in rows})
        summary[column] = [
            line
            for value in values
            for line in summarize([row for row in rows if row.group.get(column, "") == value], measures, value, column)
        ]
    return summary


def ranking_measure(measures: Sequence[Measure]) -> Measure | None:
    """By which cases are ranked: Dice, else the first measure that has a better and a worse side."""
    return next((m for m in measures if m.name == "dice"), next((m for m in measures if m.better), None))


def worst_first(rows: Sequence[Row], measure: Measure) -> list[Row]:
    """Rows from the worst to the best; those without a value, which are failures or empty, come first."""

    def badness(row: Row) -> float:
        value = row.values.get(measure.name, math.nan)
        if math.isnan(value):
            return -math.inf
        return {"higher": value, "lower": -value, "zero": -abs(value)}.get(measure.better, value)

    return sorted(rows, key=badness)


def rows_csv(rows: Iterable[Row], measures: Sequence[Measure]) -> str:
    """A line for each row; numbers in full precision, what does not exist is empty."""
    names = [*KEYS, *(measure.name for measure in measures), *NOTES]
    return csv_of(names, (row.as_dict() for row in rows))


def summary_csv(lines: Iterable[SummaryLine]) -> str:
    """A line for each segment and measure."""
    keys = ("column", "subgroup", "segment", "measure", "unit")
    rows = (
        dict(zip(keys, (line.column, line.subgroup, line.segment, line.measure.name, line.measure.unit), strict=True))
        | vars(line.figures)
        for line in lines
    )
    return csv_of((*keys, *Figures.__dataclass_fields__), rows)


def csv_of(names: Sequence[str], rows: Iterable[Mapping]) -> str:
    """A table with these columns; numbers in full precision, what does not exist is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row.get(name, "")) for name in names})
    return text.getvalue()


def _cell(value):
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return int(value) if value.is_integer() and abs(value) < 2**53 else repr(float(value))
    return value
