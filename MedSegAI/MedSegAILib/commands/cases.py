"""From the inputs of ``medsegai segment`` to a list of cases, each of which can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

from MedSegAICore.channels import align_channels, name_channels
from MedSegAICore.dicom import DicomSeries, find_series, only_image_series, read_series
from MedSegAICore.errors import InputError, MedSegAIError
from MedSegAICore.files import IMAGE_SUFFIXES, read_image
from MedSegAICore.image import Image
from MedSegAILib.commands.terminal import say as say_on_terminal
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.channel_matching import Candidate, match_channels
from MedSegAILib.models.series_selection import choose_series

CHANNEL_NUMBER = re.compile(r"(.+)_(\d{4})")  # nnU-Net's name of a channel's file: case_0000
RESULT_ENDINGS = (".seg.nrrd", "_probabilities.nrrd", "_uncertainty.nrrd")  # of earlier runs into the same folder


Say = Callable[[str], None]


class Source(Protocol):
    """Where a volume comes from. Plain data, so that another process can read it."""

    @property
    def files(self) -> Sequence[Path]:
        """What must be there for it to be read."""

    def read(self, say: Say) -> Image:
        """Raises InputError or GeometryError. ``say`` is told what was chosen and why."""

    def series(self) -> DicomSeries | None:
        """The DICOM series that is read; None if it is not DICOM. Raises as ``read``."""


@dataclass(frozen=True)
class Case:
    """A name for the output files, and the volume. Plain data, as its source is."""

    name: str
    source: Source

    def read(self, say: Say = say_on_terminal) -> Image:
        """Raises InputError or GeometryError. ``say`` is told which series of a study was chosen and why."""
        return self.source.read(say)

    def series(self) -> DicomSeries | None:
        """The DICOM series that is read, with its files; None if the case is not DICOM. Raises as ``read``."""
        return self.source.series()


@dataclass(frozen=True)
class Channels:
    """The names of a model's channels, and how volumes become them: ``registration`` is None, rigid or affine."""

    names: tuple[str, ...] = ("Channel 1",)
    registration: str | None = None

    def join(self, images: Sequence[Image], say: Say) -> Image:
        """The volumes on the grid of the first. Raises InputError if they are not as many, or do not overlap."""
        return align_channels(name_channels(images, self.names), self.registration, say).image


@dataclass(frozen=True)
class ImageFiles:
    """One file, or one for each channel in their order."""

    files: tuple[Path, ...]
    channels: Channels = Channels()

    def read(self, say: Say) -> Image:
        images = [read_image(path) for path in self.files]
        if len(self.channels.names) == 1 < images[0].channels:
            raise InputError(
                f"{self.files[0]} holds {images[0].channels} volumes (time points or channels), but the model takes "
                "one. Split it into one file each, or load it in Slicer as a sequence and call logic.segmentSequence."
            )
        return self.channels.join(images, say)

    def series(self) -> DicomSeries | None:
        if len(self.files) > 1 or _is_image(self.files[0]):
            return None
        # Any other file is read as a slice of a DICOM series.
        return only_image_series(find_series(self.files[0]), self.files[0])


@dataclass(frozen=True)
class DicomStudy:
    """The series of a study, of which the model card chooses one, or one for each channel."""

    name: str
    found: tuple[DicomSeries, ...]
    card: ModelCard | None
    channels: Channels = Channels()

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(file for series in self.found for file in series.files)

    def read(self, say: Say) -> Image:
        if len(self.channels.names) > 1:
            return self.channels.join([read_series(series) for series in self._series_of_channels(say)], say)
        choice = choose_series(self.found, self.card, f"The study {self.name}")
        say(f"{self.name}: series {choice.series} was chosen: {choice.reason}.")
        return self.channels.join([read_series(choice.series)], say)

    def _series_of_channels(self, say: Say) -> list[DicomSeries]:
        """The series of each channel, by the rules of the model's card. Raises InputError if it is not clear."""
        usable = [series for series in self.found if not series.unusable]
        if not usable:
            listed = "".join(f"\n  {series}" for series in self.found)
            raise InputError(f"The study {self.name} holds no DICOM series that can be used as an image:{listed}")
        candidates = [Candidate(series, str(series), series.description, series.modality) for series in usable]
        assignment = match_channels(candidates, self.channels.names, self.card)
        if not assignment.complete:
            raise InputError(
                f"It is not clear which series of the study {self.name} are the channels "
                f"{', '.join(self.channels.names)}. Give them as files {self.name}_0000.nii.gz, "
                f"{self.name}_0001.nii.gz, ... instead:\n{assignment}"
            )
        say(f"{self.name}: by the rules of the model card the channels are\n{assignment}")
        return assignment.volumes

    def series(self) -> DicomSeries:
        """Of several channels the first one's: the result lies on its grid."""
        if len(self.channels.names) > 1:
            return self._series_of_channels(lambda _: None)[0]
        return choose_series(self.found, self.card, f"The study {self.name}").series


