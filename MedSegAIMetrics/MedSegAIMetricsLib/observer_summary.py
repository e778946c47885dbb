"""What was found in each case, over all cases: figures with an interval, for each measure.

>>> lines = over_cases([conformity(votes) + volume_spread(votes) for votes in cases])
>>> [(line.measure.title, line.figures.mean, line.figures.ci_low, line.figures.ci_high) for line in lines]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from MedSegAIMetricsLib.observer_measures import ObserverMeasure, ObserverValue, observer_measure
from MedSegAIMetricsLib.observer_pairs import PairRow
from MedSegAIMetricsLib.statistics import Figures, figures


@dataclass(frozen=True)
class ObserverSummary:
    """One measure over all cases. ``reasons``: why it has no value in some of them, each once."""

    measure: ObserverMeasure
    figures: Figures
    reasons: tuple[str, ...]


def over_cases(cases: Sequence[Sequence[ObserverValue]]) -> list[ObserverSummary]:
    """For each measure, figures over the cases that have a value; the interval of the mean is a bootstrap over cases.

    ``cases``: what was found in each case, of one segment. Only for measures of the masks of one case: a table of
    values has its own intervals, see ``reliability.py`` and ``limits.py``.
    """
    by_name: dict[str, list[ObserverValue]] = {}
    for found in cases:
        for value in found:
            by_name.setdefault(value.name, []).append(value)
    return [
        ObserverSummary(
            observer_measure(name),
            figures([value.value for value in values]),
            tuple(dict.fromkeys(value.reason for value in values if value.reason)),
        )
        for name, values in by_name.items()
    ]


def pairs_over_cases(cases: Sequence[Sequence[PairRow]]) -> dict[str, dict[str, Figures]]:
    """``{segment name: {measure name: figures}}`` of the mean over the pairs of each case.

    Pairs of one case share masks, so they are no independent observations: first the mean over those pairs of a case
    that have a value, then figures over cases. ``cases``: the rows of ``compare_pairs`` of each case.
    """
    means: dict[str, dict[str, list[float]]] = {}
    for rows in cases:
        for segment in dict.fromkeys(row.segment for row in rows):
            own = [row.values for row in rows if row.segment == segment]
            for name in own[0]:
                mean = _mean([values[name] for values in own])
                means.setdefault(segment, {}).setdefault(name, []).append(mean)
    return {segment: {name: figures(own) for name, own in named.items()} for segment, named in means.items()}


def _mean(values: Sequence[float]) -> float:
    """Of those that exist."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan
