"""From the inputs of ``medsegai segment`` to a list of cases, each of which can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedSegAICore.dicom import DicomSeries, find_series, read_series
from MedSegAICore.errors import InputError
from MedSegAICore.files import IMAGE_SUFFIXES, read_image
from MedSegAICore.image import Image, stack_channels
from MedSegAILib.models.card import ModelCard
from MedSegAILib.models.series_selection import choose_series

CHANNEL_NUMBER = re.compile(r"(.+)_(\d{4})")  # nnU-Net's name of a channel's file: case_0000


@dataclass(frozen=True)
class Case:
    """A name for the output files, and how to read the volume. ``read`` raises InputError or GeometryError."""

    name: str
    read: Callable[[], Image]


def find_cases(inputs: Sequence[Path], channels: int, card: ModelCard | None, say: Callable[[str], None]) -> list[Case]:
    """One case per image file, group of channel files, or DICOM study in the inputs; names are made unique.

    An input that cannot be used becomes a case whose ``read`` raises the reason, so that the others still run.
    ``say`` is told which series of a study was chosen and why.
    """
    cases = [case for path in inputs for case in _cases_of(Path(path), channels, card, say)]
    unique, taken = [], set()
    for case in cases:
        name, number = case.name, 2
        while name.lower() in taken:  # file systems that ignore case would mix the two up
            name, number = f"{case.name}_{number}", number + 1
        if name != case.name:
            say(f"There is more than one case {case.name!r}; one of them is written as {name!r}.")
        taken.add(name.lower())
        unique.append(Case(name, case.read))
    return unique


def _cases_of(path: Path, channels: int, card: ModelCard | None, say: Callable[[str], None]) -> Iterator[Case]:
    if not path.is_dir():
        yield Case(_stem(path), lambda: read_image(path))
        return
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".") and _is_image(p))
    if files:
        yield from _image_files(files, channels)
        return
    yield from _dicom_folder(path, card, say)


def _image_files(files: Sequence[Path], channels: int) -> Iterator[Case]:
    """One case per file, or per group of ``case_0000``, ``case_0001`` … for a model of several channels."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        numbered = CHANNEL_NUMBER.fullmatch(_stem(file))
        one_of_one = numbered and channels == 1 and numbered[2] == "0000"
        name = numbered[1] if numbered and (channels > 1 or one_of_one) else _stem(file)
        groups.setdefault(name, []).append(file)
    for name, paths in groups.items():
        yield Case(name, lambda paths=tuple(paths): stack_channels([read_image(path) for path in paths]))


def _dicom_folder(path: Path, card: ModelCard | None, say: Callable[[str], None]) -> Iterator[Case]:
    found = find_series(path)
    if not found:
        yield _failing(path.name, f"{path} holds neither images ({', '.join(IMAGE_SUFFIXES)}) nor DICOM files.")
        return
    studies = {series.study for series in found if not series.unusable} or {found[0].study}
    direct = any(file.parent == path for series in found for file in series.files)
    if len(studies) > 1 and not direct:
        # A folder of studies: every sub-folder is a case of its own.
        for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
            yield from _dicom_folder(folder, card, say)
        return
    for number, study in enumerate(sorted(studies), start=1):
        name = path.resolve().name if len(studies) == 1 else f"{path.resolve().name}_{number}"
        yield _study(name, [series for series in found if series.study == study], card, say)


def _study(name: str, found: Sequence[DicomSeries], card: ModelCard | None, say: Callable[[str], None]) -> Case:
    def read() -> Image:
        choice = choose_series(found, card, f"The study {name}")
        say(f"{name}: series {choice.series} was chosen: {choice.reason}.")
        return read_series(choice.series)

    return Case(name, read)


def _failing(name: str, reason: str) -> Case:
    def read() -> Image:
        raise InputError(reason)

    return Case(name, read)


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def _stem(path: Path) -> str:
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem or path.name
