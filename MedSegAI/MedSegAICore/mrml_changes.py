"""What a correction changed in its draft, and how a segment is put back to what the draft says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.mrml import full_grid, reference_grid, segment_layers, with_voxels
from MedSegAICore.mrml_correction import draft_of, segments_overlap
from MedSegAICore.mrml_images import (
    array_of_oriented_image,
    grid_of_oriented_image,
    oriented_image,
    resample_labels,
)


@dataclass(frozen=True)
class Change:
    """How many voxels a segment gained and lost since the draft. ``voxel_ml``: the volume of one of them."""

    added: int = 0
    removed: int = 0
    voxel_ml: float = 0.0

    @property
    def added_ml(self) -> float:
        return self.added * self.voxel_ml

    @property
    def removed_ml(self) -> float:
        return self.removed * self.voxel_ml

    def __add__(self, other: Change) -> Change:
        return Change(self.added + other.added, self.removed + other.removed, max(self.voxel_ml, other.voxel_ml))


def changes_since_draft(node) -> dict[str, Change]:
    """What changed in every segment of a correction or its draft, by segment id; {} if it has no draft (any more).

    A voxel that moved from one segment to another is lost by one and gained by the other. If the correction was put on
    other voxels than the draft, the draft is resampled to them by nearest neighbor.
    """
    draft = draft_of(node)
    if draft is None:
        return {}
    before, after = _layers(draft), _layers(node)
    ids = [node.GetSegmentation().GetNthSegmentID(n) for n in range(node.GetSegmentation().GetNumberOfSegments())]
    together: dict[tuple, list[str]] = {}
    for identifier in dict.fromkeys([*ids, *draft.GetSegmentation().GetSegmentIDs()]):
        key = tuple(places[identifier].layer if identifier in places else None for places in (before, after))
        together.setdefault(key, []).append(identifier)
    changes, grid = {}, _grid_of_both(node, draft)
    for shared in together.values():
        for identifier, added, removed in _count(before, after, shared, grid):
            changes[identifier] = Change(added, removed, grid.voxel_volume_ml)
    return {identifier: changes[identifier] for identifier in dict.fromkeys([*ids, *changes])}


def _grid_of_both(node, draft) -> Grid:
    """The voxels of a correction, extended to hold its draft too, as somebody may have cropped its geometry."""
    return full_grid(node).extended_to(full_grid(draft).corners_ras())


@dataclass(frozen=True)
class _Place:
    """Where the voxels of a segment are: the number and image of its layer (None if empty), and its value in it."""

    layer: int
    image: object
    value: int


_Places = dict[str, _Place]  # by segment id


def _layers(node) -> _Places:
    places = {}
    for number, (image, labels) in enumerate(segment_layers(with_voxels(node, reference_grid(node)))):
        if image is None or 0 in image.GetDimensions() or image.GetPointData().GetScalars() is None:
            image = None
        places.update({label.id: _Place(number, image, label.value) for label in labels})
    return places


def _count(before: _Places, after: _Places, identifiers: list[str], grid: Grid) -> list[tuple[str, int, int]]:
    """Id, voxels added and voxels removed of segments that share a layer in the draft and one in the correction."""
    first, second = ([places[one] for one in identifiers if one in places] for places in (before, after))
    old, new = _on_same_voxels(first, second, grid)
    if old is None:
        return [(identifier, 0, 0) for identifier in identifiers]
    old_codes, new_codes = (_codes(places, identifiers) for places in (before, after))
    if not np.array_equal(old_codes, new_codes):
        old, new = old_codes[old], new_codes[new]
        old_codes = new_codes = np.arange(len(identifiers) + 1)
    # Few voxels change, so only these are looked at more closely: the values of other segments have code 0.
    changed = old != new
    lost, gained = old_codes[old[changed]], new_codes[new[changed]]
    different = lost != gained
    removed, added = (
        np.bincount(codes[different], minlength=len(identifiers) + 1)[1:].tolist() for codes in (lost, gained)
    )
    return list(zip(identifiers, added, removed, strict=True))


def _codes(places: _Places, identifiers: list[str]) -> np.ndarray:
    """From label value to 1, 2, … in the order of the ids, and to 0 for what is none of them."""
    codes = np.zeros(65536, np.uint16)
    for code, identifier in enumerate(identifiers, 1):
        if identifier in places:
            codes[places[identifier].value] = code
    return codes


def _on_same_voxels(first: list[_Place], second: list[_Place], grid: Grid) -> tuple:
    """The label arrays of two layers on a box that holds both; (None, None) if both are empty.

    ``grid``: what they are resampled to if their voxels do not fit.
    """
    images = [places[0].image if places else None for places in (first, second)]
    grids = [grid_of_oriented_image(image) for image in images if image is not None]
    if not grids:
        return None, None
    offset = grids[0].offset_of(grids[-1])
    if offset is None:
        sides = zip((first, second), images, strict=True)
        return tuple(resample_labels(image, [p.value for p in places], grid)[0] for places, image in sides)
    arrays = [
        array_of_oriented_image(image) if image is not None else np.zeros(grids[0].shape, np.uint8) for image in images
    ]
    starts = np.array([(0, 0, 0), offset])
    if (offset == 0).all() and arrays[0].shape == arrays[1].shape:
        return tuple(arrays)
    origin = starts.min(0)
    shape = (starts + [array.shape for array in arrays]).max(0) - origin
    return tuple(_padded(array, start - origin, shape) for array, start in zip(arrays, starts, strict=True))


def _padded(array: np.ndarray, start: np.ndarray, shape: np.ndarray) -> np.ndarray:
    padded = np.zeros(shape, array.dtype)
    padded[tuple(slice(s, s + n) for s, n in zip(start, array.shape, strict=True))] = array
    return padded


def reset_to_draft(node, segmentId: str):
    """Give a segment of a correction the voxels that it has in the draft.

    Where segments do not overlap, what this segment had taken from others goes back to them, and what others had taken
    from it comes back, so that no gap and no overlap is left. Call ``saveStateForUndo`` of the Segment Editor before.

    Raises InputError if there is no draft any more, or it does not have the segment.
    """
    draft = draft_of(node)
    if draft is None:
        raise InputError(f"The draft of {node.GetName()!r} is not in the scene any more.")
    if draft.GetSegmentation().GetSegment(segmentId) is None:
        raise InputError("The draft does not have this segment. It was added later; use undo or remove it.")
    if node.GetSegmentation().GetSegment(segmentId) is None:
        raise InputError("The correction does not have this segment any more. Use undo to get it back.")
    grid = _grid_of_both(node, draft)
    now, then = (_mask(one, segmentId, grid) for one in (node, draft))
    exclusive = not segments_overlap(draft) and not segments_overlap(node)
    ids = [one for one in node.GetSegmentation().GetSegmentIDs() if one != segmentId]
    _write(node, segmentId, then, grid, ids if exclusive else [])
    if exclusive:
        _give_back(node, draft, now & ~then, grid, ids)


def _give_back(node, draft, region: np.ndarray, grid: Grid, identifiers: list[str]):
    """Let the other segments have again what they have in the draft inside the region (K, J, I)."""
    for image, labels in segment_layers(with_voxels(draft, grid)):
        array, _outside = resample_labels(image, [label.value for label in labels], grid)
        values = np.unique(array[region])
        for label in labels:
            if label.value in values and label.id in identifiers:
                own = _mask(node, label.id, grid)
                _write(node, label.id, own | (region & (array == label.value)), grid, [])


def _mask(node, segmentId: str, grid: Grid) -> np.ndarray:
    """The voxels (K, J, I) of a segment on a grid in the node's frame."""
    place = _layers(node)[segmentId]
    return resample_labels(place.image, [place.value], grid)[0] > 0


def _write(node, segmentId: str, mask: np.ndarray, grid: Grid, overwritten: list[str]):
    """Replace a segment's voxels. Those of ``overwritten`` lose what they share with it."""
    import slicer

    logic, image = slicer.vtkSlicerSegmentationsModuleLogic, oriented_image(grid, mask.astype(np.uint8))
    logic.SetBinaryLabelmapToSegment(image, node, segmentId, logic.MODE_REPLACE, image.GetExtent(), False, overwritten)
