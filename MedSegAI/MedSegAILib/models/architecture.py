"""From the ``architecture`` entry of an nnU-Net plan to a network.

Understands the layout since nnU-Net 2.4 (``network_class_name`` with ``arch_kwargs``); plans.py rewrites older plans
into it. A class that is not a U-Net we know is refused by name; nothing is imported because a plan says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError
from MedSegAILib.models.schema import check, damaged

if TYPE_CHECKING:
    from MedSegAILib.models.networks import Layers, UNet

# Class name (last part of the dotted path) -> (residual encoder?, residual decoder?, key that counts encoder blocks)
UNETS = {
    "PlainConvUNet": (False, False, "n_conv_per_stage"),
    "ResidualEncoderUNet": (True, False, "n_blocks_per_stage"),
    "ResidualUNet": (True, True, "n_blocks_per_stage"),
}
DIMENSIONS = {"Conv1d": 1, "Conv2d": 2, "Conv3d": 3}
# Which layers of torch.nn each key may name; {} stands for the dimensions.
LAYERS = {
    "norm_op": ("InstanceNorm{}d", "BatchNorm{}d", "Identity"),
    "dropout_op": ("Dropout{}d", "Identity"),
    "nonlin": ("LeakyReLU", "ReLU", "GELU", "SiLU", "Mish", "ELU", "PReLU", "Identity"),
}
# Arguments that change nothing in the networks built here, so any value is fine.
HARMLESS = {"n_stages", "deep_supervision"}

# Far above what any network has; a number with some digits too many must not fill the memory.
COUNT = {"type": "integer", "minimum": 1, "maximum": 4096}
PER_STAGE = {**COUNT, "type": ["integer", "array"], "items": COUNT}
PER_STAGE_AND_AXIS = {**PER_STAGE, "items": PER_STAGE}
SHAPE = {
    "features_per_stage": {"type": "array", "items": COUNT, "minItems": 2},
    "kernel_sizes": PER_STAGE_AND_AXIS,
    "strides": PER_STAGE_AND_AXIS,
    "n_conv_per_stage_decoder": PER_STAGE,
}
LAYER_KWARGS = {"type": ["object", "null"], "additionalProperties": {"type": ["number", "boolean", "null"]}}
LAYER_PROPERTIES = {
    "conv_op": {"type": "string"},
    "conv_bias": {"type": ["boolean", "null"]},
    **{key: {"type": ["string", "null"]} for key in LAYERS},
    **{f"{key}_kwargs": LAYER_KWARGS for key in LAYERS},
    "nonlin_first": {"type": ["boolean", "null"]},
}
FILE, KWARGS = "plans.json", "architecture.arch_kwargs"


@dataclass(frozen=True)
class Architecture:
    """What a plan says of its network, checked and complete for every stage and axis.

    ``layers``: the plan's ``arch_kwargs``, of which the entries about layers are still to be read.
    """

    residual: bool
    residual_decoder: bool
    dimensions: int
    features: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_counts: tuple[int, ...]
    decoder_counts: tuple[int, ...]
    layers: dict[str, Any]

    @property
    def multiple(self) -> tuple[int, ...]:
        """What a patch must be a multiple of, so that every stage can be halved and doubled again."""
        return tuple(math.prod(strides) for strides in zip(*self.strides, strict=True))

    @classmethod
    def read(cls, entry: Any) -> Architecture:
        """``entry``: ``{"network_class_name": …, "arch_kwargs": {…}}``.

        Raises ModelError for an unknown network class, layer or argument, and for numbers that contradict each other.
        """
        check(entry, {"type": "object", "properties": {"arch_kwargs": {"type": "object"}}}, FILE, "architecture")
        class_name, kwargs = _class_name(entry.get("network_class_name")), entry.get("arch_kwargs", {})
        if class_name not in UNETS:
            raise ModelError(
                f"The model's network is {entry.get('network_class_name')!r}, but this program runs "
                f"{', '.join(UNETS)} only. Use the program that the model was made for."
            )
        residual, residual_decoder, count_key = UNETS[class_name]
        shape = {**SHAPE, count_key: PER_STAGE}
        properties = {**shape, **LAYER_PROPERTIES}
        unknown = {key for key in kwargs if kwargs[key] not in (None, False)} - HARMLESS - set(properties)
        if unknown:
            raise ModelError(
                f"The model's {class_name} asks for {', '.join(sorted(unknown))}, which is not supported here."
            )
        check(kwargs, {"required": ["conv_op", *shape], "properties": properties}, FILE, KWARGS)
        stages, dimensions = len(kwargs["features_per_stage"]), _dimensions(kwargs)
        architecture = cls(
            residual,
            residual_decoder,
            dimensions,
            tuple(kwargs["features_per_stage"]),
            _per_stage_and_axis(kwargs, "kernel_sizes", stages, dimensions),
            _per_stage_and_axis(kwargs, "strides", stages, dimensions),
            _repeated(kwargs[count_key], stages, count_key),
            _repeated(kwargs["n_conv_per_stage_decoder"], stages - 1, "n_conv_per_stage_decoder"),
            kwargs,
        )
        architecture._check_extents()
        return architecture

    def _check_extents(self) -> None:
        """Of an even kernel or a strided first stage the answer would be smaller than the patch."""
        if any(size % 2 == 0 for sizes in self.kernel_sizes for size in sizes):
            raise damaged(FILE, f"{KWARGS}.kernel_sizes is {self.kernel_sizes}, expected odd sizes")
        if set(self.strides[0]) != {1}:
            raise damaged(FILE, f"{KWARGS}.strides begins with {self.strides[0]}, expected strides of 1")


def build_network(
    architecture: Mapping[str, Any], in_channels: int, out_channels: int, *, deep_supervision: bool = False
) -> UNet:
    """The network that a plan describes, with fresh weights; for arguments and errors see ``Architecture.read``."""
    from MedSegAILib.models.networks import UNet

    plan = Architecture.read(architecture)
    try:
        return UNet(
            _layers(plan),
            in_channels,
            out_channels,
            plan.features,
            plan.kernel_sizes,
            plan.strides,
            plan.encoder_counts,
            plan.decoder_counts,
            residual=plan.residual,
            residual_decoder=plan.residual_decoder,
            deep_supervision=deep_supervision,
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise damaged(FILE, f"{KWARGS} describes layers that cannot be made ({error})") from error


def as_trained(architecture: Mapping[str, Any], weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``architecture`` entry as the trainer changed it: ``nnUNetTrainerBN`` puts BatchNorm in InstanceNorm's place.

    The plan does not say so, but only BatchNorm stores means and variances. The arguments are that trainer's.
    """
    kwargs = architecture["arch_kwargs"]
    norm = _class_name(kwargs.get("norm_op"))
    tracked = (kwargs.get("norm_op_kwargs") or {}).get("track_running_stats")
    if not norm.startswith("InstanceNorm") or tracked or not any(name.endswith("running_mean") for name in weights):
        return architecture
    batch_norm = norm.replace("InstanceNorm", "torch.nn.modules.batchnorm.BatchNorm")
    changed = {**kwargs, "norm_op": batch_norm, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    return {**architecture, "arch_kwargs": changed}


def _layers(plan: Architecture) -> Layers:
    from torch import nn

    from MedSegAILib.models.networks import Layers

    def layer(key: str) -> type[nn.Module] | None:
        name = _class_name(plan.layers.get(key))
        return getattr(nn, name) if name else None

    return Layers(
        dimensions=plan.dimensions,
        conv_bias=bool(plan.layers.get("conv_bias")),
        norm=layer("norm_op"),
        norm_kwargs=plan.layers.get("norm_op_kwargs") or {},
        dropout=layer("dropout_op"),
        dropout_kwargs=plan.layers.get("dropout_op_kwargs") or {},
        nonlinearity=layer("nonlin"),
        nonlinearity_kwargs=plan.layers.get("nonlin_kwargs") or {},
        nonlinearity_first=bool(plan.layers.get("nonlin_first")),
    )


def _dimensions(kwargs: dict[str, Any]) -> int:
    """Of the plan's convolution, after a look at the names of all its layers."""
    dimensions = DIMENSIONS.get(_class_name(kwargs["conv_op"]))
    if dimensions is None:
        raise ModelError(f"The model's convolution is {kwargs['conv_op']!r}; expected torch's Conv2d or Conv3d.")
    for key, names in LAYERS.items():
        name = _class_name(kwargs.get(key))
        if name and name not in [allowed.format(dimensions) for allowed in names]:
            raise ModelError(f"The model's {key} is {name!r}, which is not supported here.")
    return dimensions


def _class_name(dotted: Any) -> str:
    return str(dotted).rpartition(".")[2] if dotted else ""


def _per_stage_and_axis(kwargs: dict[str, Any], key: str, stages: int, axes: int) -> tuple[tuple[int, ...], ...]:
    return tuple(_repeated(value, axes, key) for value in _repeated(kwargs[key], stages, key))


def _repeated(value: Any, count: int, key: str) -> tuple:
    """A value for each of several stages or axes, where the plan may give one for all."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * count
    if len(values) != count:
        raise damaged(FILE, f"{KWARGS}.{key} has {len(values)} entries in {value}, expected {count}")
    return values
