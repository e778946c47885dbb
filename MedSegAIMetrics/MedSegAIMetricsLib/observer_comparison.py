"""Any number of segmentations of one image: how far they agree, what they have in common, and where they differ.

>>> found = compare_observers({"r01": label_map_1, "r02": label_map_2, "r03": label_map_3})
>>> found.agreement.segments["liver"].value("ci_gen").value
0.8312
>>> found.consensus("majority").label_map, found.vote_maps("liver").entropy
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from MedSegAICore import VERSION
from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, LabelMap
from MedSegAIMetricsLib.agreement import conformity, voxel_agreement
from MedSegAIMetricsLib.comparison import Settings
from MedSegAIMetricsLib.consensus import METHODS
from MedSegAIMetricsLib.label_consensus import LabelConsensus, consensus_of_labels
from MedSegAIMetricsLib.matching import match_labels
from MedSegAIMetricsLib.measures import Measure
from MedSegAIMetricsLib.observer_masks import ObserverMasks, entropy_map, probability_map
from MedSegAIMetricsLib.observer_measures import ObserverValue
from MedSegAIMetricsLib.observer_pairs import PairRow, compare_pairs
from MedSegAIMetricsLib.observer_planes import agreement_by_plane, common_planes
from MedSegAIMetricsLib.observer_volumes import craniocaudal_limits, extent_spread, volume_spread
from MedSegAIMetricsLib.observers import Observers, ObserverSegment
from MedSegAIMetricsLib.votes import DEFAULT_REGION, Votes

WITH_REGION = "staple"  # the one method whose result depends on how much background is looked at


@dataclass(frozen=True)
class SegmentAgreement:
    """What several observers say of one segment of one case. It holds numbers only, no voxels.

    ``segment``: names it. ``votes``: the counts that all agreement follows from. ``limits_mm``: of each observer, how
    far down and up the segment reaches, see ``craniocaudal_limits``. ``values``: the measures of the groups
    ``overlap``, ``agreement``, ``volume`` and ``extent``, in the order of the registry.
    """

    segment: ObserverSegment
    votes: Votes
    limits_mm: tuple[tuple[float, float], ...]
    values: tuple[ObserverValue, ...]

    def value(self, name: str) -> ObserverValue:
        """The value of a measure. Raises InputError if there is none of this name."""
        for value in self.values:
            if value.name == name:
                return value
        raise InputError(
            f"There is no measure {name!r} of a segment; there are {', '.join(v.name for v in self.values)}."
        )


@dataclass(frozen=True)
class ObserverAgreement:
    """All numbers of one case. ``observers``: their names. ``segments``: by id. ``pairs``: every pair of observers for
    each segment. ``measures``: what is known of the columns of the pairs. ``notes``: sentences about what was
    resampled, and about segments that an observer lacks."""

    observers: tuple[str, ...]
    segments: Mapping[str, SegmentAgreement]
    pairs: tuple[PairRow, ...]
    measures: tuple[Measure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class VoteMaps:
    """Of one segment, on the grid of all: ``probability``, the share of observers who marked a voxel, and ``entropy``,
    how undecided they are there, in bits: 0 if they agree, 1 if half of them marked it. Images of one channel."""

    probability: Image
    entropy: Image


@dataclass(frozen=True, eq=False)
class ObserverComparison:
    """``observers``: their label maps on one grid. ``agreement``: all numbers. ``region``: as text, where background is
    counted. ``name``: of the case, for people. ``node_ids``: of the observers' nodes in a scene, where there is one."""

    observers: Observers
    agreement: ObserverAgreement
    region: str
    name: str = ""
    node_ids: tuple[str, ...] = ()

    def consensus(self, method: str = "majority", **settings) -> LabelConsensus:
        """One label map from those of all observers; ``method``, ``settings``: as for ``consensus_of_labels``.

        STAPLE looks at ``region`` if no other one is given.
        """
        if method == WITH_REGION:
            settings.setdefault("region", self.region)
        return consensus_of_labels(self.observers, method, **settings)

    def provenance(self, consensus: LabelConsensus, method: str) -> dict[str, Any]:
        """How a consensus was made, as JSON can hold it. It has no time, so the same input gives the same bytes."""
        facts: dict[str, Any] = {"method": method, "observers": list(self.agreement.observers)}
        if method == WITH_REGION:
            found = [part.staple.region for part in consensus.segments.values() if part.staple is not None]
            facts["region"] = found[0] if found else self.region
        ties = {part.ties for part in consensus.segments.values()}
        facts |= {"ties": ties.pop() if ties else "", "overlaps": consensus.overlaps}
        notes = [*self.agreement.notes, *consensus_notes(consensus)]
        return {
            "consensus": {**facts, "notes": notes},
            "software": {"medsegai": VERSION, "numpy": np.__version__, "scipy": scipy.__version__},
            "notice": "Research use only.",
        }

    def vote_maps(self, segment_id: str) -> VoteMaps:
        """Raises InputError for a segment that does not exist."""
        if segment_id not in self.agreement.segments:
            raise InputError(f"There is no segment {segment_id!r}; the segments are {list(self.agreement.segments)}.")
        masks = ObserverMasks.of_segment(self.observers, self.agreement.segments[segment_id].segment)
        grid = self.observers.grid
        probability, entropy = (
            Image(masks.on_image(values)[None], grid) for values in (probability_map(masks), entropy_map(masks))
        )
        return VoteMaps(probability, entropy)


