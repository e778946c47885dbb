"""The consensus of observers who drew several segments each: one label map from all of theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib.consensus import Consensus, consensus
from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.observers import Observers

OVERLAPS = ("layers", "most_votes")


@dataclass(frozen=True, eq=False)
class LabelConsensus:
    """``label_map``: the consensus on the observers' grid. ``segments``: what each came from, by id.

    ``overlapping``: how many voxels belonged to more than one segment's consensus. ``overlaps``: what was done with
    them, see ``consensus_of_labels``.
    """

    label_map: LabelMap
    segments: dict[str, Consensus]
    overlapping: int
    overlaps: str


def consensus_of_labels(
    observers: Observers, method: str = "majority", overlaps: str = "layers", **settings
) -> LabelConsensus:
    """The consensus of each segment by itself, put together.

    ``observers``: their label maps, never the draft's; a segment that one does not have is an empty mask. ``method``,
    ``settings``: as for ``consensus``. ``overlaps``: ``layers`` keeps voxels that belong to several segments, each
    segment in the first layer where it overlaps none; ``most_votes`` gives them to the segment that most observers
    marked there, of several such to the first. A segment has the name, color and terminology of the first observer who
    has it, and its value unless it is taken.

    Raises InputError for settings that do not exist.
    """
    if overlaps not in OVERLAPS:
        raise InputError(f"Overlaps are kept in 'layers' or go to 'most_votes', but the rule is {overlaps!r}.")
    labels, segments = [], []
    for segment in observers.segments:
        value = _free_value(segment.label.value, labels)
        labels.append(replace(segment.label, value=value, layer=0, tags=()))
        segments.append(consensus(ObserverMasks.of_segment(observers, segment), method, **settings))
    claims = np.zeros(observers.grid.shape, np.uint8)  # how many segments a voxel belongs to; more than 2 are 2
    for segment in segments:
        claims[segment.observers.box] += segment.mask & (claims[segment.observers.box] < 2)
    label_map = (_in_layers if overlaps == "layers" else _by_votes)(observers.grid, labels, segments)
    by_id = {label.id: segment for label, segment in zip(labels, segments, strict=True)}
    return LabelConsensus(label_map, by_id, int(np.count_nonzero(claims == 2)), overlaps)


def _free_value(wanted: int, labels: list[Label]) -> int:
    """The value, or the smallest that no label has if it is taken."""
    taken = {label.value for label in labels}
    return wanted if wanted not in taken else next(n for n in range(1, len(taken) + 2) if n not in taken)


def _kind(labels: list[Label]) -> type:
    return np.uint8 if max((label.value for label in labels), default=0) <= 255 else np.uint16


def _in_layers(grid: Grid, labels: list[Label], segments: list[Consensus]) -> LabelMap:
    """Each segment in the first layer where it overlaps none."""
    layers = [np.zeros(grid.shape, _kind(labels))]
    placed = []
    for label, segment in zip(labels, segments, strict=True):
        box, mask = segment.observers.box, segment.mask
        free = (number for number, layer in enumerate(layers) if not layer[box][mask].any())
        number = next(free, len(layers))
        if number == len(layers):
            layers.append(np.zeros_like(layers[0]))
        layers[number][box][mask] = label.value
        placed.append(replace(label, layer=number))
    return LabelMap(np.stack(layers) if len(layers) > 1 else layers[0], grid, tuple(placed))


def _by_votes(grid: Grid, labels: list[Label], segments: list[Consensus]) -> LabelMap:
    """One layer; a voxel of several segments goes to that with most votes there, of several such to the first."""
    layer, votes_of_owner = np.zeros(grid.shape, _kind(labels)), np.zeros(grid.shape, np.uint8)
    for label, segment in zip(labels, segments, strict=True):
        box, votes = segment.observers.box, segment.observers.votes
        gained = segment.mask & (votes > votes_of_owner[box])  # no method takes in what nobody marked
        layer[box][gained] = label.value
        votes_of_owner[box][gained] = votes[gained]
    return LabelMap(layer, grid, tuple(labels))
