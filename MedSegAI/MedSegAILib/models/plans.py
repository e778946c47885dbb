"""What ``plans.json`` of an nnU-Net v2 model says, in one form for old and new layouts.

Until nnU-Net 2.3 a configuration listed the network's numbers itself; since 2.4 it has an ``architecture`` entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from MedSegAICore.errors import ModelError

# Names of resampling functions in plans -> whether they follow skimage's splines, torch's linear kernels, or nothing.
SPLINE, LINEAR, KEEP = "spline", "linear", "keep"
RESAMPLERS = {
    "resample_data_or_seg_to_shape": SPLINE,
    "resample_torch_simple": LINEAR,
    "resample_torch_fornnunet": LINEAR,
    "no_resampling_data_or_seg_to_shape": KEEP,
    "no_resampling_hack": KEEP,
}
NORMALIZATIONS = (
    "ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization",
)  # fmt: skip


@dataclass(frozen=True)
class Resampling:
    """How one kind of array is resampled: ``kind`` is SPLINE, LINEAR or KEEP."""

    kind: str
    order: int
    order_z: int
    force_separate_z: bool | None


@dataclass(frozen=True)
class Configuration:
    """One configuration of a plan, e.g. ``3d_fullres``. Spacing (mm) and patch are in the plan's axis order."""

    name: str
    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    normalizations: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    data_resampling: Resampling
    logits_resampling: Resampling
    architecture: Mapping[str, Any]
    intensities: Mapping[str, Mapping[str, float]]
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    reader: str

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
        entry = _resolved(plans, name)
        if entry.get("previous_stage"):
            raise ModelError(
                f"Configuration {name} is the second stage of a cascade (after {entry['previous_stage']}), which is "
                "not supported yet. Use the model's 3d_fullres or 3d_lowres configuration."
            )
        unknown = [scheme for scheme in entry["normalization_schemes"] if scheme not in NORMALIZATIONS]
        if unknown:
            raise ModelError(f"The model normalizes with {unknown[0]!r}; supported are {', '.join(NORMALIZATIONS)}.")
        try:
            return cls(
                name=name,
                patch_size=tuple(int(n) for n in entry["patch_size"]),
                spacing=tuple(float(s) for s in entry["spacing"]),
                normalizations=tuple(entry["normalization_schemes"]),
                use_mask_for_norm=tuple(bool(flag) for flag in entry["use_mask_for_norm"]),
                data_resampling=_resampling(entry, "data", order=3),
                logits_resampling=_resampling(entry, "probabilities", order=1),
                architecture=entry.get("architecture") or _old_architecture(entry),
                intensities=plans.get("foreground_intensity_properties_per_channel")
                or plans.get("foreground_intensity_properties_by_modality")
                or {},
                transpose_forward=tuple(plans.get("transpose_forward", (0, 1, 2))),
                transpose_backward=tuple(plans.get("transpose_backward", (0, 1, 2))),
                reader=str(plans.get("image_reader_writer", "SimpleITKIO")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"plans.json is damaged: configuration {name} lacks or garbles {error}.") from error


def _resolved(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with everything that it inherits."""
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict) or name not in configurations:
        known = ", ".join(configurations) if isinstance(configurations, dict) else "none"
        raise ModelError(f"plans.json has no configuration {name!r}; it has: {known}.")
    entry, chain = dict(configurations[name]), [name]
    while parent := entry.pop("inherits_from", None):
        if parent in chain or parent not in configurations:
            raise ModelError(f"plans.json is damaged: configuration {chain[-1]} inherits from {parent!r}.")
        chain.append(parent)
        entry = {**configurations[parent], **entry}
    return entry


def _resampling(entry: Mapping[str, Any], kind: str, order: int) -> Resampling:
    function = entry.get(f"resampling_fn_{kind}", "resample_data_or_seg_to_shape")
    kwargs = entry.get(f"resampling_fn_{kind}_kwargs") or {}
    if function not in RESAMPLERS:
        raise ModelError(f"The model resamples with {function!r}; supported are {', '.join(RESAMPLERS)}.")
    if RESAMPLERS[function] == LINEAR:
        return Resampling(LINEAR, 1, 0, kwargs.get("force_separate_z"))
    return Resampling(
        RESAMPLERS[function], int(kwargs.get("order", order)), int(kwargs.get("order_z", 0)),
        kwargs.get("force_separate_z"),
    )  # fmt: skip


def _old_architecture(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The ``architecture`` entry that nnU-Net 2.4 would have written for an older configuration."""
    kernels, strides = entry["conv_kernel_sizes"], entry["pool_op_kernel_sizes"]
    dimensions, stages = len(entry["patch_size"]), len(strides)
    class_name = entry.get("UNet_class_name")
    count_key = "n_blocks_per_stage" if class_name == "ResidualEncoderUNet" else "n_conv_per_stage"
    base, most = int(entry["UNet_base_num_features"]), int(entry["unet_max_num_features"])
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
