"""Rigid or affine registration of one volume to another of the same body, by mutual information (SimpleITK).

Made for the channels of one examination: other contrasts, thick slices, motions of up to some centimeters. The volumes
are not changed; the result is a matrix, and how well it fits is measured and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.atomic import atomic_path
from MedSegAICore.boxes import filled_box
from MedSegAICore.errors import Cancelled, InputError
from MedSegAICore.grid import LPS_FROM_RAS, Grid
from MedSegAICore.image import Image
from MedSegAICore.resampling import outside_value, to_itk

KINDS = ("rigid", "affine")

# Voxel sizes in mm of the steps from coarse to fine. Finer than the last one costs time and changes less than 0.1 mm.
LEVELS_MM = (6.0, 3.0, 1.5)
SAMPLES = 50_000  # voxels that are compared in each step; 20 000 cost up to a millimeter at the edge of a head
SEED = 1
BINS = 32  # of the joint histogram, as in Mattes et al., IEEE Trans Med Imaging 2003;22:120-128
FEWEST_VOXELS = 8  # along an axis: a coarse level keeps so many, or thick slices would be averaged away
RADIUS_MM = 70.0  # of a head: a turn by 1 / RADIUS_MM moves its surface by 1 mm
SMALLEST_OVERLAP = 0.25  # of the smaller volume: a good match of two edges is none
STILL_MM = 1.5  # a mean displacement below it is none

# Beyond this the result is said to be implausible: patients move by less within one examination.
FAR_MM = 40.0
FAR_DEGREES = 25.0
SCALES = (0.85, 1.18)

NO_OVERLAP = "they could not be brought to overlap. Register them by hand, or check what they show."


@dataclass(frozen=True)
class Registration:
    """Where the moving volume lies on the fixed one.

    ``matrix``: 4x4, from the moving volume's RAS millimeters to the fixed one's.
    ``before``, ``after``: mutual information in nats at the position that the files say and at the found one, on the
    same voxels; more is better. ``before`` is None if the two did not overlap.
    ``mean_mm``, ``max_mm``: how far the voxels of the fixed volume are moved by it.
    ``concerns``: why it may be wrong, as ends of a sentence about the volume; empty if nothing speaks against it.
    """

    kind: str
    matrix: np.ndarray
    before: float | None
    after: float
    mean_mm: float
    max_mm: float
    concerns: tuple[str, ...] = ()

    def describe(self) -> str:
        """What was found, for people."""
        before = "no overlap" if self.before is None else f"{self.before:.3f}"
        return (
            f"{self.kind} registration moved it by {self.mean_mm:.1f} mm (at most {self.max_mm:.1f} mm); mutual "
            f"information {before} before, {self.after:.3f} after"
        )

    def to_dict(self) -> dict[str, Any]:
        """For provenance: numbers rounded to a micrometer."""
        return {
            "kind": self.kind,
            "moving_to_first_ras": np.round(self.matrix, 6).tolist(),
            "mutual_information_before": None if self.before is None else round(self.before, 4),
            "mutual_information_after": round(self.after, 4),
            "mean_displacement_mm": round(self.mean_mm, 3),
            "max_displacement_mm": round(self.max_mm, 3),
            "concerns": list(self.concerns),
        }


def register(fixed: Image, moving: Image, kind: str, cancelled: Callable[[], bool] | None = None) -> Registration:
    """Find the matrix that brings the first channel of ``moving`` onto that of ``fixed``.

    It starts where the files say the volumes are, and from their centers; the best start goes on to finer voxels.
    The same volumes give the same result. What does not improve on the files' position is discarded, with a concern.
    Parts that hold nothing but background are left out of the comparison.

    ``kind``: one of KINDS. Raises InputError for a constant volume or two volumes that cannot be brought to
    overlap; Cancelled.
    """
    search = _Search(fixed, moving, kind, cancelled or (lambda: False))
    found = search.best()
    before, after = search.information(np.eye(4)), search.information(found)
    if after is None:
        raise InputError(NO_OVERLAP)
    concerns = []
    if before is not None and after <= before:
        # Voxels that lie on each other need no interpolation, which alone raises the measure by a hundredth.
        if _moved(found, fixed.grid)[0] > STILL_MM:
            concerns.append(
                f"registration did not improve its match ({before:.3f} to {after:.3f}), so it was not moved"
            )
        found, after = np.eye(4), before
    concerns += _implausible(found, _moved(found, fixed.grid)[0])
    return Registration(kind, np.linalg.inv(found), before, after, *_moved(found, fixed.grid), tuple(concerns))


def write_transform(path: Path | str, moving_to_first: np.ndarray) -> None:
    """Write a matrix (4x4, RAS mm) as an ITK transform file (``.tfm``).

    As ITK wants it, the file maps points of the first volume to the moving one, in LPS. 3D Slicer loads it as the
    transform under which the moving volume lies on the first one. Raises OutputError if it cannot be written.
    """
    import SimpleITK as sitk

    transform = _affine(np.linalg.inv(moving_to_first))
    with atomic_path(Path(path)) as temporary:
        sitk.WriteTransform(transform, str(temporary))


class _Search:
    """The steps from coarse to fine. Matrices (4x4, RAS) map points of the fixed volume to the moving one."""

    def __init__(self, fixed: Image, moving: Image, kind: str, cancelled: Callable[[], bool]):
        self._fixed, self._moving = _to_itk(fixed, "first"), _to_itk(moving, "moving")
        self._kind, self._cancelled, self._levels = kind, cancelled, {}
        self._center = fixed.grid.center_ras()
        self._starts = [
            np.eye(4),
            _shift(moving.grid.center_ras() - self._center),
            _shift(_mass_ras(moving) - _mass_ras(fixed)),
        ]

    def best(self) -> np.ndarray:
        """Every start is followed at the coarsest level, rigidly; the best one to the end."""
        coarse = self._level(LEVELS_MM[0])
        tried = []
        for start in _distinct(self._starts):
            found = self._optimize(coarse, start, "rigid", LEVELS_MM[0])
            information = _information(coarse, found) if found is not None else None
            if information is not None:
                tried.append((information, found))
        if not tried:
            raise InputError(NO_OVERLAP)
        _, found = max(tried, key=lambda one: one[0])
        for spacing in LEVELS_MM[1:]:
            found = self._better(found, "rigid", spacing)
        return self._better(found, "affine", LEVELS_MM[-1]) if self._kind == "affine" else found

    def _better(self, start: np.ndarray, kind: str, spacing_mm: float) -> np.ndarray:
        """What is found from a start at one level, or the start if that fits better there."""
        level = self._level(spacing_mm)
        found = self._optimize(level, start, kind, spacing_mm)
        return max((m for m in (start, found) if m is not None), key=lambda m: _information(level, m) or -np.inf)

    def information(self, matrix: np.ndarray) -> float | None:
        """Mutual information at the finest level, or None if too little overlaps."""
        return _information(self._level(LEVELS_MM[-1]), matrix)

    def _level(self, spacing_mm: float):
        if spacing_mm not in self._levels:
            self._levels[spacing_mm] = tuple(_coarser(*volume, spacing_mm) for volume in (self._fixed, self._moving))
        return self._levels[spacing_mm]

    def _optimize(self, level, start: np.ndarray, kind: str, spacing_mm: float) -> np.ndarray | None:
        """The best matrix near a start, or None if the volumes do not overlap there."""
        import SimpleITK as sitk

        center = (LPS_FROM_RAS[:3, :3] @ self._center).tolist()
        step = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
        step.SetCenter(center)
        method = _method(level)
        method.SetMovingInitialTransform(_affine(start))  # is applied after the step
        # Gradient descent, with any of ITK's ways to find a step, stops a few degrees short of the optimum.
        method.SetOptimizerAsPowell(
            numberOfIterations=20, maximumLineIterations=20, stepLength=spacing_mm / 3, stepTolerance=2e-2,
            valueTolerance=3e-5,
        )  # fmt: skip
        method.SetOptimizerScales([RADIUS_MM] * (step.GetNumberOfParameters() - 3) + [1.0] * 3)
        method.SetInitialTransform(step, inPlace=True)
        stopped = []

        def check():
            if self._cancelled():
                stopped.append(True)
                method.StopRegistration()

        method.AddCommand(sitk.sitkIterationEvent, check)
        try:
            method.Execute(level[0][0], level[1][0])
        except RuntimeError:  # ITK: all samples map outside the moving image
            return None
        if stopped:
            raise Cancelled
        return start @ _matrix(step)


def _method(level, sampled: bool = True):
    """The comparison of two volumes at one level, without a transform yet."""
    import SimpleITK as sitk

    (_, fixed_mask), (_, moving_mask) = level
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricMovingMask(moving_mask)
    method.SetInterpolator(sitk.sitkLinear)
    # With several work units the order of the sums, and with it the last digits of the result, would depend on chance.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(fixed_mask)))
    if sampled:
        # Also where all voxels are taken: ITK takes them from random places beside their centers, and the measure has
        # no false optimum where the centers of the two volumes coincide.
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(min(1.0, SAMPLES / voxels), SEED)
    return method


def _information(level, matrix: np.ndarray) -> float | None:
    """Mutual information in nats at a position, or None if too little overlaps."""
    method = _method(level, sampled=False)
    method.SetInitialTransform(_affine(matrix))
    try:
        value = method.MetricEvaluate(level[0][0], level[1][0])
    except RuntimeError:  # ITK: all samples map outside the moving image
        return None
    return -float(value) if _overlap(level, matrix) >= SMALLEST_OVERLAP else None


def _overlap(level, matrix: np.ndarray) -> float:
    """Which part of the smaller volume's content lies in the other one's."""
    import SimpleITK as sitk

    (_, fixed), (_, moving) = level
    on_fixed = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, _affine(matrix), sitk.sitkNearestNeighbor))
    inside = sitk.GetArrayViewFromImage(fixed) > 0
    volumes = [np.count_nonzero(sitk.GetArrayViewFromImage(m)) * np.prod(m.GetSpacing()) for m in (fixed, moving)]
    return np.count_nonzero(on_fixed[inside]) * np.prod(fixed.GetSpacing()) / min(volumes)


def _affine(matrix: np.ndarray):
    """A matrix in RAS as an ITK transform."""
    import SimpleITK as sitk

    lps = LPS_FROM_RAS @ matrix @ LPS_FROM_RAS
    return sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())


def _matrix(transform) -> np.ndarray:
    """The matrix in RAS of an ITK transform with a center."""
    linear = np.reshape(transform.GetMatrix(), (3, 3))
    center, translation = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, translation + center - linear @ center
    return LPS_FROM_RAS @ matrix @ LPS_FROM_RAS


def _coarser(image, mask, spacing_mm: float):
    """Volume and mask with voxels of about this size; an axis that is as coarse stays as it is."""
    import SimpleITK as sitk

    factors = [
        max(1, min(round(spacing_mm / spacing), size // FEWEST_VOXELS))
        for spacing, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    if max(factors) == 1:
        return image, mask
    # Means of whole voxels keep their places exactly; sitk.Shrink is half a voxel off for even factors.
    return sitk.BinShrink(image, factors), sitk.BinShrink(mask, factors)


def _to_itk(image: Image, which: str):
    """The first channel and the mask of the box that it fills: what is not there can be compared with nothing."""
    array = np.asarray(image.array[0], np.float32)
    if not np.isfinite(array).all() or array.min() == array.max():
        raise InputError(f"The {which} volume is constant or holds NaN: there is nothing to register.")
    mask = np.zeros(array.shape, np.uint8)
    mask[filled_box(array != outside_value(array))] = 1
    inside = array[mask > 0]
    # Outliers would take most of the histogram's bins; a million voxels tell where they begin.
    low, high = np.percentile(inside[:: max(1, inside.size // 1_000_000)], (0.1, 99.9))
    return to_itk(array.clip(low, max(high, low + 1e-6)), image.grid), to_itk(mask, image.grid)


def _mass_ras(image: Image) -> np.ndarray:
    """Center of what is brighter than the mean: of the body in the air."""
    bright = image.array[0] > image.array[0].mean()
    planes = [np.count_nonzero(bright, axis=tuple({0, 1, 2} - {axis})) for axis in (2, 1, 0)]
    return image.grid.ijk_to_ras_points([[np.average(np.arange(len(n)), weights=n) for n in planes]])[0]


def _shift(by: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix


def _distinct(starts: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Those that are farther from each other than a coarse voxel: nearer ones end at the same place."""
    kept: list[np.ndarray] = []
    for start in starts:
        if all(np.abs(start - other).max() > LEVELS_MM[0] for other in kept):
            kept.append(start)
    yield from kept


def _moved(matrix: np.ndarray, grid: Grid) -> tuple[float, float]:
    """Mean and largest displacement in mm over a volume; a linear one is largest at a corner."""
    steps = [np.linspace(0, size - 1, 9) for size in grid.shape[::-1]]
    points = grid.ijk_to_ras_points(np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3))
    lengths = np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - points, axis=1)
    return float(lengths.mean()), float(lengths.max())


def _implausible(matrix: np.ndarray, mean_mm: float) -> list[str]:
    left, scales, right = np.linalg.svd(matrix[:3, :3])
    degrees = float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))
    concerns = []
    if mean_mm > FAR_MM or degrees > FAR_DEGREES:
        concerns.append(f"registration moved it unusually far, by {mean_mm:.0f} mm and {degrees:.0f} degrees")
    if scales.max() > SCALES[1] or scales.min() < SCALES[0]:
        concerns.append(f"registration stretched it unusually, by {scales.min():.2f} to {scales.max():.2f}")
    return concerns
