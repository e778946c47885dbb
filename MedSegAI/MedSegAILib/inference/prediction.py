"""Running a model on a volume: from an Image to a LabelMap on exactly the same grid.

>>> predictor = Predictor(ModelLibrary().find("hippocampus"))
>>> result = predictor.segment(read_image("volume.nii.gz"))
>>> result.label_map.volumes_ml()
"""

from __future__ import annotations

import functools
import gc
import math
import operator
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from MedSegAICore.errors import DeviceError, InputError, ProtocolError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, LabelMap
from MedSegAICore.orientation import Turn
from MedSegAILib.inference.devices import choose_device, describe_device, full_precision, require_torch
from MedSegAILib.inference.ensemble import Kept, Mean
from MedSegAILib.inference.estimate import Estimate, estimate_part
from MedSegAILib.inference.export import Export
from MedSegAILib.inference.fallback import Attempt, attempts, ran_out_of_memory
from MedSegAILib.inference.progression import Progression
from MedSegAILib.inference.provenance import describe_run
from MedSegAILib.inference.quality import STANDARD, Settings
from MedSegAILib.inference.result import Result
from MedSegAILib.inference.tiling import stream_logits
from MedSegAILib.inference.uncertainty import Entropy
from MedSegAILib.models.model import Model

if TYPE_CHECKING:
    import torch

    from MedSegAILib.inference.preprocessing import Placement

Progress = Callable[[float, str], None]
CancelCheck = Callable[[], bool]
Target = TypeVar("Target", Export, Kept)  # what finished logits are given to

ACTIVATED_BYTES = 32 * 2**20  # of rows that are in full precision at once
# The sum of the squares of so many voxels as a volume can have still fits into float32.
MAX_INTENSITY = 1e12


