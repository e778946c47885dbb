"""Every observer compared with every other one: one row for each pair and segment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from MedSegAICore.errors import Cancelled
from MedSegAIMetricsLib.comparison import Settings, measure
from MedSegAIMetricsLib.observers import Observers
from MedSegAIMetricsLib.votes import DEFAULT_REGION

BOTH_EMPTY = "both masks are empty, so there is nothing to agree about; left out of all means"


@dataclass(frozen=True)
class PairRow:
    """The measures of one segment of two observers.

    ``observer_1`` is the reference and ``observer_2`` the test where a measure knows a direction. ``segment_id``,
    ``segment``: id and name. ``values``: by measure name, in the order of the registry. ``region``: where true
    negatives were counted. ``both_empty``: neither has drawn it; then all values are NaN, not the 1 of a comparison
    with a reference, so that means over pairs leave it out. ``reason``: why values are NaN or hold by convention.
    """

    observer_1: str
    observer_2: str
    segment_id: str
    segment: str
    values: Mapping[str, float]
    region: str
    both_empty: bool = False
    reason: str = ""

    def as_dict(self) -> dict:
        """All columns of the table by name, in their order."""
        keys = {"observer_1": self.observer_1, "observer_2": self.observer_2, "segment": self.segment}
        return {**keys, **self.values, "region": self.region, "reason": self.reason}


def compare_pairs(
    observers: Observers,
    measures: Sequence[str] | None = None,
    *,
    region: str = DEFAULT_REGION,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **settings,
) -> list[PairRow]:
    """All pairs of observers, for each segment, as a long table.

    ``measures``, ``settings``: as for ``compare``. ``region``: here the box of the two masks of a pair and a margin.
    ``progress(fraction, text)`` and ``cancelled()`` are called before each pair.

    Raises InputError for measures that do not exist; Cancelled.
    """
    chosen = Settings.of(measures, region=region, **settings)
    pairs = list(itertools.combinations(range(len(observers.names)), 2))
    tasks = list(itertools.product(observers.segments, pairs))
    rows = []
    for number, (segment, (first, second)) in enumerate(tasks):
        if cancelled is not None and cancelled():
            raise Cancelled("Cancelled: the comparison of the observers was not finished.")
        names = observers.names[first], observers.names[second]
        if progress is not None:
            progress(number / len(tasks), f"{segment.name}: {names[0]}, {names[1]}")
        pair = observers.pair(segment, first, second)
        key = (*names, segment.id, segment.name)
        if pair.empty == "both":
            values = {wanted.name: math.nan for wanted in chosen.measures}
            rows.append(PairRow(*key, values, str(chosen.region), True, BOTH_EMPTY))
            continue
        measured = measure(pair, chosen)
        rows.append(PairRow(*key, measured.values, str(chosen.region), reason=measured.reason))
    return rows
