"""The preparation of a MONAI bundle: which transforms are known, and running them on a volume with the way back.

MONAI's own classes do the work on intensities and spacing. Reading files is done before, and turning to an orientation
is done here, for which MONAI would need another package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore.errors import DependencyError, GeometryError, InputError, ModelError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAICore.orientation import Turn
from MedSegAILib.inference.fallback import ran_out_of_memory
from MedSegAILib.inference.separable_placement import Grid3, SeparablePlacement, WayBack
from MedSegAILib.models.bundle_config import Component

if TYPE_CHECKING:
    import torch

# They bring an image from a file to a tensor with channels, which a volume here is already.
DONE_BEFORE = (
    "LoadImaged", "EnsureChannelFirstd", "AddChanneld", "EnsureTyped", "CastToTyped", "ToTensord", "ToDeviced",
    "ToNumpyd", "Identityd",
)  # fmt: skip
TURNS = "Orientationd"
RESAMPLES = "Spacingd"
ON_INTENSITIES = (
    "ScaleIntensityd", "ScaleIntensityRanged", "ScaleIntensityRangePercentilesd", "NormalizeIntensityd",
    "ThresholdIntensityd", "ShiftIntensityd",
)  # fmt: skip
CUTS_AND_PADS = ("CropForegroundd", "CenterSpatialCropd", "SpatialPadd", "BorderPadd", "DivisiblePadd")
SUPPORTED = (*DONE_BEFORE, TURNS, RESAMPLES, *ON_INTENSITIES, *CUTS_AND_PADS)
KEY = "image"
# There is one key, which is there; steps are done one after the other; and the engine chooses the precision.
LEFT_OUT = ("keys", "allow_missing_keys", "lazy", "dtype")
BORDERS = {"border": True, "zeros": False}


def dictionary_name(component: Component) -> str:
    """The name of a transform on dictionaries, of which MONAI has three spellings: Spacingd, SpacingD, SpacingDict."""
    return re.sub(r"(?<=[a-z])(D|Dict)$", "d", component.name)


def transforms_of(entry: Any) -> list[Component]:
    """The transforms of an entry: a list, or a Compose of one."""
    if isinstance(entry, Component) and entry.name == "Compose":
        entry = entry.arguments.get("transforms", [])
    entries = entry if isinstance(entry, list | tuple) else [] if entry is None else [entry]
    flat: list[Component] = []
    for item in entries:
        if isinstance(item, Component) and item.name == "Compose":
            flat += transforms_of(item)
        elif isinstance(item, Component):
            flat.append(item)
        else:
            raise ModelError(f"The bundle lists {item!r} among its transforms, expected a transform with a _target_.")
    return flat


def check_supported(component: Component, supported: Sequence[str], what: str) -> str:
    """The transform's name. Raises ModelError that names it if it is not one of those supported."""
    name = dictionary_name(component)
    if not component.is_monai or name not in supported:
        origin = "is not supported" if component.is_monai else "is code of its own that is not run here"
        raise ModelError(
            f"The bundle wants the transform {component.target} in its {what}, which {origin}; supported are "
            f"{', '.join(supported)}. Use the program that the bundle was made for."
        )
    return name


