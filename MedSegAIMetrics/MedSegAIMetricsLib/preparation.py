"""From two nodes to two label maps on one grid in world coordinates, step by step, and back from what was stored."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import LabelMap
from MedSegAICore.mrml_world import label_map_in_world, world_grid
from MedSegAIMetricsLib.background import measure_in_child
from MedSegAIMetricsLib.comparison import Settings
from MedSegAIMetricsLib.label_maps import SegmentComparison, extension_notes, fingerprint
from MedSegAIMetricsLib.masks import LocatedLabels, pair_of
from MedSegAIMetricsLib.matching import Match, match_labels

Steps = Generator[tuple[float, str], None, Any]
TITLES = ("reference", "test")


def request_of(referenceSegmentId, testSegmentId, grid, measures, settings) -> dict[str, Any]:
    """What a caller asked for, as JSON can hold it. Raises InputError if a segment is named on one side only."""
    if (referenceSegmentId is None) != (testSegmentId is None):
        raise InputError("To compare two segments, choose one of the reference and one of the test.")
    plain = {key: value if isinstance(value, (str, int, float)) else list(value) for key, value in settings.items()}
    return {
        "referenceSegmentId": referenceSegmentId,
        "testSegmentId": testSegmentId,
        "grid": grid if isinstance(grid, str) else grid.GetName(),
        "measures": None if measures is None else list(measures),
        **plain,
    }


def comparison_in_steps(nodes: Sequence, request: dict, grid: Any, settings: Settings) -> Steps:
    """Read the nodes, compare in a child process, and return the comparison; see ``ComparisonRun``."""
    reference, test, notes = yield from label_maps_in_steps(nodes, request, grid)
    names, ids = [node.GetName() for node in nodes], [node.GetID() for node in nodes]
    matches = matches_of(reference, test, request)
    measured = yield from measure_in_child(reference, test, matches, settings)
    result = SegmentComparison.of(measured, matches, settings, (reference, test))
    result.notes, result.request, result.names, result.node_ids = notes, request, tuple(names), tuple(ids)
    return result


def label_maps_in_steps(nodes: Sequence, request: dict, grid: Any) -> Steps:
    """Returns both nodes' segments on one world grid, and sentences about what was resampled or extended."""
    named = _named_grid(grid, *nodes)
    ids = [[request[key]] if request[key] else None for key in ("referenceSegmentId", "testSegmentId")]
    yield 0.0, ""
    reference, moved = label_map_in_world(nodes[0], named, ids[0])
    yield 0.0, ""
    _check_still_there(nodes)
    test, test_moved = label_map_in_world(nodes[1], reference.grid, ids[1])
    if test.grid.shape != reference.grid.shape:
        yield 0.0, ""
        _check_still_there(nodes)
        reference, moved = label_map_in_world(nodes[0], test.grid, ids[0])
    notes = extension_notes(named, test.grid)
    notes += [
        f"The {title} {node.GetName()!r} was resampled by nearest neighbor to {test.grid}."
        for title, node, resampled in zip(TITLES, nodes, (moved, test_moved), strict=True)
        if resampled
    ]
    return reference, test, notes


def finished(steps: Steps) -> Any:
    """Do all steps at once, and give what they return."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def matches_of(reference: LabelMap, test: LabelMap, request: dict) -> list[Match]:
    """The two segments that were chosen, or all that belong together."""
    if request["referenceSegmentId"]:
        return [Match(reference.labels[0], test.labels[0], "chosen")]
    return match_labels(reference.labels, test.labels)


def masks_now(comparison: SegmentComparison, key: str, nodes: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """The masks of a segment as they are in the two nodes now.

    ``nodes``: None for one that is gone. Raises InputError if a node or a segment is gone, or if the masks are not the
    ones that were compared.
    """
    match = comparison.matches[key]
    masks = []
    for title, name, node, label in zip(TITLES, comparison.names, nodes, (match.reference, match.test), strict=True):
        if label is None:
            masks.append(np.zeros(comparison.grid.shape, bool))
            continue
        if node is None:
            raise InputError(f"The {title} {name!r} is not in the scene any more. Load it, and compare again.")
        try:
            found, _moved = label_map_in_world(node, comparison.grid, [label.id])
        except InputError as error:
            raise InputError(f"The {title} has changed since it was compared: {error} Compare again.") from error
        masks.append(found.mask(found.labels[0]) if found.grid.shape == comparison.grid.shape else None)
    if any(mask is None for mask in masks) or _fingerprint(masks) != comparison.fingerprints[key]:
        raise InputError(f"The segment {match.label.name!r} has changed since it was compared. Compare again.")
    return tuple(masks)


def _fingerprint(masks: Sequence[np.ndarray]) -> str:
    sides = [(LocatedLabels.of(mask), 1) for mask in masks]
    return fingerprint(pair_of(1, *sides, (1.0, 1.0, 1.0)))


def _check_still_there(nodes: Sequence):
    for title, node in zip(TITLES, nodes, strict=True):
        if node.GetScene() is None:
            raise InputError(f"The {title} {node.GetName()!r} was deleted before it could be compared.")


def _named_grid(grid, referenceNode, testNode) -> Grid:
    """The world grid to begin with; of the other node if the named one is a model, which has no voxels."""
    if isinstance(grid, str) and grid not in TITLES:
        raise InputError(f"The grid is 'reference', 'test' or a volume node, but it is {grid!r}.")
    for node in (referenceNode, testNode):
        if node is None:
            raise InputError("Two nodes are needed, a reference and a test, but one of them is missing.")
    if not isinstance(grid, str):
        return world_grid(grid)
    nodes = [referenceNode, testNode] if grid == "reference" else [testNode, referenceNode]
    node = next((node for node in nodes if not node.IsA("vtkMRMLModelNode")), None)
    if node is None:
        raise InputError("Two models have no voxels to be compared on. Give a volume node as grid.")
    return world_grid(node)