class Predictor:
    """Keeps the networks of one model loaded and segments one volume after the other.

    ``device``: auto, cuda, cuda:1, mps or cpu. ``quality``: fast, standard or best. ``mirroring``: average over
    mirrored copies along the axes that the model's training allows (8 times slower for three axes); None leaves it to
    the quality. ``folds``: which to average; None takes all.
    Raises InputError (no such quality), ModelError or DeviceError.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        *,
        quality: str = STANDARD,
        mirroring: bool | None = None,
        folds: Sequence[str] | None = None,
    ):
        require_torch()
        self.model, self.device = model, choose_device(device)
        self.folds = tuple(str(fold) for fold in folds or model.folds)
        options = {"device": device, "quality": quality, "mirroring": mirroring}
        # The stage before has folds of its own; which of this one are averaged says nothing about them.
        self.previous = Predictor(model.previous, **options) if model.previous else None
        self.members = [Predictor(member, folds=folds, **options) for member in model.members]
        self.networks, allowed = [], {axis for member in self.members for axis in member.settings.mirror_axes}
        if not self.members:
            self.networks, allowed = model.load_networks(self.device, self.folds)
        settings = Settings.of(quality, self.device, sorted(allowed), mirroring)
        self.settings = replace(settings, step=model.tiling.step(settings.step))
        self.warnings = list(model.warnings(self.device))
        if mirroring and not any(part.settings.mirror_axes for part in self.parts):
            self.warnings.append("Mirroring was asked for, but the model was trained without it; nothing is mirrored.")
        if model.card is None:
            self.warnings.append(
                f"The model {model.id} has no model card: what it is for and how good it is is unknown."
            )

    @property
    def parts(self) -> list[Predictor]:
        """Those that send tiles through networks, in the order in which they run: stages and members, or itself."""
        if self.members:
            return [part for member in self.members for part in member.parts]
        return [*(self.previous.parts if self.previous else ()), self]

    def segment(
        self,
        image: Image,
        *,
        probabilities: bool = False,
        uncertainty: bool = False,
        strict: bool = False,
        progress: Progress | None = None,
        cancelled: CancelCheck | None = None,
    ) -> Result:
        """Segment one volume.

        ``strict``: refuse a volume that differs from what the model card asks for, instead of warning.
        If memory runs out, less demanding ways are tried one after the other; the result's warnings name them.
        Raises InputError for a volume that cannot be segmented, ProtocolError if ``strict``, Cancelled, DeviceError.
        """
        started = time.perf_counter()
        check_input(image, self.model)
        differences = self.model.card.check(image) if self.model.card else []
        if strict and differences:
            raise ProtocolError(f"The volume is not what the model was made for. {' '.join(differences)}")
        turn = self._turn(image)
        turned = replace(image, array=turn.array(image.array), grid=turn.grid(image.grid))
        try:
            progression = Progression(self.parts, turned, progress, cancelled)
            export, records, changes = self._run(turned, probabilities, uncertainty, progression)
            label_map, maps, unsure = self._turned_back(turn.inverse, export, image.grid)
        except MemoryError as error:
            raise self._too_large(image) from error
        warnings = [*self.warnings, *differences, *changes, *self._empty_segments(label_map)]
        provenance = describe_run(image, self.model, self._description(records))
        return Result(label_map, maps, unsure, provenance, warnings, time.perf_counter() - started)

    def estimate(self, image: Image) -> Estimate:
        """How long the networks will take for a volume and how much memory; measures one empty tile of each part.

        Raises InputError as ``segment``.
        """
        check_input(image, self.model)
        return functools.reduce(operator.add, (part._estimate(image) for part in self.parts))

    def _estimate(self, image: Image) -> Estimate:
        turn = self._turn(image)
        turned = replace(image, array=turn.array(image.array), grid=turn.grid(image.grid))
        # What the stage before will find is not known, but it does not change how much there is to do.
        earlier = {"earlier": np.zeros(turned.grid.shape, np.uint8)} if self.previous else {}
        array, _ = self.model.prepare(turned, body_only=self.settings.body_only, **earlier)
        return estimate_part(
            self.networks, array.shape, math.prod(image.grid.shape), self.model.network_outputs,
            _whole(self.model.tile, array.shape), self.settings, self.device,
        )  # fmt: skip

    def _turned_back(
        self, back: Turn, export: Export | Mean, grid: Grid
    ) -> tuple[LabelMap, Image | None, Image | None]:
        """Labels after postprocessing, probabilities and uncertainty, on the grid of the input."""

        def image(array: np.ndarray | None, meta: dict[str, Any]) -> Image | None:
            return Image(np.ascontiguousarray(back.array(array)), grid, meta) if array is not None else None

        labels = back.array(self.model.postprocessing.apply(export.labels()))
        label_map = LabelMap(np.ascontiguousarray(labels), grid, self.model.labels)
        names = [segment.id for segment in self.model.labels]
        return label_map, image(export.probabilities(), {"channels": names}), image(export.uncertainty(), {})

    def _turn(self, image: Image) -> Turn:
        """To the orientation that the card asks for, else the one in which the plan's reader gives volumes."""
        own = image.grid.orientation
        wanted = self.model.card.input.orientation if self.model.card else None
        return Turn.between(own, wanted or self.model.orientation or own)

    def _run(
        self,
        image: Image,
        probabilities: bool,
        uncertainty: bool,
        progression: Progression,
    ) -> tuple[Export | Mean, list[dict[str, Any]], list[str]]:
        """Bring the volume through the networks and what they answer on to its grid.

        Also returns a record of every part that ran, and a sentence for each thing that was changed because memory ran
        out.
        """
        outputs = self.model.outputs
        if not self.members:
            return self._send(
                image, lambda place: Export(place, outputs, probabilities, uncertainty), uncertainty, progression
            )
        runs = [member._send(image, lambda p: Kept(p, outputs), False, progression) for member in self.members]
        kept, records, changes = zip(*runs, strict=True)
        mean = Mean(kept, outputs, self.device, probabilities, uncertainty, progression.cancelled)
        return mean, [r for part in records for r in part], [change for part in changes for change in part]

    def _send(
        self,
        image: Image,
        make: Callable[[Placement], Target],
        uncertainty: bool,
        progression: Progression,
    ) -> tuple[Target, list[dict[str, Any]], list[str]]:
        """Give the logits to what ``make`` returns, if necessary with less memory; for the rest see ``_run``."""
        earlier, records, changes = self._earlier(image, progression)
        for attempt in attempts(self.device, self.model.tile, self.model.tile_multiple):
            if attempt.change:
                changes.append(f"{describe_device(self.device)} had not enough memory: {attempt.change}.")
                _release_memory(self.device)
            try:
                target = self._send_once(attempt, image, earlier, make, uncertainty, progression)
                return target, [*records, self._record(attempt)], changes
            except (MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
        raise self._too_large(image)

    def _send_once(self, attempt, image, earlier, make, uncertainty, progression):
        outputs = self.model.outputs
        array, placement = self.model.prepare(image, body_only=self.settings.body_only, **earlier)
        target = make(placement)
        for network in self.networks:
            network.to(attempt.device)
        tile = _whole(attempt.tile, array.shape)
        for finished in stream_logits(
            self.networks, array, tile, outputs=self.model.network_outputs, device=attempt.device,
            step=self.settings.step, precision=self._precision(attempt), mirror_axes=self.settings.mirror_axes,
            tiling=self.model.tiling, entropy=Entropy(outputs.regions) if uncertainty else None,
            sums_device=attempt.sums_device, progress=progression.of(self), cancelled=progression.cancelled,
        ):  # fmt: skip
            for part in self._activated(*finished):
                target.add(*part)
        return target

    def _earlier(
        self, image: Image, progression: Progression
    ) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], list[str]]:
        """In a cascade the labels (K, J, I) of the stage before, as its networks gave them, without postprocessing."""
        if self.previous is None:
            return {}, [], []
        turn = self.previous._turn(image)
        turned = replace(image, array=turn.array(image.array), grid=turn.grid(image.grid))
        export, records, changes = self.previous._run(turned, False, False, progression)
        return {"earlier": turn.inverse.array(export.labels())}, records, changes

    def _activated(self, first: int, sums: torch.Tensor, weights: torch.Tensor) -> Iterator[tuple]:
        """The rows as the model's outputs describe them, a few at a time; a channel with uncertainty stays the last."""
        import torch

        activation, count = self.model.activation, self.model.network_outputs
        if activation is None:
            yield first, sums, weights
            return
        step = max(1, ACTIVATED_BYTES // (4 * sums[:, 0].numel()))
        for row in range(0, len(weights), step):
            rows = slice(row, row + step)
            logits = sums[:, rows].float() / weights[rows]
            yield first + row, torch.cat([activation(logits[:count]), logits[count:]])

    def _precision(self, attempt: Attempt) -> str:
        """On another device than the chosen one, what is usual there."""
        return self.settings.precision if attempt.device == self.device else full_precision(attempt.device)

    def _too_large(self, image: Image) -> DeviceError:
        shape, spacing, wanted = (
            " x ".join(f"{n:g}" for n in numbers)
            for numbers in (image.grid.shape, image.grid.spacing_kji, self.model.spacing or image.grid.spacing_kji)
        )
        return DeviceError(
            f"{describe_device(self.device)} has not enough memory for this volume, {shape} voxels of {spacing} mm,"
            f" at the model's spacing, {wanted} mm. Crop the volume, check its spacing or choose another device."
        )

    @staticmethod
    def _empty_segments(label_map: LabelMap) -> list[str]:
        volumes = label_map.volumes_ml()
        return [f"Nothing was found of {s.name}." for s in label_map.labels if volumes[s.id] == 0]

    def _description(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Of a run: the record of its only part, or those of all parts."""
        if len(records) == 1:
            return records[0]
        own = {"device": describe_device(self.device), "quality": self.settings.quality}
        return {**own, "configuration": self.model.configuration_name, "folds": list(self.folds), "parts": records}

    def _record(self, attempt: Attempt) -> dict[str, Any]:
        return {
            "device": describe_device(attempt.device),
            "quality": self.settings.quality,
            "precision": self._precision(attempt),
            "configuration": self.model.configuration_name,
            "tile": list(attempt.tile),
            "tile_overlap": 1 - self.settings.step,
            "body_only": self.settings.body_only,
            "folds": list(self.folds),
            "mirror_axes": list(self.settings.mirror_axes),
            "sha256": self.model.checksum,
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


def _whole(tile: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """A tile in which 0, the whole of an axis, is that of the prepared array."""
    return tuple(n or extent for n, extent in zip(tile, shape[-len(tile) :], strict=True))


def _release_memory(device: torch.device):
    """Give what the failed attempt held back to the device; the frames that held it are gone by now."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def segment_image(image: Image, model: Model, **options: Any) -> Result:
    """Segment one volume with a model that is loaded for it; options of Predictor and of Predictor.segment."""
    known = {name: options.pop(name) for name in ("device", "quality", "mirroring", "folds") if name in options}
    return Predictor(model, **known).segment(image, **options)
