"""What several observers agree about, as tables: for each case, and over all cases of a cohort.

Every table is a list of rows with the same columns, plain data without a time stamp: the same input gives the same
bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from MedSegAIMetricsLib.agreement import pooled_agreement
from MedSegAIMetricsLib.limits import bland_altman, limits_with_the_mean, mean_absolute_difference, observer_biases
from MedSegAIMetricsLib.observer_comparison import ObserverAgreement, SegmentAgreement
from MedSegAIMetricsLib.observer_masks import uncertainty
from MedSegAIMetricsLib.observer_measures import SAME, ObserverValue
from MedSegAIMetricsLib.observer_pairs import PairRow
from MedSegAIMetricsLib.observer_summary import over_cases, pairs_over_cases
from MedSegAIMetricsLib.reliability import intraclass_correlations
from MedSegAIMetricsLib.statistics import Figures
from MedSegAIMetricsLib.tables import csv_of

Cases = Mapping[str, ObserverAgreement]
Rows = list[dict[str, Any]]

VOLUME_COLUMNS = ("volume_ml", "inferior_limit_mm", "superior_limit_mm", "length_mm")
LACKS, EMPTY = "has no such segment, which counts as empty", "the mask is empty"
VOLUME, LOG_VOLUME = "volume_ml", "log(volume_ml)"
PAIRS, ALL = "pairs", "all observers"
# First parts of the names of measures that are the same whichever observer is the reference; only these have a mean.
SYMMETRIC = ("dice", "jaccard", "kappa", "mcc", "accuracy", "volume_similarity", "center_distance", "boundary_iou",
             "hd", "assd", "masd", "nsd", "lesion_f1")  # fmt: skip
DIRECTED = ("hd_over", "hd_under")


def pair_rows(cases: Cases) -> Rows:
    """A row for each pair of observers, segment and case, with all measures of the pair.

    ``observer_1`` is the reference where a measure knows a direction.
    """
    rows = []
    for case, agreement in cases.items():
        titles = _titles(agreement)
        for pair in agreement.pairs:
            title = {"segment": titles[pair.segment_id]}
            rows.append({"case": case} | title | pair.as_dict() | title)
    return rows


def agreement_rows(cases: Cases, failed: Mapping[str, str] | None = None) -> Rows:
    """A row for each segment and case, with all measures of all observers together; ``observers`` is their number.

    ``failed``: cases that could not be compared, and why; they get a row without values.
    """
    rows = []
    for case, agreement in cases.items():
        for title, segment in _segments(agreement):
            values = {value.name: value.value for value in segment.values}
            reasons = dict.fromkeys(f"{value.name}: {value.reason}" for value in segment.values if value.reason)
            keys = {"case": case, "segment": title, "observers": segment.votes.k}
            undecided = uncertainty(segment.votes)
            values |= {"disputed_ml": undecided.disputed_ml, "entropy_ml": undecided.entropy_ml}
            rows.append({**keys, **values, "region": segment.votes.region, "reason": "; ".join(reasons)})
    rows += [{"case": case, "segment": "", "observers": "", "reason": why} for case, why in (failed or {}).items()]
    return rows


def volume_rows(cases: Cases) -> Rows:
    """A row for each observer, segment and case: the volume, and how far the segment reaches down and up."""
    rows = []
    for case, agreement in cases.items():
        for title, segment in _segments(agreement):
            own = zip(segment.votes.volumes_ml, segment.limits_mm, segment.segment.labels, strict=True)
            for name, (volume, (low, high), label) in zip(agreement.observers, own, strict=True):
                numbers = dict(zip(VOLUME_COLUMNS, (volume, low, high, high - low), strict=True))
                reason = LACKS if label is None else "" if volume else EMPTY
                rows.append({"case": case, "segment": title, "observer": name, **numbers, "reason": reason})
    return rows


def reliability_rows(cases: Cases) -> Rows:
    """What the volumes say over all cases, and the agreement of the voxels of all cases together.

    For each segment, of ``volume_ml`` and of its natural logarithm (where an error of x is a factor of exp(x), which
    suits errors that grow with the volume; empty masks have none): intraclass correlations, limits of agreement with
    the mean, reproducibility, mean absolute difference, the bias of each observer (column ``observer_1``) and
    Bland-Altman limits of each pair; then agreement of voxels, with intervals from a bootstrap over cases. An observer
    is the same one in all cases who has the same name.
    """
    rows = []
    for title, found in _by_title(cases).items():
        names = list(dict.fromkeys(name for case in found for name in cases[case].observers))
        table = [_volumes(cases[case], segment, names) for case, segment in found.items()]
        logarithms = [[math.log(value) if value > 0 else math.nan for value in row] for row in table]
        rows += _rows_of_values(title, VOLUME, table, names)
        rows += _rows_of_values(title, LOG_VOLUME, logarithms, names)
        votes = [segment.votes for segment in found.values()]
        rows += [_reliability_row(title, f"voxels, {votes[0].region}", value) for value in pooled_agreement(votes)]
    return rows


def _rows_of_values(title: str, quantity: str, table: list[list[float]], names: list[str]) -> Rows:
    found = (*intraclass_correlations(table), *limits_with_the_mean(table), mean_absolute_difference(table))
    rows = [_reliability_row(title, quantity, value) for value in found]
    for name, value in zip(names, observer_biases(table), strict=True):
        rows.append(_reliability_row(title, quantity, value, name))
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        for value in bland_altman([row[i] for row in table], [row[j] for row in table]):
            rows.append(_reliability_row(title, quantity, value, first, second))
    return rows


@dataclass(frozen=True)
class CohortLine:
    """One measure of one segment over all cases. ``of``: ``all observers``, or ``pairs``: then the value of a case is
    the mean of its pairs that have one, because pairs of one case are no independent observations."""

    segment: str
    of: str
    measure: Any  # Measure or ObserverMeasure: both have name and unit
    figures: Figures

    def as_dict(self) -> dict[str, Any]:
        """All columns by name."""
        keys = {"segment": self.segment, "of": self.of, "measure": self.measure.name, "unit": self.measure.unit}
        return {**keys, **vars(self.figures)}


def cohort_lines(cases: Cases) -> list[CohortLine]:
    """Figures over cases for each segment and measure, with a bootstrap interval of the mean.

    Of pairs, only measures that do not depend on which of the two observers is the reference.
    """
    lines = []
    for title, found in _by_title(cases).items():
        lines += [
            CohortLine(title, ALL, line.measure, line.figures)
            for line in over_cases([segment.values for segment in found.values()])
        ]
        rows = [_own_pairs(cases[case], segment) for case, segment in found.items()]
        (by_measure,) = pairs_over_cases(rows).values()
        for measure in next(iter(cases.values())).measures:
            if measure.name.startswith(SYMMETRIC) and not measure.name.startswith(DIRECTED):
                lines.append(CohortLine(title, PAIRS, measure, by_measure[measure.name]))
    return lines


def tables_of(cases: Cases, failed: Mapping[str, str] | None = None) -> dict[str, Rows]:
    """All tables by name: ``pairs``, ``agreement``, ``volumes``, ``reliability`` and ``summary``; none for no case."""
    if not cases:
        return {}
    return {
        "pairs": pair_rows(cases),
        "agreement": agreement_rows(cases, failed),
        "volumes": volume_rows(cases),
        "reliability": reliability_rows(cases),
        "summary": [line.as_dict() for line in cohort_lines(cases)],
    }


def without_nan(tables: Mapping[str, Rows]) -> dict[str, Rows]:
    """The tables as JSON can hold them: what does not exist is None, and ``reason`` says why."""
    return {
        name: [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows
        ]
        for name, rows in tables.items()
    }


def rows_text(rows: Rows) -> str:
    """The rows as CSV; numbers in full precision, what does not exist is empty."""
    return csv_of(list(rows[0]), rows)


def _segments(agreement: ObserverAgreement) -> Iterator[tuple[str, SegmentAgreement]]:
    titles = _titles(agreement)
    for key, segment in agreement.segments.items():
        yield titles[key], segment


def _titles(agreement: ObserverAgreement) -> dict[str, str]:
    """What tables call each segment, by id: its name, with its id where several have that name."""
    names = [segment.segment.name for segment in agreement.segments.values()]
    return {
        key: name if names.count(name) == 1 else f"{name} ({key})"
        for (key, name) in zip(agreement.segments, names, strict=True)
    }


def _by_title(cases: Cases) -> dict[str, dict[str, SegmentAgreement]]:
    """For each segment, the cases that have it."""
    found: dict[str, dict[str, SegmentAgreement]] = {}
    for case, agreement in cases.items():
        for title, segment in _segments(agreement):
            found.setdefault(title, {})[case] = segment
    return found


def _volumes(agreement: ObserverAgreement, segment: SegmentAgreement, names: Sequence[str]) -> list[float]:
    """By observer, NaN for one who did not annotate this case."""
    own = dict(zip(agreement.observers, segment.votes.volumes_ml, strict=True))
    return [own.get(name, math.nan) for name in names]


def _own_pairs(agreement: ObserverAgreement, segment: SegmentAgreement) -> list[PairRow]:
    return [pair for pair in agreement.pairs if pair.segment_id == segment.segment.id]


def _reliability_row(title: str, quantity: str, value: ObserverValue, first: str = "", second: str = "") -> dict:
    unit = value.measure.unit if value.measure.unit != SAME else "ml" if quantity == VOLUME else ""
    return {
        "segment": title,
        "of": quantity,
        "measure": value.name,
        "observer_1": first,
        "observer_2": second,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "unit": unit,
        "n": value.n,
        "observers": value.k,
        "left_out": value.left_out,
        "reason": value.reason,
    }
