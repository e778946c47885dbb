"""How far several observers' masks, or their ratings, agree: conformity, and agreement corrected for chance.

>>> votes = count_votes([mask_1, mask_2, mask_3], spacing_mm)
>>> {found.name: found.value for found in conformity(votes) + voxel_agreement(votes)}

Everything is computed from counts, exactly and at once, however many voxels there are. Chance-corrected agreement of
voxels depends on how much background is counted: it is worth nothing without ``votes.region``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.observer_measures import ONE_CASE, ObserverValue, undefined
from MedSegAIMetricsLib.overlap import ratio
from MedSegAIMetricsLib.votes import DEFAULT_REGION, Votes, count_votes

__all__ = [
    "DEFAULT_REGION",
    "Votes",
    "cohen_kappas",
    "conformity",
    "count_votes",
    "pair_sums",
    "pooled_agreement",
    "rating_agreement",
    "voxel_agreement",
]

BOOTSTRAP_SAMPLES = 2000
ALL_EMPTY = "all masks are empty"
ONE_CLASS = "all votes are for one class, so agreement by chance is certain"


def conformity(votes: Votes) -> list[ObserverValue]:
    """The overlap of all observers' masks: ``ci_gen``, ``ci_pairs``, ``ci_all`` and ``dice_pairs``.

    ``n`` is the number of voxels inside any mask; for means of pairs ``left_out`` is the number of pairs of which both
    masks are empty: such a pair has no overlap to speak of, and does not count as 1. Without any voxel all are NaN.
    Kouwenhoven et al. 2009 advise ``ci_gen``, which does not depend on the number of observers.
    """
    h, k = [int(count) for count in votes.histogram], votes.k
    n = sum(h[1:])
    if not n:
        pairs = k * (k - 1) // 2
        return [undefined(name, ALL_EMPTY, 0, k, pairs if "pairs" in name else 0) for name in _CONFORMITY]
    common, encompassing = pair_sums(votes.histogram)
    jaccards, dices, both_empty = _pair_overlaps(votes)
    return [
        ObserverValue("ci_gen", common / encompassing, n=n, k=k),
        ObserverValue("ci_pairs", float(np.mean(jaccards)), n=n, k=k, left_out=both_empty),
        ObserverValue("ci_all", h[k] / n, n=n, k=k),
        ObserverValue("dice_pairs", float(np.mean(dices)), n=n, k=k, left_out=both_empty),
    ]


def pair_sums(histogram: np.ndarray) -> tuple[int, int]:
    """Over all pairs of observers, the sums of common and of encompassing voxels, from the votes 0 … k."""
    k = len(histogram) - 1
    h = [int(count) for count in histogram]
    common = sum(h[m] * m * (m - 1) // 2 for m in range(k + 1))
    return common, common + sum(h[m] * m * (k - m) for m in range(k + 1))


_CONFORMITY = ("ci_gen", "ci_pairs", "ci_all", "dice_pairs")


def _pair_overlaps(votes: Votes) -> tuple[list[float], list[float], int]:
    jaccards, dices, both_empty = [], [], 0
    sizes = votes.sizes
    for i, j in itertools.combinations(range(votes.k), 2):
        both, total = int(votes.common[i, j]), int(sizes[i] + sizes[j])
        if not total:
            both_empty += 1
            continue
        jaccards.append(both / (total - both))
        dices.append(2 * both / total)
    return jaccards, dices, both_empty


def voxel_agreement(votes: Votes) -> list[ObserverValue]:
    """Agreement of voxels in the region, corrected for chance.

    ``percent_agreement``, ``prevalence``, ``fleiss_kappa``, ``krippendorff_alpha``, ``gwet_ac1`` and ``light_kappa``
    (of two observers, that is Cohen's). ``n`` is the number of voxels in the region. There are no intervals: voxels of
    one image are no independent observations; see ``pooled_agreement``.
    """
    found = _values(_Tally.of_votes([votes]), votes.n, votes.k)
    kappas = cohen_kappas(votes)[np.triu_indices(votes.k, 1)]
    return [*found, _mean_kappa("light_kappa", kappas, votes.n, votes.k)]


def cohen_kappas(votes: Votes) -> np.ndarray:
    """Cohen's kappa of each pair of observers (k, k) over the voxels of the region; NaN where chance explains all.

    The diagonal is NaN: nobody is compared with himself.
    """
    kappas = np.full((votes.k, votes.k), math.nan)
    sizes, n = votes.sizes, votes.n
    for i, j in itertools.combinations(range(votes.k), 2):
        both, first, second = int(votes.common[i, j]), int(sizes[i]), int(sizes[j])
        kappas[i, j] = kappas[j, i] = _cohen([[n - first - second + both, second - both], [first - both, both]])
    return kappas


def rating_agreement(
    ratings: Sequence[Sequence[Hashable]],
    classes: Sequence[Hashable] | None = None,
    *,
    samples: int = BOOTSTRAP_SAMPLES,
    seed: int = 0,
) -> list[ObserverValue]:
    """Agreement about subjects that each observer puts into a class: present or absent, a grade, a decision.

    ``ratings``: one row a subject, one column an observer; any values that can be told apart, NaN or None where an
    observer gave none. Fleiss' kappa needs every rating; the others use what there is. ``classes``: all that could be
    chosen; None takes those that were. Gwet's AC1 depends on how many there are, and ``prevalence`` is that of the
    second of two. ``n``: subjects with at least two ratings. The intervals come from a bootstrap over subjects
    (percentiles, ``samples`` draws); Light's kappa has none.

    Raises InputError if rows differ in length, there is no subject or only one observer, or a rating is no class.
    """
    rows = [list(row) for row in ratings]
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        raise InputError("Ratings need at least one subject, and for each the same two or more observers.")
    rows = [[None if _missing(value) else value for value in row] for row in rows]
    chosen = list(dict.fromkeys(value for row in rows for value in row if value is not None))
    classes = chosen if classes is None else list(dict.fromkeys(classes))
    if not set(chosen) <= set(classes):
        strange = next(value for value in chosen if value not in classes)
        raise InputError(f"A rating is {strange!r}, but the classes are {', '.join(map(repr, classes))}.")
    coded = np.array([[-1 if value is None else classes.index(value) for value in row] for row in rows])
    counts = np.stack([(coded == number).sum(1) for number in range(len(classes))], axis=1) if classes else None
    k = coded.shape[1]
    if counts is None or not chosen:
        return [undefined(name, "there is no rating", 0, k, len(rows)) for name in (*_NAMES, "light_kappa")]
    tally = _Tally(counts, np.ones(len(rows)), np.arange(len(rows)), k)
    usable = int((counts.sum(1) > 1).sum())
    found = _with_intervals(tally, usable, k, len(rows) - usable, samples, seed)
    pairs = itertools.combinations(range(k), 2)
    kappas = np.array([_cohen(_cross_table(coded[:, i], coded[:, j], len(classes))) for i, j in pairs])
    return [*found, _mean_kappa("light_kappa", kappas, usable, k, len(rows) - usable)]


def pooled_agreement(cases: Sequence[Votes], *, samples: int = BOOTSTRAP_SAMPLES, seed: int = 0) -> list[ObserverValue]:
    """Agreement over the voxels of many cases together, with intervals from a bootstrap over cases.

    ``cases``: the votes of each case, all of one segment and by one region rule; an observer may be missing in some of
    them (Fleiss' kappa then does not exist). ``n`` is the number of cases: voxels of one case belong together, so cases
    are drawn. ``k`` is the largest number of observers. Large cases weigh more; for a mean over cases, take
    ``statistics.figures`` of each case's values.

    Raises InputError for cases of different regions or for no case.
    """
    regions = {votes.region for votes in cases}
    if len(regions) != 1:
        raise InputError(f"Cases are pooled by one region rule, but there are: {', '.join(sorted(regions)) or 'none'}.")
    k = max(votes.k for votes in cases)
    return _with_intervals(_Tally.of_votes(cases), len(cases), k, 0, samples, seed)


@dataclass(frozen=True)
class _Tally:
    """Kinds of units: ``counts`` (kinds, classes) of ratings of each class, ``weights`` how many such units there are,
    ``case`` to which case they belong, ``k`` how many observers there are."""

    counts: np.ndarray
    weights: np.ndarray
    case: np.ndarray
    k: int

    @classmethod
    def of_votes(cls, cases: Sequence[Votes]) -> _Tally:
        counts = np.concatenate([np.stack([np.arange(v.k, -1, -1), np.arange(v.k + 1)], 1) for v in cases])
        weights = np.concatenate([v.histogram for v in cases]).astype(float)
        case = np.repeat(np.arange(len(cases)), [v.k + 1 for v in cases])
        return cls(counts, weights, case, max(v.k for v in cases))

    @property
    def complete(self) -> bool:
        return bool((self.counts.sum(1)[self.weights > 0] == self.k).all())

    def drawn(self, times: np.ndarray) -> _Tally:
        """With each case as often as ``times`` says."""
        return _Tally(self.counts, self.weights * times[self.case], self.case, self.k)


_NAMES = ("percent_agreement", "prevalence", "fleiss_kappa", "krippendorff_alpha", "gwet_ac1")


def _coefficients(tally: _Tally) -> dict[str, float]:
    """All coefficients; NaN where a denominator is 0."""
    counts, weights = tally.counts.astype(float), tally.weights
    ratings = counts.sum(1)
    paired, rated = ratings > 1, ratings > 0
    agreeing = (counts * (counts - 1)).sum(1)[paired] / (ratings * (ratings - 1))[paired]
    observed = ratio(float(weights[paired] @ agreeing), float(weights[paired].sum()))
    total = float(weights @ ratings)
    shares = weights @ counts / total if total else np.full(counts.shape[1], math.nan)
    by_unit = weights[rated] @ (counts[rated] / ratings[rated, None])
    by_unit = by_unit / weights[rated].sum() if weights[rated].sum() else np.full(counts.shape[1], math.nan)
    chance = float((by_unit * (1 - by_unit)).sum()) / (counts.shape[1] - 1) if counts.shape[1] > 1 else 0.0
    return {
        "percent_agreement": 100 * observed,
        "prevalence": float(shares[1]) if len(shares) == 2 else math.nan,
        "fleiss_kappa": _corrected(observed, float(shares @ shares)) if tally.complete else math.nan,
        "krippendorff_alpha": _alpha(counts[paired], ratings[paired], weights[paired]),
        "gwet_ac1": _corrected(observed, chance),
    }


def _corrected(observed: float, expected: float) -> float:
    return ratio(observed - expected, 1 - expected) if 1 - expected > 1e-12 else math.nan


def _alpha(counts: np.ndarray, ratings: np.ndarray, weights: np.ndarray) -> float:
    """1 - observed / expected disagreement; ``counts``, ``ratings`` of units with at least two ratings."""
    disagreeing = float(weights @ ((counts * (ratings[:, None] - counts)).sum(1) / (ratings - 1)))
    of_class = weights @ counts
    total = float(of_class.sum())
    if total <= 1:
        return math.nan
    expected = float((of_class * (total - of_class)).sum()) / (total - 1)
    return 1 - disagreeing / expected if expected else math.nan


def _cohen(cross_table: Sequence[Sequence[int]]) -> float:
    """Cohen's kappa of two observers; rows are the first one's classes, columns the second one's."""
    table = np.asarray(cross_table, float)
    n = table.sum()
    if not n:
        return math.nan
    return _corrected(float(np.trace(table) / n), float((table.sum(0) / n) @ (table.sum(1) / n)))


def _cross_table(first: np.ndarray, second: np.ndarray, classes: int) -> np.ndarray:
    both = (first >= 0) & (second >= 0)
    return np.bincount(first[both] * classes + second[both], minlength=classes**2).reshape(classes, classes)


def _values(tally: _Tally, n: int, k: int, left_out: int = 0) -> list[ObserverValue]:
    return [
        ObserverValue(name, value, n=n, k=k, left_out=left_out, reason=_why(name, value, tally))
        for name, value in _coefficients(tally).items()
    ]


def _why(name: str, value: float, tally: _Tally) -> str:
    if not math.isnan(value):
        return ""
    if not tally.weights.sum():
        return "the region holds no voxels, because all masks are empty"
    if name == "prevalence":
        return "there are not exactly two classes"
    if name == "fleiss_kappa" and not tally.complete:
        return "not every subject was rated by all observers"
    if not (tally.counts.sum(1)[tally.weights > 0] > 1).any():
        return "no subject was rated by two observers"
    return ONE_CLASS


def _with_intervals(tally: _Tally, n: int, k: int, left_out: int, samples: int, seed: int) -> list[ObserverValue]:
    """The coefficients with 95 % percentile intervals over ``samples`` draws of cases with replacement."""
    cases = int(tally.case.max()) + 1
    found = _values(tally, n, k, left_out)
    if cases < 2:
        return [replace(value, reason=value.reason or ONE_CASE) for value in found]
    generator = np.random.default_rng(seed)
    draws = []
    for _ in range(samples):
        times = np.bincount(generator.integers(cases, size=cases), minlength=cases)
        draws.append(list(_coefficients(tally.drawn(times)).values()))
    return [_between(value, column) for value, column in zip(found, np.array(draws).T, strict=True)]


def _between(value: ObserverValue, draws: np.ndarray) -> ObserverValue:
    """With its interval; draws in which it does not exist are left out."""
    defined = draws[~np.isnan(draws)]
    if math.isnan(value.value) or not len(defined):
        return value
    low, high = np.percentile(defined, [2.5, 97.5])
    return replace(value, low=float(low), high=float(high))


def _mean_kappa(name: str, kappas: np.ndarray, n: int, k: int, left_out: int = 0) -> ObserverValue:
    defined = kappas[~np.isnan(kappas)]
    if not len(defined):
        return undefined(name, ONE_CLASS, n, k, left_out)
    lost = len(kappas) - len(defined)
    reason = f"mean of {len(defined)} pairs: {lost} have no kappa, because all their votes are for one class"
    return ObserverValue(name, float(defined.mean()), n=n, k=k, left_out=left_out, reason=reason if lost else "")


def _missing(value) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))
