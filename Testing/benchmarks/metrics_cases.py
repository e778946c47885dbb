"""The pairs of segmentations that metrics.py times: two sets of real ones and three written from fixed random seeds.

Arrays and spacings are in KJI order. A pair of one segment holds masks; a pair of several holds label maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

LIVER_SHAPE, LIVER_SPACING = (400, 512, 512), (1.0, 0.75, 0.75)
ATLAS_LABELS, HEAD_RADII = 24, (95, 100, 90)


@dataclass(frozen=True)
class Pair:
    reference: np.ndarray
    test: np.ndarray
    spacing_mm: tuple[float, ...]

    def masks(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """What a tool for masks is given: the arrays themselves, or comparisons with a label, which cost time."""
        if self.reference.dtype == bool:
            return self.reference, self.test
        return self.reference == label, self.test == label


@dataclass(frozen=True)
class Case:
    pairs: list[Pair]
    labels: list[int]


def load(name: str, data: Path, cache: Path) -> Case:
    """One of NAMES. Written cases are kept in the folder ``cache``."""
    if name == "spleen":
        reference, spacing = _read(data / "spleen_ct/spleen1_label_gt.nii.gz")
        test, _ = _read(data / "spleen_ct/spleen1_label_auto.nii.gz")
        return Case([Pair(reference > 0, test > 0, spacing)], [1])
    if name == "hippocampus":
        volumes = [_read(path) for path in sorted((data / "hippocampus/labels").glob("*.nii.gz"))]
        return Case([Pair(labels, np.roll(labels, (1, 1), (1, 2)), spacing) for labels, spacing in volumes], [1, 2])
    path = cache / f"{name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        reference, test = WRITTEN[name]()
        np.savez(path, reference=reference, test=test)
    arrays = np.load(path)
    spacing, labels = ((1.0,) * 3, list(range(1, ATLAS_LABELS + 1))) if name == "atlas" else (LIVER_SPACING, [1])
    return Case([Pair(arrays["reference"], arrays["test"], spacing)], labels)


def tiny() -> Case:
    """Two small labels inside the image, for the call that loads and compiles what a tool needs."""
    reference = np.zeros((12, 14, 16), np.uint8)
    reference[3:8, 3:6, 3:9] = 1
    reference[3:8, 8:11, 3:9] = 2
    return Case([Pair(reference, np.roll(reference, 1, 2), (2.0, 1.0, 1.0))], [1, 2])


def _read(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path), sitk.sitkUInt8)
    return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]


def _smooth_noise(shape: Sequence[int], step: int, amplitude: float, seed: int) -> np.ndarray:
    """Normal noise on every ``step``-th voxel, interpolated linearly in between."""
    coarse = [length // step + 2 for length in shape]
    noise = np.random.default_rng(seed).standard_normal(coarse).astype(np.float32) * np.float32(amplitude)
    return ndimage.zoom(noise, [length / few for length, few in zip(shape, coarse, strict=True)], order=1)


def _noisy_ellipsoid(
    center_mm: Sequence[float], radii_mm: Sequence[float], noises: Sequence[tuple[int, float, int]]
) -> np.ndarray:
    """Mask on the liver's grid of an ellipsoid whose radius varies by ``noises``: (step, amplitude, seed) each."""
    center, radii, spacing = (np.asarray(values) for values in (center_mm, radii_mm, LIVER_SPACING))
    first = np.maximum(0, (center - 1.7 * radii) / spacing).astype(int)
    last = np.minimum(LIVER_SHAPE, (center + 1.7 * radii) / spacing + 1).astype(int)
    box = tuple(slice(*ends) for ends in zip(first, last, strict=True))
    axes = [((axis + 0.5) * spacing[i] - center[i]) / radii[i] for i, axis in enumerate(np.ogrid[box])]
    radius = np.sqrt(sum(axis**2 for axis in axes)).astype(np.float32)
    for step, amplitude, seed in noises:
        radius += _smooth_noise(radius.shape, step, amplitude, seed)
    mask = np.zeros(LIVER_SHAPE, bool)
    mask[box] = radius < 1
    return mask


def _liver() -> tuple[np.ndarray, np.ndarray]:
    """A liver, and an observer who differs from it by about half a millimeter."""
    center, radii, shape = (200, 190, 160), (85, 80, 105), (24, 0.12, 1)
    return _noisy_ellipsoid(center, radii, [shape]), _noisy_ellipsoid(center, radii, [shape, (12, 0.03, 7)])


def _liver_far() -> tuple[np.ndarray, np.ndarray]:
    """The same, with a part missing and a false island far away."""
    reference, test = _liver()
    test[:, :, 300:] = False
    return reference, test | _noisy_ellipsoid((350, 320, 330), (18, 15, 15), [(24, 0.12, 5)])


def _atlas() -> tuple[np.ndarray, np.ndarray]:
    """Regions of a head around random centers, and the same regions bent by about a millimeter."""
    centers = np.random.default_rng(0).uniform(45, 211, (100, 3)).astype(np.float32)
    centers = centers[(((centers - 128) / HEAD_RADII) ** 2).sum(1) < 0.7][:ATLAS_LABELS]
    bent = [_smooth_noise((256,) * 3, 16, 5, 100 + axis) for axis in range(3)]
    bent = [noise + grid for noise, grid in zip(bent, np.ogrid[:256, :256, :256], strict=True)]
    reference = _nearest(centers, bent)
    return reference, _nearest(
        centers, [axis + _smooth_noise(axis.shape, 12, 1.2, 50 + i) for i, axis in enumerate(bent)]
    )


def _nearest(centers: np.ndarray, position: list[np.ndarray]) -> np.ndarray:
    """Number of the nearest center, from 1; 0 outside an ellipsoid and far from all centers."""
    labels = np.zeros(position[0].shape, np.uint8)
    least = np.full(labels.shape, 48.0**2, np.float32)
    for number, center in enumerate(centers, 1):
        squared = sum((axis - start) ** 2 for axis, start in zip(position, center, strict=True))
        nearer = squared < least
        labels[nearer] = number
        least[nearer] = squared[nearer]
    head = sum(((axis - 128) / radius) ** 2 for axis, radius in zip(position, HEAD_RADII, strict=True))
    labels[head >= 1] = 0
    return labels


WRITTEN: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "liver": _liver,
    "liver_far": _liver_far,
    "atlas": _atlas,
}
NAMES = ("spleen", "hippocampus", *WRITTEN)