@dataclass(frozen=True)
class Unusable:
    """An input that cannot be used, and why."""

    reason: str
    files: tuple[Path, ...] = ()

    def read(self, _say: Say) -> Image:
        raise InputError(self.reason)

    def series(self) -> None:
        return None


def find_cases(
    inputs: Sequence[Path], names: Sequence[str], card: ModelCard | None, say: Say, registration: str | None = None
) -> list[Case]:
    """One case per image file, group of channel files, or DICOM study in the inputs; names are made unique.

    An input that cannot be used becomes a case whose ``read`` raises the reason, so that the others still run.
    ``names``: of the model's channels. Those on other grids are resampled to the first one's, with ``registration``
    (rigid, affine) registered to it before. ``say`` is told what of a folder was left out.
    """
    cases: list[Case] = []
    channels = Channels(tuple(names), registration)
    for is_folder, paths in groupby(map(Path, inputs), key=Path.is_dir):
        if is_folder:
            cases += [case for path in paths for case in _folder(path, channels, card, say)]
        else:
            cases += _image_files(list(paths), channels)
    unique, taken = [], set()
    for case in cases:
        name, number = case.name, 2
        while name.lower() in taken:  # file systems that ignore case would mix the two up
            name, number = f"{case.name}_{number}", number + 1
        if name != case.name:
            say(f"There is more than one case {case.name!r}; one of them is written as {name!r}.")
        taken.add(name.lower())
        unique.append(replace(case, name=name))
    return unique


def _folder(path: Path, channels: Channels, card: ModelCard | None, say: Say) -> list[Case]:
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        images = [entry for entry in entries if entry.is_file() and _is_image(entry)]
        results = [image for image in images if image.name.lower().endswith(RESULT_ENDINGS)]
        if results:
            names = ", ".join(result.name for result in results[:5]) + (", ..." if len(results) > 5 else "")
            say(f"{path}: {names} left out, they are results and not volumes.")
        volumes = [image for image in images if image not in results]
        if not volumes:
            return list(_dicom_folder(path, channels, card))
        if any(entry.is_dir() for entry in entries):
            say(f"{path}: only its image files are taken; sub-folders must be given by themselves.")
        return list(_image_files(volumes, channels))
    except OSError as error:
        return [_failing(path.resolve().name, f"{path} cannot be read: {error.strerror or error}.")]
    except MedSegAIError as error:
        return [_failing(path.resolve().name, str(error))]


def _image_files(files: Sequence[Path], channels: Channels) -> Iterator[Case]:
    """One case per file, or per group of ``case_0000``, ``case_0001`` … for a model of several channels."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for file in files:
        numbered = CHANNEL_NUMBER.fullmatch(_stem(file))
        if numbered and len(channels.names) > 1:
            groups.setdefault((file.parent, numbered[1]), []).append(file)
        else:
            groups[file, numbered[1] if numbered and numbered[2] == "0000" else _stem(file)] = [file]
    for (place, name), paths in groups.items():
        if place in paths:
            yield Case(name, ImageFiles((place,), channels))
        else:
            yield _channel_files(name, sorted(paths, key=_stem), channels)


def _channel_files(name: str, paths: Sequence[Path], channels: Channels) -> Case:
    needed = [f"{name}_{number:04d}" for number in range(len(channels.names))]
    if [_stem(path) for path in paths] == needed:
        return Case(name, ImageFiles(tuple(paths), channels))
    found = ", ".join(path.name for path in paths)
    return _failing(name, f"The model needs the channel files {needed[0]} to {needed[-1]}, but there are {found}.")


def _dicom_folder(path: Path, channels: Channels, card: ModelCard | None) -> Iterator[Case]:
    found = find_series(path)
    if not found:
        yield _failing(path.name, f"{path} holds neither images ({', '.join(IMAGE_SUFFIXES)}) nor DICOM files.")
        return
    studies = {series.study for series in found if not series.unusable} or {found[0].study}
    direct = any(file.parent == path for series in found for file in series.files)
    if len(studies) > 1 and not direct:
        # A folder of studies: every sub-folder is a case of its own.
        for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
            yield from _dicom_folder(folder, channels, card)
        return
    for number, study in enumerate(sorted(studies), start=1):
        name = path.resolve().name if len(studies) == 1 else f"{path.resolve().name}_{number}"
        of_study = tuple(series for series in found if series.study == study)
        yield Case(name, DicomStudy(name, of_study, card, channels))


def _failing(name: str, reason: str) -> Case:
    return Case(name, Unusable(reason))


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def _stem(path: Path) -> str:
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem or path.name
