"""From the ``architecture`` entry of an nnU-Net plan to a network.

Understands the layout since nnU-Net 2.4 (``network_class_name`` with ``arch_kwargs``); plans.py rewrites older plans
into it. A class that is not a U-Net we know is refused by name; nothing is imported because a plan says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from MedSegAICore.errors import ModelError

if TYPE_CHECKING:
    from MedSegAILib.models.networks import Layers, UNet

# Class name (last part of the dotted path) -> (residual encoder?, key that counts the encoder's blocks)
UNETS = {
    "PlainConvUNet": (False, "n_conv_per_stage"),
    "ResidualEncoderUNet": (True, "n_blocks_per_stage"),
}
# Arguments that change nothing in the networks built here, so any value is fine.
HARMLESS = {"n_stages", "deep_supervision"}
LAYER_KEYS = {
    "conv_op", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs",
    "nonlin_first",
}  # fmt: skip
SHAPE_KEYS = {"features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder"}


def build_network(
    architecture: dict[str, Any], in_channels: int, out_channels: int, *, deep_supervision: bool = False
) -> UNet:
    """The network that a plan describes, with fresh weights.

    ``architecture``: ``{"network_class_name": …, "arch_kwargs": {…}}``.
    Raises ModelError for an unknown network class, layer or argument.
    """
    from MedSegAILib.models.networks import UNet

    class_name = str(architecture.get("network_class_name", "")).rpartition(".")[2]
    if class_name not in UNETS:
        raise ModelError(
            f"The model's network is {architecture.get('network_class_name')!r}, but this program runs "
            f"{' and '.join(UNETS)} only. Use the program that the model was made for."
        )
    residual, count_key = UNETS[class_name]
    kwargs = dict(architecture.get("arch_kwargs", {}))
    unknown = (
        {key for key in kwargs if kwargs[key] not in (None, False)} - HARMLESS - LAYER_KEYS - SHAPE_KEYS - {count_key}
    )
    if unknown:
        raise ModelError(
            f"The model's {class_name} asks for {', '.join(sorted(unknown))}, which is not supported here."
        )
    try:
        layers = _layers(kwargs)
        stages = len(kwargs["features_per_stage"])
        return UNet(
            layers,
            in_channels,
            out_channels,
            list(kwargs["features_per_stage"]),
            [_per_axis(size, layers.dimensions) for size in _per_stage(kwargs["kernel_sizes"], stages)],
            [_per_axis(stride, layers.dimensions) for stride in _per_stage(kwargs["strides"], stages)],
            _per_stage(kwargs[count_key], stages),
            _per_stage(kwargs["n_conv_per_stage_decoder"], stages - 1),
            residual=residual,
            deep_supervision=deep_supervision,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The plan's description of its {class_name} is incomplete or damaged: {error!r}.") from error


def _layers(kwargs: dict[str, Any]) -> Layers:
    from torch import nn

    from MedSegAILib.models.networks import Layers

    dimensions = {"Conv1d": 1, "Conv2d": 2, "Conv3d": 3}.get(_class_name(kwargs["conv_op"]))
    if dimensions is None:
        raise ModelError(f"The model's convolution is {kwargs['conv_op']!r}; expected torch's Conv2d or Conv3d.")
    allowed = {f"{kind}{dimensions}d" for kind in ("InstanceNorm", "BatchNorm", "Dropout")}
    allowed |= {"LeakyReLU", "ReLU", "GELU", "SiLU", "Mish", "ELU", "PReLU", "Identity"}

    def layer(key: str) -> type[nn.Module] | None:
        name = _class_name(kwargs.get(key))
        if name and name not in allowed:
            raise ModelError(f"The model's {key} is {name!r}, which is not supported here.")
        return getattr(nn, name) if name else None

    return Layers(
        dimensions=dimensions,
        conv_bias=bool(kwargs.get("conv_bias", False)),
        norm=layer("norm_op"),
        norm_kwargs=dict(kwargs.get("norm_op_kwargs") or {}),
        dropout=layer("dropout_op"),
        dropout_kwargs=dict(kwargs.get("dropout_op_kwargs") or {}),
        nonlinearity=layer("nonlin"),
        nonlinearity_kwargs=dict(kwargs.get("nonlin_kwargs") or {}),
        nonlinearity_first=bool(kwargs.get("nonlin_first", False)),
    )


def _class_name(dotted: str | None) -> str:
    return str(dotted).rpartition(".")[2] if dotted else ""


def _per_stage(value, stages: int) -> list:
    return list(value) if isinstance(value, list | tuple) else [value] * stages


def _per_axis(value, dimensions: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * dimensions
