"""Running a model on a volume: from an Image to a LabelMap on exactly the same grid.

>>> predictor = Predictor(ModelLibrary().find("hippocampus"))
>>> result = predictor.segment(read_image("volume.nii.gz"))
>>> result.label_map.volumes_ml()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MedSegAICore.errors import DeviceError, InputError, ProtocolError
from MedSegAICore.image import Image, LabelMap
from MedSegAICore.orientation import Turn
from MedSegAILib.inference.devices import choose_device, describe_device, require_torch
from MedSegAILib.inference.export import Export
from MedSegAILib.inference.provenance import describe_run
from MedSegAILib.inference.tiling import stream_logits
from MedSegAILib.models.model import Model

Progress = Callable[[float, str], None]
CancelCheck = Callable[[], bool]

# The sum of the squares of so many voxels as a volume can have still fits into float32.
MAX_INTENSITY = 1e12
# How torch, which has an exception of its own for CUDA only, says that memory ran out.
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


@dataclass(frozen=True)
class Result:
    """A segmentation and how it came about.

    ``label_map`` and ``probabilities`` (one channel per segment, or None) lie on the input's grid. ``warnings`` are
    sentences for the user; ``provenance`` is a JSON-able record; ``seconds`` is the time of this call.
    """

    label_map: LabelMap
    probabilities: Image | None
    provenance: dict[str, Any]
    warnings: list[str]
    seconds: float


class Predictor:
    """Keeps the networks of one model loaded and segments one volume after the other.

    ``device``: auto, cuda, cuda:1, mps or cpu. ``mirroring``: average over mirrored copies along the axes that the
    model's training allows (8 times slower for three axes). ``folds``: which to average; None takes all.
    Raises ModelError or DeviceError.
    """

    def __init__(
        self, model: Model, device: str = "auto", *, mirroring: bool = False, folds: Sequence[str] | None = None
    ):
        require_torch()
        self.model, self.device = model, choose_device(device)
        self.folds = tuple(str(fold) for fold in folds or model.folds)
        self.networks, allowed = model.load_networks(self.device, self.folds)
        self.mirror_axes = allowed if mirroring else ()
        self.warnings = []
        if mirroring and not allowed:
            self.warnings.append("Mirroring was asked for, but the model was trained without it; nothing is mirrored.")
        if model.card is None:
            self.warnings.append(
                f"The model {model.id} has no model card: what it is for and how good it is is unknown."
            )

    def segment(
        self,
        image: Image,
        *,
        probabilities: bool = False,
        strict: bool = False,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> Result:
        """Segment one volume.

        ``strict``: refuse a volume that differs from what the model card asks for, instead of warning.
        Raises InputError for a volume that cannot be segmented, ProtocolError if ``strict``, Cancelled, DeviceError.
        """
        started = time.perf_counter()
        check_input(image, self.model)
        differences = self.model.card.check(image) if self.model.card else []
        if strict and differences:
            raise ProtocolError(f"The volume is not what the model was made for. {' '.join(differences)}")
        turn = self._turn(image)
        turned = replace(image, array=turn.array(image.array), grid=turn.grid(image.grid))
        maps = None
        with self._enough_memory(image):
            export = self._run(turned, probabilities, progress, cancelled)
            labels = self.model.postprocessing.apply(export.labels())
            if probabilities:
                maps = turn.inverse.array(export.probabilities())
                maps = Image(np.ascontiguousarray(maps), image.grid, {"channels": [s.id for s in self.model.labels]})
        label_map = LabelMap(np.ascontiguousarray(turn.inverse.array(labels)), image.grid, self.model.labels)
        warnings = [*self.warnings, *differences, *self._empty_segments(label_map)]
        provenance = describe_run(image, self.model, self._description())
        return Result(label_map, maps, provenance, warnings, time.perf_counter() - started)

    def _turn(self, image: Image) -> Turn:
        """To the orientation that the card asks for, else the one in which the plan's reader gives volumes."""
        own = image.grid.orientation
        wanted = self.model.card.input.orientation if self.model.card else None
        return Turn.between(own, wanted or self.model.orientation or own)

    def _run(
        self, image: Image, probabilities: bool, progress: Progress | None, cancelled: CancelCheck | None
    ) -> Export:
        """Prepare the volume, and send its tiles through the networks and on to the volume's grid."""
        outputs = self.model.outputs
        array, placement = self.model.prepare(image)
        export = Export(placement, outputs, probabilities)
        for first, rows in stream_logits(
            self.networks, array, self.model.tile, outputs=len(outputs.values),
            device=self.device, mirror_axes=self.mirror_axes, progress=progress, cancelled=cancelled,
        ):  # fmt: skip
            export.add(first, rows)
        return export

    @contextmanager
    def _enough_memory(self, image: Image) -> Iterator[None]:
        """Turns a lack of memory into a DeviceError that says how large the volume is."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(text in str(error).lower() for text in OUT_OF_MEMORY):
                raise
            shape, spacing, wanted = (
                " x ".join(f"{n:g}" for n in numbers)
                for numbers in (image.grid.shape, image.grid.spacing_kji, self.model.spacing)
            )
            raise DeviceError(
                f"{describe_device(self.device)} has not enough memory for this volume, {shape} voxels of {spacing} mm,"
                f" at the model's spacing, {wanted} mm. Crop the volume, check its spacing or choose another device."
            ) from error

    @staticmethod
    def _empty_segments(label_map: LabelMap) -> list[str]:
        volumes = label_map.volumes_ml()
        return [f"Nothing was found of {s.name}." for s in label_map.labels if volumes[s.id] == 0]

    def _description(self) -> dict[str, Any]:
        return {
            "device": describe_device(self.device),
            "precision": "mixed float16" if self.device.type == "cuda" else "float32",
            "configuration": self.model.configuration_name,
            "tile": list(self.model.tile),
            "tile_overlap": 0.5,
            "folds": list(self.folds),
            "mirror_axes": list(self.mirror_axes),
        }


def check_input(image: Image, model: Model):
    """Raises InputError if no network could make sense of this volume, whatever the model is for."""
    wanted = model.channel_names
    if image.channels != len(wanted):
        raise InputError(
            f"The model {model.id} needs {len(wanted)} channel(s) ({', '.join(wanted)}), but the volume has "
            f"{image.channels}."
        )
    if len(model.tile) == 3 and image.grid.shape[0] == 1:
        raise InputError(
            f"The volume is a single slice ({image.grid.shape[1]} x {image.grid.shape[2]}), but the model {model.id} "
            "is three-dimensional. Load the whole series."
        )
    for name, channel in zip(wanted, image.array, strict=True):
        bad = channel.size - int(np.count_nonzero(np.isfinite(channel)))
        if bad:
            raise InputError(
                f"Channel {name} has {bad} voxels that are NaN or infinite. Replace them, for example by the minimum."
            )
        largest = max(abs(float(channel.min())), abs(float(channel.max())))
        if largest > MAX_INTENSITY:
            raise InputError(
                f"Channel {name} has intensities as large as {largest:g}, expected at most {MAX_INTENSITY:g}. Check "
                "how the volume was read, or rescale its intensities."
            )
        if channel.min() == channel.max():
            raise InputError(
                f"Channel {name} is {channel.flat[0]:g} everywhere: the volume is empty. Check what was loaded."
            )


def segment_image(image: Image, model: Model, **options: Any) -> Result:
    """Segment one volume with a model that is loaded for it; options of Predictor and of Predictor.segment."""
    known = {name: options.pop(name) for name in ("device", "mirroring", "folds") if name in options}
    return Predictor(model, **known).segment(image, **options)