def consensus_notes(consensus: LabelConsensus) -> list[str]:
    """Sentences about what makes a consensus doubtful, with the name of the segment."""
    names = {label.id: label.name for label in consensus.label_map.labels}
    return [f"{names[key]}: {note}" for key, part in consensus.segments.items() for note in part.notes]


def compare_observers(
    label_maps: Mapping[str, LabelMap],
    measures: Sequence[str] | None = None,
    *,
    region: str = DEFAULT_REGION,
    grid: Grid | None = None,
    name: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **settings,
) -> ObserverComparison:
    """Compare the label maps of at least two observers of one image: every pair, and all together.

    ``label_maps``: by the observer's name, never the AI's draft or a consensus. Segments are matched by id, terminology
    or name; one that an observer lacks counts as empty. Overlapping segments are compared each by itself.
    ``measures``, ``settings``: of the pairs, as for ``compare``. ``region``: where background is counted: ``image``, or
    a box and a margin, ``union+10mm``. ``grid``: on which everything is measured, extended so that no segment is cut;
    None takes the first observer's. What lies on another grid is resampled by nearest neighbor; ``notes`` say so.
    ``notes``: sentences about what was done to the label maps before; they come first in those of the result.
    ``progress(fraction, text)`` and ``cancelled()`` are called before each pair.

    Raises InputError for fewer than two observers, no segment in common, or measures that do not exist; GeometryError
    for a grid whose axes are not at right angles; Cancelled.
    """
    chosen = Settings.of(measures, region=region, **settings)
    _check_in_common(label_maps)
    observers = Observers.of(label_maps, grid)
    pairs = compare_pairs(observers, measures, region=region, progress=progress, cancelled=cancelled, **settings)
    segments = {segment.id: _agreement_of(observers, segment, region) for segment in observers.segments}
    agreement = ObserverAgreement(observers.names, segments, tuple(pairs), chosen.measures, (*notes, *observers.notes))
    return ObserverComparison(observers, agreement, str(chosen.region), name)


def check_methods(methods: Sequence[str]):
    """Raises InputError for a method of consensus that does not exist."""
    for method in methods:
        if method not in METHODS:
            raise InputError(f"A consensus is made by {', '.join(METHODS)}, but the method is {method!r}.")


def _agreement_of(observers: Observers, segment: ObserverSegment, region: str) -> SegmentAgreement:
    votes, box = observers.votes(segment, region), observers.box(segment)
    masks = observers.cropped_masks(segment)
    if not masks[0].size:  # all are empty, and there is no grid without voxels
        box, masks = (slice(0, 1),) * 3, [np.zeros((1, 1, 1), bool)] * votes.k
    grid = observers.grid.crop([part.start for part in box], masks[0].shape)
    limits = tuple(craniocaudal_limits(mask, grid) for mask in masks)
    planes = common_planes(agreement_by_plane(masks, grid))
    values = (*conformity(votes), planes, *voxel_agreement(votes), *volume_spread(votes), *extent_spread(limits))
    return SegmentAgreement(segment, votes, limits, values)


def _check_in_common(label_maps: Mapping[str, LabelMap]):
    """Two observers who drew different things only have nothing to agree about; one who drew nothing has."""
    if len(label_maps) < 2:
        return  # that is an error of its own
    drawn = {name: label_map.labels for name, label_map in label_maps.items() if label_map.labels}
    if not drawn:
        raise InputError(
            f"None of the observers ({', '.join(label_maps)}) has a segment, so there is nothing to compare."
        )
    if len(drawn) == 1:
        return
    labels = list(drawn.values())
    for number, own in enumerate(labels):
        for other in labels[:number]:
            if any(match.reference and match.test for match in match_labels(own, other)):
                return
    told = "; ".join(f"{name} has {', '.join(label.name for label in own)}" for name, own in drawn.items())
    raise InputError(
        f"The observers have no segment in common: {told}. Give segments that belong together the same id or name."
    )
