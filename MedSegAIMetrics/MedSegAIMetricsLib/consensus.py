"""One mask from the masks of several observers: by majority, STAPLE, or the mean of their shapes.

Only observers take part, never the AI's draft. An observer who marked nothing says that the segment is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib.observer_masks import ObserverMasks, probability_map
from MedSegAIMetricsLib.spread import Spread
from MedSegAIMetricsLib.staple import StapleEstimate, staple
from MedSegAIMetricsLib.votes import DEFAULT_REGION

EVEN_CHANCE = 1e-9  # a probability that differs from one half by less is one half
TIES = ("background", "foreground")


@dataclass(frozen=True, eq=False)
class Consensus:
    """The mask that observers have in common, in the box of ``observers``.

    ``method``: a key of ``METHODS``. ``mask``: boolean (K, J, I) of the box; nothing lies outside. ``support``: float32
    (K, J, I) of the box, how much speaks for each voxel: the share of votes, STAPLE's probability, or the depth under
    the mean surface in mm (negative outside; at most the smallest voxel edge where all agree). ``tied``: how many
    voxels were undecided and so fell to ``ties``. ``staple``: what STAPLE found besides, else None. ``notes``:
    sentences about what makes the mask doubtful.
    """

    method: str
    observers: ObserverMasks
    mask: np.ndarray
    support: np.ndarray
    ties: str
    tied: int
    staple: StapleEstimate | None = None
    notes: tuple[str, ...] = ()

    @property
    def volume_ml(self) -> float:
        return float(np.count_nonzero(self.mask) * self.observers.voxel_ml)

    def full_mask(self) -> np.ndarray:
        """The mask on the whole image (K, J, I)."""
        return self.observers.on_image(self.mask)


def consensus(
    observers: ObserverMasks,
    method: str = "majority",
    ties: str = "background",
    region: str = DEFAULT_REGION,
    **settings,
) -> Consensus:
    """The consensus by a method.

    ``majority``: voxels that more than half of the observers marked. It depends on nothing else, hence the default.
    ``staple``: voxels that belong to the segment with a probability above 1/2, see ``staple.staple`` (which takes
    ``region`` and ``settings``: prior, max_iterations, tolerance).
    ``shape``: voxels where the mean of the signed distances to the observers' surfaces is negative (Rohlfing & Maurer,
    IEEE Trans Image Process 2007;16:153-161). Distances are Euclidean in mm, to the faces of voxels. An empty mask has
    no surface: if more than half of the observers drew something, it is the mean of theirs, else the mask is empty.
    ``ties``: ``background`` leaves out, and ``foreground`` takes in, a voxel with just half of the votes, probability
    1/2, or mean distance 0; for ``shape`` also decides whether the segment is there if just half of them drew it.

    If nobody drew anything the consensus is empty, by every method. Raises InputError for another method or rule.
    """
    if method not in METHODS:
        raise InputError(f"A consensus is made by {', '.join(METHODS)}, but the method is {method!r}.")
    if ties not in TIES:
        raise InputError(f"Ties go to the {' or the '.join(TIES)}, but the rule is {ties!r}.")
    if method == "staple":
        settings["region"] = region
    elif settings:
        raise InputError(f"The method {method!r} has no settings, but got {', '.join(settings)}.")
    return METHODS[method](observers, ties, **settings)


def leave_one_out(observers: ObserverMasks, method: str = "majority", **settings) -> Iterator[Consensus]:
    """For each observer, the consensus of all others, made when it is asked for.

    What an observer is to be compared with: in the consensus of all, observers meet themselves. ``settings``: as for
    ``consensus``. A ``Consensus`` lies in the box of its own observers; ``full_mask`` has them on one image.
    Raises InputError for fewer than three observers, before the first.
    """
    if len(observers) < 3:
        raise InputError("A consensus of the others takes at least three observers, but there are two.")
    return (consensus(observers.without(number), method, **settings) for number in range(len(observers)))


def _majority(observers: ObserverMasks, ties: str) -> Consensus:
    votes, n = observers.votes, len(observers)
    tied = 0 if n % 2 else int(np.count_nonzero(votes == n // 2))
    mask = votes >= (n + 1) // 2 if ties == "foreground" else votes > n // 2
    return Consensus("majority", observers, mask, probability_map(observers), ties, tied)


def _staple(observers: ObserverMasks, ties: str, **settings) -> Consensus:
    estimate = staple(observers, **settings)
    patterns = sorted(estimate.probability)
    probability = np.array([estimate.probability[pattern] for pattern in patterns])
    even = np.abs(probability - 0.5) <= EVEN_CHANCE
    inside = even | (probability > 0.5) if ties == "foreground" else ~even & (probability > 0.5)
    inside &= np.array(patterns) != 0  # what nobody marked would fill the region, which is no part of the image
    tied = sum(observers.pattern_counts.get(pattern, 0) for pattern in np.array(patterns)[even])
    mask = _by_pattern(patterns, inside, observers)
    support = _by_pattern(patterns, probability.astype(np.float32), observers)
    return Consensus("staple", observers, mask, support, ties, tied, estimate, estimate.notes)


def _by_pattern(patterns: list[int], values: np.ndarray, observers: ObserverMasks) -> np.ndarray:
    """An array of the box that has in each voxel the value of its pattern. ``patterns``: ascending."""
    known = np.array(patterns, observers.patterns.dtype)
    filled = np.empty(observers.shape, values.dtype)
    for plane, own in zip(filled, observers.patterns, strict=True):  # positions are 8 bytes for each voxel
        plane[:] = values[np.searchsorted(known, own)]
    return filled


def _shape(observers: ObserverMasks, ties: str) -> Consensus:
    n_drawn = sum(size > 0 for size in observers.sizes)
    absent = len(observers) - n_drawn
    note = f"{absent} of {len(observers)} observers marked nothing"
    if n_drawn < absent or (n_drawn == absent and ties == "background") or not n_drawn:
        notes = (f"{note}, so the consensus is empty.",) if n_drawn else ()
        empty = np.zeros(observers.shape, bool)
        return Consensus("shape", observers, empty, np.full(observers.shape, -np.inf, np.float32), ties, 0, None, notes)
    level = Spread.of(observers).mean_level()[1:-1, 1:-1, 1:-1]
    mask = level <= 0 if ties == "foreground" else level < 0
    notes = (f"{note}; the mean shape is that of the others.",) if absent else ()
    tied = int(np.count_nonzero(level == 0))
    return Consensus("shape", observers, mask, -level, ties, tied, None, notes)


METHODS: dict[str, Callable[..., Consensus]] = {"majority": _majority, "staple": _staple, "shape": _shape}
