"""Training data: finding the cases of a data set, preparing them once, and drawing batches of patches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore.errors import TrainingError
from MedSegAICore.files import read_image, read_label_map
from MedSegAICore.image import Image, stack_channels
from MedSegAICore.orientation import Turn
from MedSegAILib.training.augmentation import Augmentation, sample_patch

if TYPE_CHECKING:
    import torch

FILE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
# Positions kept per case and class for foreground oversampling; more would only cost memory.
MAX_LOCATIONS = 2000


@dataclass(frozen=True)
class TrainingCase:
    """One case on disk: the image file of every channel and the label file."""

    id: str
    images: tuple[Path, ...]
    label: Path

    def read_image(self) -> Image:
        """All channels on one grid. Raises InputError or GeometryError."""
        return stack_channels([read_image(path) for path in self.images])

    def read_labels(self) -> np.ndarray:
        """The label array (K, J, I). Raises TrainingError if segments overlap."""
        label_map = read_label_map(self.label)
        if len(label_map.layers) > 1:
            raise TrainingError(f"{self.label.name} has overlapping segments; training needs one label per voxel.")
        return label_map.layers[0]

    def read_turned(self, orientation: str | None) -> tuple[Image, np.ndarray]:
        """Image and labels, turned to an orientation such as RAS; None leaves them as they are stored.

        Raises TrainingError if the two do not have the same shape.
        """
        image, labels = self.read_image(), self.read_labels()
        if labels.shape != image.grid.shape:
            raise TrainingError(f"The label file has shape {labels.shape}, but the image {image.grid.shape}.")
        turn = Turn.between(image.grid.orientation, orientation or image.grid.orientation)
        return Image(turn.array(image.array), turn.grid(image.grid), image.meta), turn.array(labels)


@dataclass(frozen=True)
class RawDataset:
    """A data set on disk, with what nnU-Net's ``dataset.json`` says of it."""

    name: str
    cases: tuple[TrainingCase, ...]
    description: Mapping[str, Any]

    @property
    def label_values(self) -> dict[str, Any]:
        return dict(self.description["labels"])

    def select(self, ids: Sequence[str]) -> RawDataset:
        """Only the cases of these ids. Raises TrainingError if one is unknown."""
        unknown = sorted(set(ids) - {case.id for case in self.cases})
        if unknown:
            raise TrainingError(f"There is no case {unknown[0]!r} in data set {self.name} ({len(self.cases)} cases).")
        wanted = set(ids)
        return RawDataset(self.name, tuple(case for case in self.cases if case.id in wanted), self.description)


def open_dataset(
    folder: Path | str, *, labels: Mapping[str, int] | None = None, channel_names: Sequence[str] = ("MRI",)
) -> RawDataset:
    """Open a data set in nnU-Net raw layout, or a folder with ``images`` and ``labels`` of equal file names.

    ``labels`` and ``channel_names`` describe the second kind, which has no ``dataset.json``; without ``labels`` every
    value that occurs becomes ``label_<value>``.
    Raises TrainingError if nothing usable is found, or an image has no label.
    """
    folder = Path(folder)
    description_file = folder / "dataset.json"
    if description_file.is_file():
        description = json.loads(description_file.read_text(encoding="utf-8"))
        description.setdefault("channel_names", description.pop("modality", None) or {"0": "MRI"})
        if all(str(key).isdigit() for key in description["labels"]):  # Medical Segmentation Decathlon: value -> name
            description["labels"] = {name: int(value) for value, name in description["labels"].items()}
        return RawDataset(folder.name, _cases(folder / "imagesTr", folder / "labelsTr"), description)
    if not (folder / "images").is_dir() or not (folder / "labels").is_dir():
        raise TrainingError(
            f"{folder} is not a data set: expected dataset.json with imagesTr and labelsTr, "
            "or folders images and labels."
        )
    cases = _cases(folder / "images", folder / "labels")
    if labels is None:
        values = sorted({int(v) for case in cases for v in np.unique(case.read_labels())} - {0})
        labels = {f"label_{value}": value for value in values}
    description = {
        "channel_names": {str(number): name for number, name in enumerate(channel_names)},
        "labels": {"background": 0, **labels},
        "numTraining": len(cases),
        "file_ending": _ending(cases[0].label),
    }
    return RawDataset(folder.name, cases, description)


def _cases(image_folder: Path, label_folder: Path) -> tuple[TrainingCase, ...]:
    label_files = {_stem(path): path for path in sorted(label_folder.glob("*")) if _ending(path)}
    image_files: dict[str, list[Path]] = {}
    for path in sorted(image_folder.glob("*")):
        if _ending(path) and not path.name.startswith("."):
            stem = _stem(path)
            channel = stem[-5:]
            # nnU-Net numbers channels as case_0000; a plain folder has one file a case.
            if stem not in label_files and channel[:1] == "_" and channel[1:].isdigit():
                stem = stem[:-5]
            image_files.setdefault(stem, []).append(path)
    missing = sorted(set(image_files) - set(label_files))
    if missing:
        raise TrainingError(f"{len(missing)} image(s) have no label in {label_folder}, the first is {missing[0]!r}.")
    if not image_files:
        raise TrainingError(f"There are no images ({', '.join(FILE_ENDINGS)}) in {image_folder}.")
    counts = {len(files) for files in image_files.values()}
    if len(counts) > 1:
        raise TrainingError(f"The cases in {image_folder} have different numbers of channels: {sorted(counts)}.")
    return tuple(TrainingCase(id, tuple(files), label_files[id]) for id, files in sorted(image_files.items()))


