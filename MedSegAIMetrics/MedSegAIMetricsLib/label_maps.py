"""Compare two label maps that know where they lie and what their segments are called."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from MedSegAICore.errors import Cancelled, GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.resampling import extended_to_hold, resample_label_map
from MedSegAIMetricsLib.comparison import LabelMeasures, Settings, measure
from MedSegAIMetricsLib.masks import LocatedLabels, MaskPair, pair_of
from MedSegAIMetricsLib.matching import Match, match_labels
from MedSegAIMetricsLib.measures import Measure

MOST_SHEAR = 1e-3  # cosine between two axes of a grid; distances are measured along axes at right angles


class SegmentComparison(dict):
    """``{segment id: {measure name: float}}`` with what belongs to it; the id is the reference's, else the test's.

    ``reasons``: ``{segment id: {measure name: why it is NaN or holds by convention}}``. ``matches``: ``{segment id:
    Match}``, which segments were compared and why these. ``fingerprints``: ``{segment id: str}``, see ``fingerprint``.
    ``measures``, ``region``: as in ``Comparison``. ``grid``: on which everything was measured. ``notes``: sentences
    about what was resampled. ``names``: of the reference and the test. ``time``: when it was finished, UTC as ISO 8601.
    ``request``, ``node_ids``: what was asked for, and of which nodes of a scene, where there is one.
    """

    def __init__(
        self,
        measured: Mapping[str, LabelMeasures],
        matches: Sequence[Match],
        measures: Sequence[Measure],
        region: str,
        grid: Grid,
    ):
        super().__init__({key: own.values for key, own in measured.items()})
        self.reasons = {key: own.reasons for key, own in measured.items()}
        self.summaries = {key: own.reason for key, own in measured.items()}
        self.fingerprints = {key: own.fingerprint for key, own in measured.items()}
        self.matches = dict(zip(measured, matches, strict=True))
        self.measures = tuple(measures)
        self.region = region
        self.grid = grid
        self.notes: list[str] = []
        self.names = ("reference", "test")
        self.request: dict[str, Any] = {}
        self.node_ids: tuple[str | None, str | None] = (None, None)
        self.time = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._label_maps: tuple[LabelMap, LabelMap] | None = None

    @classmethod
    def of(
        cls,
        measured: Mapping[str, LabelMeasures],
        matches: Sequence[Match],
        settings: Settings,
        label_maps: tuple[LabelMap, LabelMap],
    ) -> SegmentComparison:
        """The comparison of two label maps on one grid."""
        result = cls(measured, matches, settings.measures, str(settings.region), label_maps[0].grid)
        result._label_maps = label_maps
        return result

    def masks(self, segment_id: str) -> tuple[np.ndarray, np.ndarray]:
        """The reference and the test mask (K, J, I) of one segment, on ``grid``."""
        match = self.matches[segment_id]
        return tuple(
            label_map.mask(label) if label is not None else np.zeros(self.grid.shape, bool)
            for label_map, label in zip(self._label_maps, (match.reference, match.test), strict=True)
        )


def compare_label_maps(
    reference: LabelMap,
    test: LabelMap,
    measures: Sequence[str] | None = None,
    *,
    grid: str | Grid = "reference",
    matches: Sequence[Match] | None = None,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    **settings,
) -> SegmentComparison:
    """Compare all segments of two label maps, overlapping ones each by itself.

    ``measures`` and ``settings``: as for ``compare``. ``matches``: which segments belong together; None finds them by
    id, terminology and name, and compares what is on one side only with an empty mask.
    ``grid``: where the two lie on different grids, everything is measured on that of the ``reference``, of the
    ``test``, or on a Grid, extended so that no segment is cut; the other is resampled by nearest neighbor, and
    ``notes`` of the result says so.
    ``progress(fraction, segment name)`` and ``cancelled()`` are called before each segment.

    Raises InputError for segments or measures that do not exist and names that occur twice; GeometryError for a grid
    whose axes are not at right angles; Cancelled.
    """
    chosen = Settings.of(measures, **settings)
    matches = list(match_labels(reference.labels, test.labels) if matches is None else matches)
    reference, test, notes = on_one_grid(reference, test, grid)
    measured = measure_segments(reference, test, matches, chosen, progress, cancelled)
    result = SegmentComparison.of(measured, matches, chosen, (reference, test))
    result.notes = notes
    return result


def measure_segments(
    reference: LabelMap,
    test: LabelMap,
    matches: Sequence[Match],
    settings: Settings,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, LabelMeasures]:
    """The measures of each match by segment id. Both label maps lie on one grid. Raises Cancelled."""
    measured: dict[str, LabelMeasures] = {}
    for number, (match, pair) in enumerate(zip(matches, segment_pairs(reference, test, matches), strict=True)):
        if cancelled is not None and cancelled():
            raise Cancelled("Cancelled: the comparison was not finished.")
        if progress is not None:
            progress(number / len(matches), match.label.name)
        measures = measure(pair, settings)
        measures.fingerprint = fingerprint(pair)
        measured[_key(match, measured)] = measures
    return measured


def fingerprint(pair: MaskPair) -> str:
    """A text that is another one if a voxel of either mask, or their place in the image, is another one."""
    total = zlib.crc32(repr((pair.start, pair.reference.shape, pair.image_shape)).encode())
    for mask in (pair.reference, pair.test):
        for plane in mask:  # so that no copy of the mask is made
            total = zlib.crc32(np.packbits(plane), total)
    return f"{total:08x}"


def on_one_grid(
    reference: LabelMap, test: LabelMap, grid: str | Grid = "reference"
) -> tuple[LabelMap, LabelMap, list[str]]:
    """Both label maps on one grid, see ``compare_label_maps``, and sentences about what was resampled or extended."""
    if grid not in ("reference", "test") and not isinstance(grid, Grid):
        raise InputError(f"The grid is 'reference', 'test' or a Grid, but it is {grid!r}.")
    named = grid if isinstance(grid, Grid) else (reference if grid == "reference" else test).grid
    (reference, test), notes = placed_on({"The reference": reference, "The test": test}, named)
    return reference, test, notes


def placed_on(label_maps: Mapping[str, LabelMap], named: Grid) -> tuple[list[LabelMap], list[str]]:
    """All label maps on one grid, extended so that no segment is cut, and sentences about what was done.

    ``label_maps``: by what a sentence calls them. Raises GeometryError for a grid whose axes are not at right angles.
    """
    target = named
    for label_map in label_maps.values():
        if not label_map.grid.matches(named):
            target = extended_to_hold(target, label_map)
    check_axes(target)
    notes = extension_notes(named, target)
    for title, label_map in label_maps.items():
        if target.offset_of(label_map.grid) is None:
            notes.append(f"{title} was resampled by nearest neighbor from {label_map.grid} to {target}.")
    return [resample_label_map(label_map, target) for label_map in label_maps.values()], notes


def extension_notes(named: Grid, target: Grid) -> list[str]:
    """A sentence that says so if the grid had to be extended; true negatives of the whole image count its voxels."""
    if target.shape == named.shape:
        return []
    return [f"The grid was extended from {named} to {target}, so that no segment is cut."]


def segment_pairs(reference: LabelMap, test: LabelMap, matches: Sequence[Match]) -> Iterator[MaskPair]:
    """The masks of each match, made when they are asked for. Both label maps lie on one grid."""
    located: dict[tuple[int, int], LocatedLabels] = {}

    def find(side: int, label_map: LabelMap, label: Label | None) -> tuple[LocatedLabels, int]:
        layer = label.layer if label else 0
        if (side, layer) not in located:
            located[side, layer] = LocatedLabels.of(label_map.layers[layer])
        return located[side, layer], label.value if label else 0

    for match in matches:
        sides = find(0, reference, match.reference), find(1, test, match.test)
        yield pair_of(match.label.value, *sides, reference.grid.spacing_kji)


def _key(match: Match, taken: dict) -> str:
    """The segment's id; a test segment whose id another reference segment has gets a number."""
    key, number = match.label.id, 2
    while key in taken:
        key, number = f"{match.label.id}_{number}", number + 1
    return key


def check_axes(grid: Grid):
    """Raises GeometryError for a grid whose axes are not at right angles."""
    axes = grid.ijk_to_ras[:3, :3] / np.array(grid.spacing_ijk)
    largest = np.abs(axes.T @ axes - np.eye(3)).max()
    if largest > MOST_SHEAR:
        raise GeometryError(
            f"The axes of {grid} are not at right angles (cosine {largest:.3g}), so distances cannot be measured on "
            "it. Name another grid, or resample the reference to one with right angles."
        )
