"""The segmentations of several observers as files: which belong to one case, and what goes wrong with one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedSegAICore.errors import InputError
from MedSegAICore.files import IMAGE_SUFFIXES, read_label_map
from MedSegAICore.image import LabelMap
from MedSegAIMetricsLib.cohort import label_map_files, named_labels, stem_of
from MedSegAIMetricsLib.observer_comparison import ObserverComparison, compare_observers

RECORD = "observers.json"  # in a folder of results: how they were made

MOST_LABELS = 1000  # no atlas has as many, but an image of unsigned integers has more values


@dataclass(frozen=True)
class ObserverFiles:
    """The files of one case by the observer's code. ``problem``: why they cannot be used; "" if nothing is known."""

    case: str
    files: Mapping[str, Path]
    problem: str = ""

    def compare(self, names: Mapping[int, str] | None, settings: Mapping) -> ObserverComparison:
        """The comparison of the observers; ``names``: of the labels of files that have none, see ``compare_files``.

        ``settings``: keyword arguments of ``compare_observers``. Raises MedSegAIError with one sentence.
        """
        if self.problem:
            raise InputError(self.problem)
        label_maps = {code: named_labels(_read(path), names) for code, path in self.files.items()}
        return compare_observers(label_maps, name=self.case, **settings)


def _read(path: Path) -> LabelMap:
    label_map = read_label_map(path)
    if len(label_map.labels) > MOST_LABELS:
        raise InputError(
            f"{path.name} has {len(label_map.labels)} different values, so it seems to be an image, not a "
            "segmentation. A case folder holds the segmentations of the observers only."
        )
    return label_map


def find_observer_files(inputs: Sequence[Path]) -> list[ObserverFiles]:
    """The cases of folders, or the one case whose files are given.

    A case folder holds one segmentation of each observer, whose code is the name of the file without its suffix. A
    folder that holds no segmentations, but folders that do, stands for these. A folder that cannot be used becomes a
    case with a ``problem``, so that the others still run. Cases are named after their folders.

    Raises InputError if an input does not exist, files and folders are mixed, or there is no case at all.
    """
    inputs = [Path(path) for path in inputs]
    for path in inputs:
        if not path.exists():
            raise InputError(f"There is no file or folder {path}. Check the spelling of the path.")
    folders = [path for path in inputs if path.is_dir()]
    if folders and len(folders) < len(inputs):
        raise InputError("Give folders, each of one case, or the files of one case, but not both.")
    if not folders:
        return [_case_of(_common_name(inputs), inputs)]
    cases = [_folder(path) for folder in folders for path in _case_folders(folder)]
    return _with_own_names(cases)


def _case_folders(folder: Path) -> list[Path]:
    if label_map_files(folder):
        return [folder]
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    inner = [] if (folder / RECORD).exists() else [path for path in inner if label_map_files(path)]
    return inner or [folder]


def _folder(folder: Path) -> ObserverFiles:
    name, files = folder.resolve().name, label_map_files(folder)
    if (folder / RECORD).exists():
        return ObserverFiles(name, {}, f"{folder} holds the results of an earlier run, not segmentations of observers.")
    if not files:
        expected = f"{', '.join(IMAGE_SUFFIXES)}, or DICOM SEG as .dcm"
        return ObserverFiles(name, {}, f"{folder} holds no segmentations ({expected}).")
    return _case_of(name, files)


def _case_of(name: str, files: Sequence[Path]) -> ObserverFiles:
    codes = [stem_of(path) for path in files]
    if len(set(codes)) < len(codes):  # such as r01/liver.nrrd and r02/liver.nrrd
        codes = [f"{path.resolve().parent.name}_{code}" for path, code in zip(files, codes, strict=True)]
    by_code = dict(zip(codes, files, strict=True))
    if len(by_code) < len(files):
        twice = next(code for code in codes if codes.count(code) > 1)
        return ObserverFiles(name, by_code, f"Two files of {name} are of the observer {twice!r}. Rename one of them.")
    if len(files) < 2:
        problem = f"Agreement needs at least two observers, but {name} has one segmentation, {files[0].name}."
        return ObserverFiles(name, by_code, problem)
    return ObserverFiles(name, by_code)


def _common_name(files: Sequence[Path]) -> str:
    """The name of the folder that all files are in, or below."""
    parents = [path.resolve().parent for path in files]
    common = next(
        folder for folder in (parents[0], *parents[0].parents) if all(p.is_relative_to(folder) for p in parents)
    )
    return common.name or "case"


def _with_own_names(cases: Sequence[ObserverFiles]) -> list[ObserverFiles]:
    """Folders of one name in different places are different cases; the later ones get a number."""
    named, taken = [], set()
    for case in cases:
        name, number = case.case, 2
        while name.lower() in taken:  # file systems that ignore case would mix the two up
            name, number = f"{case.case}_{number}", number + 1
        taken.add(name.lower())
        named.append(ObserverFiles(name, case.files, case.problem))
    return named