def _ending(path: Path) -> str:
    return next((ending for ending in FILE_ENDINGS if path.name.endswith(ending)), "")


def _stem(path: Path) -> str:
    return path.name[: -len(_ending(path))]


def make_folds(ids: Sequence[str], count: int = 5, seed: int = 12345) -> list[dict[str, list[str]]]:
    """Split case ids into ``count`` folds of ``{"train": […], "val": […]}``, the layout of ``splits_final.json``."""
    if not 2 <= count <= len(ids):
        raise TrainingError(f"{len(ids)} cases cannot be split into {count} folds; choose 2 to {len(ids)}.")
    shuffled = [str(id) for id in np.random.default_rng(seed).permutation(sorted(ids))]
    parts = [sorted(shuffled[number::count]) for number in range(count)]
    return [
        {
            "train": sorted(id for other, part in enumerate(parts) if other != number for id in part),
            "val": parts[number],
        }
        for number in range(count)
    ]


@dataclass(frozen=True)
class PreparedCase:
    """A preprocessed case: image (channels, K, J, I) float32, labels (K, J, I), positions per label value."""

    id: str
    image: np.ndarray
    labels: np.ndarray
    locations: Mapping[int, np.ndarray]


def prepare_case(id: str, image: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> PreparedCase:
    """Remember where each foreground label lies, for oversampling."""
    locations = {}
    for value in np.unique(labels[labels > 0]):
        positions = np.argwhere(labels == value)
        if len(positions) > MAX_LOCATIONS:
            positions = positions[random.choice(len(positions), MAX_LOCATIONS, replace=False)]
        locations[int(value)] = positions
    return PreparedCase(id, image, labels, locations)


class PatchSampler:
    """Draws augmented batches from prepared cases.

    ``classes``: one tuple of label values per output (a label has one value, a region several).
    ``ignore``: the value of the ignore label, or None.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        classes: Sequence[tuple[int, ...]],
        patch_size: Sequence[int],
        spacing: Sequence[float],
        batch_size: int,
        augmentation: Augmentation,
        *,
        regions: bool = False,
        ignore: int | None = None,
        foreground_fraction: float = 0.33,
        seed: int = 0,
        device: Any = "cpu",
    ):
        self.cases, self.classes, self.spacing = list(cases), classes, tuple(spacing)
        self.patch_size, self.batch_size, self.augmentation = tuple(patch_size), batch_size, augmentation
        self.regions, self.ignore, self.device = regions, ignore, device
        self.foreground_fraction = foreground_fraction
        self.random = np.random.default_rng(seed)
        self._order: list[int] = []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Images (B, channels, *patch), targets (B, classes, *patch), and the mask of counted voxels or None."""
        import torch

        samples = [self._sample() for _ in range(self.batch_size)]
        images = torch.stack([image for image, _ in samples])
        targets = torch.stack([target for _, target in samples])
        if self.ignore is None:
            return images, targets, None
        return images, targets[:, :-1].contiguous(), 1 - targets[:, -1:]

    def _sample(self):
        import torch

        case = self.cases[self._next_case()]
        center = self._center(case, foreground=self.random.random() < self.foreground_fraction)
        image, labels, center = self._region(case, center)
        values = [*self.classes, (self.ignore,)] if self.ignore is not None else self.classes
        target = np.stack([np.isin(labels, classes) for classes in values]).astype(np.float32)
        return sample_patch(
            torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).to(self.device),
            torch.from_numpy(target).to(self.device),
            center, self.patch_size, self.spacing, self.augmentation, self.random, regions=self.regions,
        )  # fmt: skip

    def _next_case(self) -> int:
        """Every case once before any comes twice."""
        if not self._order:
            self._order = list(self.random.permutation(len(self.cases)))
        return int(self._order.pop())

    def _center(self, case: PreparedCase, foreground: bool) -> np.ndarray:
        """A foreground voxel, or a place where patch and volume overlap as much as they can."""
        shape, patch = np.array(case.labels.shape), np.array(self.patch_size)
        ends = np.sort(np.stack([patch / 2, shape - patch / 2]), axis=0)
        if foreground and case.locations:
            positions = case.locations[int(self.random.choice(list(case.locations)))]
            center = np.clip(positions[self.random.integers(len(positions))], *(ends - 0.5))
        else:
            center = self.random.uniform(*ends) - 0.5
        return np.where(patch == 1, np.round(center), center)  # a 2D patch is one whole slice

    def _region(self, case: PreparedCase, center: np.ndarray):
        """The part of the case that a patch at ``center`` can reach, and the center within it."""
        # A rotated and zoomed-out patch reaches at most its half diagonal times the largest scale.
        scale = 1 / self.augmentation.scaling_range[0]
        reach = np.linalg.norm(np.array(self.patch_size) * self.spacing) / 2 * scale + 3 * self.augmentation.elastic_mm
        reach = np.ceil(reach / np.array(self.spacing)).astype(int) + 2
        reach = np.where(np.array(self.patch_size) == 1, 1, reach)
        start = np.clip(np.floor(center).astype(int) - reach, 0, None)
        stop = np.minimum(np.ceil(center).astype(int) + reach + 1, case.labels.shape)
        part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return case.image[(slice(None), *part)], case.labels[part], center - start
