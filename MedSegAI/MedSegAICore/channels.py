"""Several volumes as the channels of one image: resampled in physical space to the first one, registered if asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from MedSegAICore.errors import Cancelled, GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAICore.registration import KINDS, Registration, register
from MedSegAICore.resampling import resample_image

Points = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Channel:
    """A volume that becomes a channel, or several if it has several.

    ``name``: of the channel, for messages ("T2"). ``image``: in the frame of the first volume, unless ``from_first``
    maps points (N, 3) of that frame to the image's own, RAS mm: a transform that no matrix can express.
    """

    name: str
    image: Image
    from_first: Points | None = None


@dataclass(frozen=True)
class Aligned:
    """Channels on the grid of the first.

    ``image.meta`` gets ``warnings`` (those of all volumes, and what was lacking) and ``channels``: what was done with
    each volume, for provenance. ``registrations``: one per volume, None where it was not registered.
    """

    image: Image
    registrations: tuple[Registration | None, ...]


@dataclass(frozen=True)
class Unaligned:
    """Volumes that are yet to become the channels of one image. ``align`` takes seconds, and may be called in another
    process unless a transform is among them that no matrix can express (``is_portable``).

    ``to_first``: for each volume the matrix (4x4) from its own frame to the first one's, in which the images are.
    ``box``: the voxels of the first volume to keep, as pairs (start, stop) in the order KJI; None keeps all.
    """

    channels: tuple[Channel, ...]
    to_first: tuple[np.ndarray | None, ...]
    registration: str | None = None
    box: tuple[tuple[int, int], ...] | None = None

    @property
    def is_portable(self) -> bool:
        return all(channel.from_first is None for channel in self.channels)

    def align(self, say: Callable[[str], None] | None = None, cancelled: Callable[[], bool] | None = None) -> Aligned:
        """What ``align_channels`` gives, with registrations from each volume's own frame; raises what it raises."""
        aligned = align_channels(self.channels, self.registration, say, cancelled)
        if self.registration:
            aligned = _from_own_frames(aligned, self.to_first)
        if self.box is None:
            return aligned
        return replace(aligned, image=aligned.image.crop(tuple(slice(*ends) for ends in self.box)))


def _from_own_frames(aligned: Aligned, matrices: Sequence[np.ndarray | None]) -> Aligned:
    """Registrations start from the first volume's frame; what was done with each volume is said from its own."""
    both = zip(aligned.registrations, matrices, strict=True)
    found = [f if f is None else replace(f, matrix=f.matrix @ matrix) for f, matrix in both]
    facts = [
        fact if f is None else {**fact, "registration": f.to_dict()}
        for fact, f in zip(aligned.image.meta["channels"], found, strict=True)
    ]
    return Aligned(replace(aligned.image, meta={**aligned.image.meta, "channels": facts}), tuple(found))


def name_channels(images: Sequence[Image], names: Sequence[str]) -> list[Channel]:
    """Give volumes the names of a model's channels, in order; one with several components takes as many.

    Raises InputError if there are more or fewer volumes than names.
    """
    if not images:
        raise InputError("No volume is chosen. Load or choose a volume first.")
    count = sum(image.channels for image in images)
    if count != len(names):
        have = f"{len(images)} volume(s) with {count} channel(s) were given"
        raise InputError(f"The model needs {len(names)} channel(s) ({', '.join(names)}), but {have}.")
    ends = np.cumsum([image.channels for image in images])
    return [
        Channel("/".join(names[end - image.channels : end]), image) for image, end in zip(images, ends, strict=True)
    ]


def align_channels(
    channels: Sequence[Channel],
    registration: str | None = None,
    say: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Aligned:
    """Put all volumes on the grid of the first: linear interpolation, ``outside_value`` where one does not reach.

    ``registration``: None takes positions as they are; "rigid" or "affine" brings each volume onto the first before.
    ``say`` is told, before and after, which volume is registered.

    Raises InputError if there is no volume, one does not overlap the first in space, or registration is not possible;
    Cancelled.
    """
    if not channels:
        raise InputError("No volume is chosen. Load or choose a volume first.")
    if registration is not None:
        _check_registration(registration, channels)
    first, arrays, registrations, facts = channels[0], [channels[0].image.array], [None], [_fact(channels[0])]
    warnings = list(first.image.meta.get("warnings", ()))
    for channel in channels[1:]:
        if cancelled is not None and cancelled():
            raise Cancelled
        found = _registered(first, channel, registration, say, cancelled) if registration else None
        image = channel.image
        if found is not None:
            image = replace(image, grid=Grid(image.grid.shape, found.matrix @ image.grid.ijk_to_ras))
            warnings += [f"{channel.name}: {concern}." for concern in found.concerns]
        placed, covered = resample_image(image, first.image.grid, channel.from_first)
        share = float(covered.mean())
        if share == 0:
            raise _apart(first, channel)
        if share < 1:
            warnings.append(_lacking(first, channel, share))
        warnings += [text for text in channel.image.meta.get("warnings", ()) if text not in warnings]
        arrays.append(placed.array)
        registrations.append(found)
        facts.append(_fact(channel, placed.array is not image.array, share, found))
    meta = {**first.image.meta, "warnings": tuple(warnings)}
    if len(channels) > 1:
        meta["channels"] = facts
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return Aligned(Image(array, first.image.grid, meta), tuple(registrations))


def _check_registration(kind: str, channels: Sequence[Channel]):
    if kind not in KINDS:
        raise InputError(f"The registration {kind!r} is not known; choose one of {', '.join(KINDS)}, or none.")
    if len(channels) == 1:
        raise InputError("Registration was asked for, but there is only one volume. Run without it.")


def _registered(first: Channel, channel: Channel, kind: str, say, cancelled) -> Registration:
    if channel.from_first is not None:
        raise GeometryError(
            f"{channel.name} is under a non-linear transform and cannot be registered to {first.name} on top of it. "
            "Run without registration, or harden the transform."
        )
    if say is not None:
        say(f"Registering {channel.name} to {first.name}")
    try:
        found = register(first.image, channel.image, kind, cancelled)
    except InputError as error:
        raise InputError(f"{channel.name} cannot be registered to {first.name}: {error}") from error
    if say is not None:
        say(f"{channel.name}: {found.describe()}")
    return found


def _apart(first: Channel, channel: Channel) -> GeometryError:
    a, b = (" x ".join(f"{n:.0f}" for n in one.image.grid.center_ras()) for one in (first, channel))
    return GeometryError(
        f"{channel.name} and {first.name} do not overlap in space: their centers are at {b} and {a} mm (RAS). Check "
        "that they show the same patient and examination, or register them."
    )


def _lacking(first: Channel, channel: Channel, share: float) -> str:
    lacking = 100 * (1 - share)
    percent = "less than 0.1" if lacking < 0.1 else f"{lacking:.1f}"
    return f"{channel.name} does not cover {percent} % of the voxels of {first.name}; it was taken as background there."


def _fact(channel: Channel, resampled: bool = False, share: float = 1.0, found: Registration | None = None):
    fact: dict[str, Any] = {"channel": channel.name, "resampled": resampled, "covered": round(share, 6)}
    if found is not None:
        fact["registration"] = found.to_dict()
    return fact
