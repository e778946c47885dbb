"""Compare many cases: files of two folders matched by name; what is missing or cannot be read counts as a failure."""

from __future__ import annotations

import csv
import dataclasses
import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MedSegAICore.dicom_seg import is_segmentation
from MedSegAICore.errors import InputError, MedSegAIError
from MedSegAICore.files import IMAGE_SUFFIXES, read_label_map
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib.comparison import Settings
from MedSegAIMetricsLib.label_maps import SegmentComparison, compare_label_maps
from MedSegAIMetricsLib.matching import is_generic
from MedSegAIMetricsLib.tables import FAILED, NO_REFERENCE, NO_TEST, Row, rows_of

logger = logging.getLogger(__name__)

ENDINGS = re.compile(r"([_\-. ](labels?|seg|segmentation|mask|gt|ground_?truth|pred|prediction|auto))+$", re.IGNORECASE)
MOST_VALUES = 6  # a column of numbers with more different values than this is cut in two at its median
UNKNOWN = "unknown"


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case; None where there is none."""

    case: str
    reference: Path | None
    test: Path | None


def match_files(reference: Path, test: Path) -> list[CaseFiles]:
    """Cases of two files, or of two folders by the names of their files, in alphabetical order.

    Names are compared without suffix and without endings such as ``_label`` or ``_pred``. Sub-folders are not searched.
    DICOM SEG files (``.dcm``) are taken from a folder that holds no other label maps.
    Raises InputError if an input does not exist, is of another kind than the other, or holds no label maps, or if two
    files of a folder are of one case.
    """
    for path in (reference, test):
        if not path.exists():
            raise InputError(f"{path} does not exist.")
    if reference.is_dir() != test.is_dir():
        raise InputError("Give two files or two folders, but one of them is a file and the other a folder.")
    if not reference.is_dir():
        return [CaseFiles(_case(reference), reference, test)]
    references, tests = _by_case(reference), _by_case(test)
    if not references.keys() & tests.keys():
        raise InputError(
            f"No file of {test.name} has the name of a case of {reference.name}: there is {next(iter(tests))!r} in the "
            f"one and {next(iter(references))!r} in the other. Give the files of a case the same name in both."
        )
    cases = sorted(references.keys() | tests.keys())
    return [CaseFiles(case, references.get(case), tests.get(case)) for case in cases]


def find_image(place: Path, case: str) -> Path | None:
    """The image of a case: the file itself, or the one of that name in a folder (nnU-Net's ``_0000`` may follow)."""
    if place.is_file():
        return place
    paths = sorted(place.iterdir()) if place.is_dir() else []
    named = {re.sub(r"_0000$", "", _case(path)): path for path in paths if path.name.lower().endswith(IMAGE_SUFFIXES)}
    return named.get(case)


def compare_files(
    cases: Iterable[CaseFiles],
    settings: Mapping | None = None,
    *,
    grid: str = "reference",
    labels: Mapping[int, str] | None = None,
    groups: Mapping[str, Mapping[str, str]] | None = None,
    done: Callable[[CaseFiles, list[Row], SegmentComparison | None], None] | None = None,
) -> list[Row]:
    """A row for each segment of each case.

    ``settings``: keyword arguments of ``compare_label_maps``. ``labels``: names of the label values of files that say
    nothing about their segments; these are then compared in every case, also where they are empty.
    ``groups``: for each case, its values of the subgroup columns.
    ``done(case, rows, comparison)`` is called after each case.

    A case without a test, or whose test cannot be read, is compared with an empty one: it is a failure of the test. One
    whose reference is missing or cannot be read gets a row without values. Raises InputError for wrong settings only.
    """
    settings = dict(settings or {})
    Settings.of(**settings)  # a wrong measure is not a matter of one case
    rows: list[Row] = []
    for files in cases:
        own, comparison = compare_case(files, settings, grid=grid, labels=labels)
        own = in_groups(own, groups)
        rows += own
        if done is not None:
            done(files, own, comparison)
    return rows


def in_groups(rows: Sequence[Row], groups: Mapping[str, Mapping[str, str]] | None) -> list[Row]:
    """The rows with the subgroups of their cases; one that ``groups`` does not name is ``unknown`` in all of them."""
    unknown = dict.fromkeys(_columns(groups), UNKNOWN)
    return [dataclasses.replace(row, group=(groups or {}).get(row.case, unknown)) for row in rows]


def read_subgroups(path: Path) -> dict[str, dict[str, str]]:
    """Per case the values of a CSV file's other columns; its first column names the cases.

    A column of numbers with many different values is cut at its median: ``<= 63`` and ``> 63``.
    Raises InputError if the file cannot be used.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}.") from error
    if len(lines) < 2 or len(lines[0]) < 2:
        raise InputError(f"{path} needs a line of column names, the first for the case, and a line for each case.")
    width = len(lines[0])
    for number, line in enumerate(lines, start=1):
        if len(line) != width:
            raise InputError(f"Line {number} of {path} has {len(line)} columns, expected {width}.")
    columns = {
        name.strip(): _grouped([line[at].strip() for line in lines[1:]]) for at, name in enumerate(lines[0][1:], 1)
    }
    groups: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[1:]):
        case = _case(Path(line[0].strip()))
        if case in groups:
            raise InputError(f"The case {case!r} occurs twice in {path}.")
        groups[case] = {name: values[number] for name, values in columns.items()}
    return groups


def compare_case(
    files: CaseFiles, settings: Mapping, *, grid: str = "reference", labels: Mapping[int, str] | None = None
) -> tuple[list[Row], SegmentComparison | None]:
    """The rows of one case, as ``compare_files`` makes them, and what they were taken from; None if nothing could be.

    Raises InputError for wrong settings only.
    """
    if files.reference is None:
        return [row_without_values(files.case, NO_REFERENCE, "there is no reference file", settings)], None
    reference, problem = _read(files.reference, labels)
    if reference is None:
        return [row_without_values(files.case, FAILED, f"the reference cannot be read: {problem}", settings)], None
    test, problem = _read(files.test, labels) if files.test is not None else (None, "there is no test file")
    missing = test is None
    if missing:
        problem = problem if files.test is None else f"the test cannot be read: {problem}"
        test = LabelMap(np.zeros(reference.grid.shape, np.uint8), reference.grid, ())
    try:
        comparison = compare_label_maps(reference, test, grid=grid, **settings)
    except Exception as error:  # one bad case never stops a batch
        return [row_without_values(files.case, FAILED, sentence_of(error), settings)], None
    rows = rows_of(comparison, files.case)
    if missing:
        rows = [dataclasses.replace(row, status=NO_TEST, reason=problem) for row in rows]
    return rows, comparison


def _read(path: Path, names: Mapping[int, str] | None) -> tuple[LabelMap | None, str]:
    """The label map, or why there is none."""
    try:
        return named_labels(read_label_map(path), names), ""
    except Exception as error:  # one bad case never stops a batch
        return None, sentence_of(error)


def sentence_of(error: Exception) -> str:
    """What is said of a case that failed; what is not the user's fault goes to the log, too."""
    if isinstance(error, MedSegAIError):
        return str(error)
    logger.exception("A case failed for a reason that is not the user's.")
    return f"{type(error).__name__}: {error}"


def row_without_values(case: str, status: str, reason: str, settings: Mapping) -> Row:
    """The row of a case of which nothing could be measured: all values are NaN. ``status``: see Row."""
    chosen = Settings.of(**settings)
    values = {measure.name: math.nan for measure in chosen.measures}
    return Row(case, 0, "", values, str(chosen.region), status=status, reason=reason)


def named_labels(label_map: LabelMap, names: Mapping[int, str] | None) -> LabelMap:
    """With the given names, if the file had none of its own; values that it lacks become empty segments."""
    if not names or not all(is_generic(label) for label in label_map.labels):
        return label_map
    known = {label.value: label for label in label_map.labels}
    if any(label.layer for label in label_map.labels):
        return label_map
    named = [
        dataclasses.replace(known.get(value, Label(value, "", "")), id=f"Segment_{value}", name=name)
        for value, name in names.items()
        if value <= np.iinfo(label_map.array.dtype).max
    ]
    return dataclasses.replace(
        label_map, labels=(*named, *(label for value, label in known.items() if value not in names))
    )


def _by_case(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in label_map_files(folder):
        case = _case(path)
        if case in found:
            raise InputError(f"{found[case].name} and {path.name} in {folder} are both of the case {case!r}.")
        found[case] = path
    if not found:
        raise InputError(f"{folder} holds no label maps ({', '.join(IMAGE_SUFFIXES)}, or DICOM SEG as .dcm).")
    return found


def label_map_files(folder: Path) -> list[Path]:
    """The files of a folder that may be label maps, in alphabetical order; DICOM SEG if it holds no others.

    Beside other label maps, a DICOM SEG is most likely another copy of the same case.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    label_maps = [path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES)]
    return label_maps or [path for path in files if _may_be_dicom_seg(path)]


def _may_be_dicom_seg(path: Path) -> bool:
    """Also for a damaged file, which then counts as a failure."""
    if path.suffix.lower() != ".dcm":
        return False
    try:
        return is_segmentation(path)
    except InputError:
        return True


def stem_of(path: Path) -> str:
    """The name of a label map's file without its suffix, ``.seg.nrrd`` and ``.nii.gz`` in one piece."""
    for suffix in (".seg.nrrd", ".dcm", *sorted(IMAGE_SUFFIXES, key=len, reverse=True)):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _case(path: Path) -> str:
    name = stem_of(path)
    return ENDINGS.sub("", name) or name


def _columns(groups: Mapping[str, Mapping[str, str]] | None) -> list[str]:
    return list(dict.fromkeys(column for values in (groups or {}).values() for column in values))


def _grouped(values: Sequence[str]) -> list[str]:
    try:
        numbers = np.array([float(value) if value else math.nan for value in values])
    except ValueError:
        return [value or UNKNOWN for value in values]
    if len(set(numbers[np.isfinite(numbers)])) <= MOST_VALUES:
        return [value or UNKNOWN for value in values]
    median = float(np.nanmedian(numbers))
    return [UNKNOWN if math.isnan(n) else f"<= {median:g}" if n <= median else f"> {median:g}" for n in numbers]