@dataclass(frozen=True)
class Preparation:
    """The transforms of a bundle's ``preprocessing`` that have something to do here, in their order.

    ``nearest``: bring what the network finds back by the nearest voxel instead of linear interpolation.
    ``first_axis``: for a network that sees single slices, the axis (I, J or K as 0, 1 or 2) along which they follow.
    """

    steps: tuple[Component, ...]
    nearest: bool = False
    first_axis: int | None = None

    @classmethod
    def read(cls, entry: Any, nearest: bool, first_axis: int | None) -> Preparation:
        """Raises ModelError that names a transform which is not supported, or what of it is not."""
        steps = []
        for component in transforms_of(entry):
            name = check_supported(component, SUPPORTED, "preprocessing")
            keys = _as_list(component.arguments.get("keys", KEY))
            if len(keys) != 1:
                raise ModelError(
                    f"The bundle's {name} takes several images ({', '.join(map(str, keys))}); supported is one image, "
                    "which may have several channels."
                )
            if name not in DONE_BEFORE:
                steps.append(Component(name, _arguments(name, component.arguments)))
        return cls(tuple(steps), nearest, first_axis)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Of the prepared grid in mm along I, J and K; () if volumes keep theirs."""
        for step in self.steps:
            if step.name == RESAMPLES:
                pixdim = _as_list(step.arguments["pixdim"])
                return tuple(float(number) for number in (pixdim if len(pixdim) > 1 else pixdim * 3))
        return ()

    @cached_property
    def _built(self) -> list[tuple[Component, Any]]:
        transforms = require_monai().transforms
        built = []
        for step in self.steps:
            try:
                made = None if step.name == TURNS else getattr(transforms, step.name)(keys=KEY, **step.arguments)
            except Exception as error:  # MONAI checks arguments in many ways
                raise ModelError(
                    f"The bundle's {step.name} cannot be made by the MONAI here: {_line(error)}"
                ) from error
            built.append((step, made))
        return built

    def check(self) -> None:
        """Make every transform once. Raises ModelError or DependencyError as ``run`` does."""
        _ = self._built

    def run(self, image: Image) -> tuple[torch.Tensor, SeparablePlacement]:
        """What the network sees, float32 (channels, *prepared), and the way back to the image's grid.

        Raises InputError if a transform cannot work on the image; ModelError if one does not fit the MONAI that is
        installed; DependencyError without MONAI.
        """
        import torch

        monai = require_monai()
        array = torch.from_numpy(np.array(image.array.transpose(0, 3, 2, 1), np.float32, order="C"))
        tensor = monai.data.MetaTensor(array, affine=torch.tensor(image.grid.ijk_to_ras))
        back = WayBack.start(tensor.shape[1:])
        for step, transform in self._built:
            before = _grid(tensor)
            tensor = _turned(tensor, step) if transform is None else self._step(step, transform, tensor)
            back = back.then(
                before, _grid(tensor), step.name, interpolates=step.name == RESAMPLES, nearest=self.nearest,
                border=BORDERS.get(step.arguments.get("padding_mode", "border"), True),
            )  # fmt: skip
        order = (0, 1, 2)
        if self.first_axis is not None:
            order = (self.first_axis, *(axis for axis in order if axis != self.first_axis))
        prepared = tensor.as_tensor().permute(0, *(axis + 1 for axis in order)).contiguous().float()
        if not bool(torch.isfinite(prepared).all()):
            raise InputError("The bundle's preparation makes numbers of this volume that are NaN or infinite.")
        return prepared, back.placement(order)

    @staticmethod
    def _step(step: Component, transform: Any, tensor: Any) -> Any:
        try:
            result = transform({KEY: tensor})[KEY]
        except Exception as error:  # MONAI's transforms raise whatever they come across, and wrap it
            cause = error.__cause__ or error
            if ran_out_of_memory(cause):
                raise cause from error
            reason = _line(cause)
            raise InputError(f"The bundle's {step.name} cannot work on this volume: {reason}") from error
        if min(result.shape) < 1:
            raise InputError(f"The bundle's {step.name} leaves nothing of this volume. Check what was loaded.")
        return result


def require_monai() -> Any:
    """Import MONAI. Raises DependencyError that says how to get it."""
    try:
        import monai
        import monai.data
        import monai.networks.nets
        import monai.transforms
    except ImportError as error:
        raise DependencyError(
            "The model is a MONAI bundle, and MONAI is not installed. Run: pip install --no-deps monai (without "
            "--no-deps, pip may replace the PyTorch that is installed by one without your GPU)"
        ) from error
    return monai


def _arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those for MONAI's class. Raises ModelError for one that cannot be followed."""
    kept = {key: value for key, value in arguments.items() if key not in LEFT_OUT}
    for key, value in kept.items():
        if isinstance(value, Component):
            raise ModelError(f"The bundle's {name} wants {value.target} as its {key}, which is not supported.")
    if name == TURNS:
        code = "RAS" if kept.get("as_closest_canonical") else kept.get("axcodes")
        try:
            Turn.between(str(code), str(code))
        except GeometryError as error:
            raise ModelError(f"The bundle's Orientationd has the axcodes {code!r}, expected such as RAS.") from error
        return {"axcodes": str(code)}
    if name == RESAMPLES:
        # Lists with one entry per key, of which there is one.
        kept = {key: value[0] if key in ("mode", "padding_mode") and isinstance(value, list) else value
                for key, value in kept.items()}  # fmt: skip
        if "pixdim" not in kept or kept.get("padding_mode", "border") not in BORDERS:
            raise ModelError(
                f"The bundle's Spacingd has the pixdim {kept.get('pixdim')} and the padding_mode "
                f"{kept.get('padding_mode')!r}, expected millimeters and {' or '.join(BORDERS)}."
            )
    if name == "CropForegroundd":
        kept["source_key"] = KEY
        for key in ("start_coord_key", "end_coord_key"):
            kept.pop(key, None)
    return kept


def _turned(tensor: Any, step: Component) -> Any:
    """The voxels of a MetaTensor (channels, I, J, K) in the wanted orientation."""
    monai = require_monai()
    grid = Grid(tuple(tensor.shape[:0:-1]), tensor.affine.numpy())
    turn = Turn.between(grid.orientation, step.arguments["axcodes"])
    array = turn.array(tensor.as_tensor().numpy().transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    import torch

    affine = torch.tensor(turn.grid(grid).ijk_to_ras)
    return monai.data.MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), affine=affine)


def _grid(tensor: Any) -> Grid3:
    return Grid3(tuple(tensor.shape[1:]), tensor.affine.double().numpy().copy())


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
