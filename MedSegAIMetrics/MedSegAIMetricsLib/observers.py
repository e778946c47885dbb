"""Several observers' segmentations of one image: brought onto one grid, their segments matched.

>>> observers = Observers.of({"r01": label_map_1, "r02": label_map_2, "r03": label_map_3})
>>> for segment in observers.segments:
...     print(segment.name, conformity(observers.votes(segment))[0].value)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MedSegAICore.boxes import joint_box
from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib.label_maps import placed_on
from MedSegAIMetricsLib.masks import LocatedLabels, MaskPair, pair_of
from MedSegAIMetricsLib.matching import match_labels
from MedSegAIMetricsLib.votes import DEFAULT_REGION, Votes, votes_in_box


@dataclass(frozen=True)
class ObserverSegment:
    """One segment of an image. ``label``: what names it, of the first observer who has it. ``labels``: each observer's
    own, None for an observer whose segmentation lacks it, which counts as an empty mask."""

    label: Label
    labels: tuple[Label | None, ...]

    @property
    def id(self) -> str:
        """Stable and machine-readable; unique among the segments."""
        return self.label.id

    @property
    def name(self) -> str:
        """For people."""
        return self.label.name


@dataclass(frozen=True, eq=False)
class Observers:
    """Label maps of one image by at least two observers, all on ``grid``.

    ``names``: of the observers. ``segments``: in the order of the first observer who has them. ``notes``: sentences
    about what was resampled or extended, and about segments that somebody lacks.
    """

    names: tuple[str, ...]
    label_maps: tuple[LabelMap, ...]
    segments: tuple[ObserverSegment, ...]
    notes: tuple[str, ...]
    _located: tuple[tuple[LocatedLabels, ...], ...]

    @classmethod
    def of(cls, label_maps: Mapping[str, LabelMap], grid: Grid | None = None) -> Observers:
        """From label maps by observer.

        ``grid``: on which everything is measured, extended so that no segment is cut; None takes the first observer's.
        What lies on another grid is resampled by nearest neighbor. Segments are matched as in ``match_labels``: by id,
        terminology, name.

        Raises InputError for fewer than two observers or a name that has to decide and occurs twice; GeometryError for
        a grid whose axes are not at right angles.
        """
        if len(label_maps) < 2:
            raise InputError(f"Agreement needs at least two observers, but there is {', '.join(label_maps) or 'none'}.")
        titles = {f"The segmentation of {name}": label_map for name, label_map in label_maps.items()}
        named = grid if grid is not None else next(iter(label_maps.values())).grid
        placed, notes = placed_on(titles, named)
        names = tuple(label_maps)
        segments = _segments([label_map.labels for label_map in placed])
        notes += [
            f"{names[number]} has no segment {segment.name!r}; it counts as empty."
            for segment in segments
            for number, label in enumerate(segment.labels)
            if label is None
        ]
        located = tuple(tuple(LocatedLabels.of(layer) for layer in label_map.layers) for label_map in placed)
        return cls(names, tuple(placed), segments, tuple(notes), located)

    @property
    def grid(self) -> Grid:
        """On which all label maps lie."""
        return self.label_maps[0].grid

    def masks(self, segment: ObserverSegment) -> list[np.ndarray]:
        """Each observer's mask (K, J, I), bool, on ``grid``."""
        return [
            np.zeros(self.grid.shape, bool) if label is None else label_map.mask(label)
            for label_map, label in zip(self.label_maps, segment.labels, strict=True)
        ]

    def box(self, segment: ObserverSegment) -> tuple[slice, slice, slice]:
        """The box (K, J, I) that holds all masks of a segment; empty slices if all are empty."""
        return joint_box(located.boxes[value] for located, value in self._sides(segment) if value in located.boxes)

    def cropped_masks(self, segment: ObserverSegment) -> list[np.ndarray]:
        """Each observer's mask in ``box``."""
        box = self.box(segment)
        return [located.mask(value, box) for located, value in self._sides(segment)]

    def votes(self, segment: ObserverSegment, region: str = DEFAULT_REGION) -> Votes:
        """See ``count_votes``."""
        start = tuple(part.start for part in self.box(segment))
        return votes_in_box(self.cropped_masks(segment), start, self.grid.shape, self.grid.spacing_kji, region)

    def pair(self, segment: ObserverSegment, first: int, second: int) -> MaskPair:
        """The masks of two observers, by their numbers, the first as the reference."""
        sides = self._sides(segment)
        return pair_of(segment.label.value, sides[first], sides[second], self.grid.spacing_kji)

    def _sides(self, segment: ObserverSegment) -> list[tuple[LocatedLabels, int]]:
        """For each observer, where the segment is and its value; 0 where there is none."""
        return [
            (layers[label.layer], label.value) if label is not None else (layers[0], 0)
            for layers, label in zip(self._located, segment.labels, strict=True)
        ]


def _segments(by_observer: Sequence[Sequence[Label]]) -> tuple[ObserverSegment, ...]:
    """Every label of every observer in exactly one segment."""
    known: list[Label] = []
    rows: list[list[Label | None]] = []
    for number, labels in enumerate(by_observer):
        matches = match_labels(known, labels)
        for row, match in zip(rows, matches, strict=False):
            row.append(match.test)
        for match in matches[len(rows) :]:
            known.append(_with_own_id(match.test, known))
            rows.append([None] * number + [match.test])
    return tuple(ObserverSegment(label, tuple(row)) for label, row in zip(known, rows, strict=True))


def _with_own_id(label: Label, known: Sequence[Label]) -> Label:
    """An id such as "Segment_1" may mean another segment for each observer; the later one gets a number."""
    taken, own, number = {other.id for other in known}, label.id, 2
    while own in taken:
        own, number = f"{label.id}_{number}", number + 1
    return replace(label, id=own)
