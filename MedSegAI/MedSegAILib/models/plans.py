"""What ``plans.json`` of an nnU-Net v2 model says, in one form for old and new layouts.

Until nnU-Net 2.3 a configuration listed the network's numbers itself; since 2.4 it has an ``architecture`` entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from MedSegAICore.errors import ModelError
from MedSegAILib.inference.resampling import ANISOTROPY
from MedSegAILib.models.architecture import COUNT, Architecture
from MedSegAILib.models.schema import check, damaged

FILE = "plans.json"
# Names of resampling functions in plans -> whether they follow skimage's splines, torch's linear kernels, or nothing.
SPLINE, LINEAR, KEEP = "spline", "linear", "keep"
RESAMPLERS = {
    "resample_data_or_seg_to_shape": SPLINE,
    "resample_torch_fornnunet": LINEAR,
    "no_resampling_data_or_seg_to_shape": KEEP,
    "no_resampling_hack": KEEP,
}
NORMALIZATIONS = (
    "ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization",
)  # fmt: skip
# The class that prepares volumes, and those that read them; "WithReorient" turns them to RAS.
PREPROCESSOR = "DefaultPreprocessor"
READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "Tiff3DIO")

AXIS = {"type": "integer", "minimum": 0, "maximum": 2}
TRANSPOSE = {"type": "array", "items": AXIS, "minItems": 3, "maxItems": 3}
PLANS = {
    "required": ["configurations"],
    "properties": {
        "configurations": {"type": "object", "additionalProperties": {"type": "object"}},
        "transpose_forward": TRANSPOSE,
        "transpose_backward": TRANSPOSE,
        "image_reader_writer": {"type": "string"},
        "foreground_intensity_properties_per_channel": {"type": ["object", "null"]},
        "foreground_intensity_properties_by_modality": {"type": ["object", "null"]},
    },
}
SPLINE_ORDER = {"type": "integer", "minimum": 0, "maximum": 5}
RESAMPLING_KWARGS = {
    "type": ["object", "null"],
    "properties": {
        "order": SPLINE_ORDER, "order_z": SPLINE_ORDER, "force_separate_z": {"type": ["boolean", "null"]},
        "separate_z_anisotropy_threshold": {"type": "number", "minimum": 1},
        "memefficient_seg_resampling": {"type": "boolean"},
        "mode": {"type": "string"}, "aniso_axis_mode": {"type": "string"},
    },
}  # fmt: skip
# How resample_torch_fornnunet may resample the coarse axis that it keeps apart -> the order of the spline that does it.
TORCH_ORDERS_Z = {"nearest-exact": 0, "linear": 1, "trilinear": 1}
CONFIGURATION = {
    "required": ["patch_size", "spacing", "normalization_schemes", "use_mask_for_norm"],
    "properties": {
        "patch_size": {"type": "array", "items": COUNT, "minItems": 2, "maxItems": 3},
        "spacing": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}},
        "normalization_schemes": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "use_mask_for_norm": {"type": "array", "items": {"type": "boolean"}},
        "resampling_fn_data": {"type": "string"},
        "resampling_fn_data_kwargs": RESAMPLING_KWARGS,
        "resampling_fn_seg": {"type": "string"},
        "resampling_fn_seg_kwargs": RESAMPLING_KWARGS,
        "resampling_fn_probabilities": {"type": "string"},
        "resampling_fn_probabilities_kwargs": RESAMPLING_KWARGS,
        "preprocessor_name": {"type": "string"},
        "previous_stage": {"type": ["string", "null"]},
    },
}
# What a configuration without ``architecture`` must have instead.
OLD_ARCHITECTURE = {
    "required": [
        "UNet_class_name", "UNet_base_num_features", "unet_max_num_features", "n_conv_per_stage_encoder",
        "n_conv_per_stage_decoder", "pool_op_kernel_sizes", "conv_kernel_sizes",
    ],
    "properties": {
        "pool_op_kernel_sizes": {"type": "array"}, "UNet_base_num_features": COUNT, "unet_max_num_features": COUNT,
    },
}  # fmt: skip
NUMBER = {"type": "number"}
CT_INTENSITIES = {
    "type": "object",
    "required": ["percentile_00_5", "percentile_99_5", "mean", "std"],
    "properties": {"percentile_00_5": NUMBER, "percentile_99_5": NUMBER, "mean": NUMBER, "std": NUMBER},
}


@dataclass(frozen=True)
class Resampling:
    """How one kind of array is resampled: ``kind`` is SPLINE, LINEAR or KEEP.

    ``force_separate_z``: whether the coarse axis is resampled apart from the others; None if its spacing is more than
    ``anisotropy`` times that of the finest. ``by_half``: of labels the last wins whose share is above one half, and the
    background where none is (nnU-Net's ``memefficient_seg_resampling``), instead of the largest share.
    """

    kind: str
    order: int
    order_z: int
    force_separate_z: bool | None
    anisotropy: float = ANISOTROPY
    by_half: bool = False


@dataclass(frozen=True)
class Configuration:
    """One configuration of a plan, e.g. ``3d_fullres``. Spacing (mm) and patch are in the plan's axis order.

    ``previous_stage``: in a cascade the configuration whose labels this one sees beside the volume, else None.
    ``crop_to_nonzero``: whether the network sees only the box of voxels that are not 0, as always in nnU-Net.
    """

    name: str
    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    normalizations: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    data_resampling: Resampling
    labels_resampling: Resampling
    logits_resampling: Resampling
    architecture: Mapping[str, Any]
    intensities: Mapping[str, Mapping[str, float]]
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    reader: str
    previous_stage: str | None = None
    crop_to_nonzero: bool = True

    @property
    def dimensions(self) -> int:
        return len(self.patch_size)

    @property
    def orientation(self) -> str | None:
        """The orientation to which the plan's reader turns volumes; None if it gives them as they are stored."""
        return "RAS" if self.reader.endswith("WithReorient") else None

    @classmethod
    def from_plans(cls, plans: Mapping[str, Any], name: str) -> Configuration:
        """Raises ModelError if the configuration is missing, incomplete, or uses what is not supported."""
        check(plans, PLANS, FILE)
        entry = _resolved(plans, name)
        check(entry, CONFIGURATION, FILE, f"configurations.{name}")
        _check_stages(plans, name)
        unknown = [scheme for scheme in entry["normalization_schemes"] if scheme not in NORMALIZATIONS]
        if unknown:
            raise ModelError(f"The model normalizes with {unknown[0]!r}; supported are {', '.join(NORMALIZATIONS)}.")
        _check_programs(entry, plans)
        configuration = cls(
            name=name,
            patch_size=tuple(entry["patch_size"]),
            spacing=tuple(float(s) for s in entry["spacing"]),
            normalizations=tuple(entry["normalization_schemes"]),
            use_mask_for_norm=tuple(entry["use_mask_for_norm"]),
            data_resampling=_resampling(entry, "data", order=3),
            labels_resampling=_resampling(entry, "seg", order=1),
            logits_resampling=_resampling(entry, "probabilities", order=1),
            architecture=entry.get("architecture") or _old_architecture(entry),
            intensities=plans.get("foreground_intensity_properties_per_channel")
            or plans.get("foreground_intensity_properties_by_modality")
            or {},
            transpose_forward=tuple(plans.get("transpose_forward", (0, 1, 2))),
            transpose_backward=tuple(plans.get("transpose_backward", (0, 1, 2))),
            reader=plans.get("image_reader_writer", "SimpleITKIO"),
            previous_stage=entry.get("previous_stage") or None,
        )
        configuration._check_lengths()
        configuration._check_axes()
        return configuration

    def _check_lengths(self) -> None:
        """What a plan lists per axis or per channel must be there for each of them."""
        place, channels = f"configurations.{self.name}", len(self.normalizations)
        if len(self.spacing) != self.dimensions:
            raise damaged(FILE, f"{place}.spacing is {self.spacing}, expected {self.dimensions} numbers")
        if len(self.use_mask_for_norm) != channels:
            raise damaged(FILE, f"{place}.use_mask_for_norm is {self.use_mask_for_norm}, expected {channels} entries")
        for channel, scheme in enumerate(self.normalizations):
            if scheme == "CTNormalization":
                place = f"foreground_intensity_properties_per_channel.{channel}"
                check(self.intensities.get(str(channel)), CT_INTENSITIES, FILE, place)

    def _check_axes(self) -> None:
        """Axes must come back to where they were, and the network must be able to halve and double the patch."""
        if [self.transpose_forward[axis] for axis in self.transpose_backward] != [0, 1, 2]:
            raise damaged(
                FILE,
                f"transpose_backward is {self.transpose_backward}, expected what undoes transpose_forward, "
                f"{self.transpose_forward}",
            )
        network = Architecture.read(self.architecture)
        patch, multiple = (" x ".join(map(str, sizes)) for sizes in (self.patch_size, network.multiple))
        if network.dimensions != self.dimensions:
            raise damaged(FILE, f"patch_size is {patch}, expected {network.dimensions} extents as the network has")
        if any(size % divisor for size, divisor in zip(self.patch_size, network.multiple, strict=True)):
            raise damaged(FILE, f"patch_size is {patch}, expected a multiple of {multiple}, the network's strides")


def _check_stages(plans: Mapping[str, Any], name: str) -> None:
    """The stages of a cascade come to an end."""
    stages = [name]
    while stages[-1] in plans["configurations"]:
        previous = _resolved(plans, stages[-1]).get("previous_stage")
        if not previous:
            return
        if previous in stages:
            raise damaged(FILE, f"previous_stage of {stages[-1]} is {previous!r}, expected a stage before {name}")
        stages.append(previous)


def _resolved(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with everything that it inherits."""
    configurations = plans["configurations"]
    if name not in configurations:
        raise ModelError(
            f"plans.json has no configuration {name!r}; it has: {', '.join(configurations) or 'none'}. Choose another."
        )
    entry, chain = dict(configurations[name]), [name]
    while parent := entry.pop("inherits_from", None):
        if not isinstance(parent, str) or parent in chain or parent not in configurations:
            raise damaged(FILE, f"configuration {chain[-1]} inherits from {parent!r}, expected another configuration")
        chain.append(parent)
        entry = {**configurations[parent], **entry}
    return entry


def _check_programs(entry: Mapping[str, Any], plans: Mapping[str, Any]) -> None:
    """A program that read or prepared the training volumes in another way would have to do so with every volume."""
    preprocessor = entry.get("preprocessor_name", PREPROCESSOR)
    if preprocessor != PREPROCESSOR:
        raise ModelError(
            f"The model prepares its volumes with {preprocessor!r}, a program of its own; supported is {PREPROCESSOR}. "
            "Use the program that the model was made for."
        )
    reader = plans.get("image_reader_writer", READERS[0])
    if reader not in READERS:
        raise ModelError(
            f"The model reads its images with {reader!r}, which gives no volumes with a spacing in mm as "
            f"{', '.join(READERS)} do. Use the program that the model was made for."
        )


def _resampling(entry: Mapping[str, Any], kind: str, order: int) -> Resampling:
    """``order``: of the splines in plans that say nothing about this resampling."""
    function = entry.get(f"resampling_fn_{kind}", "resample_data_or_seg_to_shape")
    if function not in RESAMPLERS:
        raise ModelError(f"The model resamples with {function!r}; supported are {', '.join(RESAMPLERS)}.")
    kwargs = entry.get(f"resampling_fn_{kind}_kwargs")
    if RESAMPLERS[function] == LINEAR:
        return _torch_resampling(kwargs or {})
    if kwargs is None:
        return Resampling(RESAMPLERS[function], order, 0, None)
    # What nnU-Net's function takes where it is given some arguments but not these.
    return Resampling(
        RESAMPLERS[function], kwargs.get("order", 3), kwargs.get("order_z", 0), kwargs.get("force_separate_z", False),
        kwargs.get("separate_z_anisotropy_threshold", ANISOTROPY),
    )  # fmt: skip


def _torch_resampling(kwargs: Mapping[str, Any]) -> Resampling:
    mode, apart = kwargs.get("mode", "linear"), kwargs.get("aniso_axis_mode", "nearest-exact")
    if mode != "linear" or apart not in TORCH_ORDERS_Z:
        raise ModelError(
            f"The model resamples with the modes {mode!r} and {apart!r}; supported are 'linear' with "
            f"{' or '.join(TORCH_ORDERS_Z)}."
        )
    return Resampling(
        LINEAR, 1, TORCH_ORDERS_Z[apart], kwargs.get("force_separate_z"),
        kwargs.get("separate_z_anisotropy_threshold", ANISOTROPY),
        by_half=kwargs.get("memefficient_seg_resampling", False),
    )  # fmt: skip


def _old_architecture(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The ``architecture`` entry that nnU-Net 2.4 would have written for an older configuration."""
    check(entry, OLD_ARCHITECTURE, FILE, "the configuration")
    kernels, strides = entry["conv_kernel_sizes"], entry["pool_op_kernel_sizes"]
    dimensions, stages = len(entry["patch_size"]), len(strides)
    class_name = entry["UNet_class_name"]
    count_key = "n_blocks_per_stage" if class_name == "ResidualEncoderUNet" else "n_conv_per_stage"
    base, most = entry["UNet_base_num_features"], entry["unet_max_num_features"]
    return {
        "network_class_name": class_name,
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": kernels,
            "strides": strides,
            count_key: entry["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": entry["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    }
