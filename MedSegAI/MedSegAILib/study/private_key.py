"""The key between codes and people or files, in a folder that only the coordinator has; never in the study folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from MedSegAICore.atomic import atomic_path
from MedSegAICore.errors import InputError

_ANNOTATORS, _CASES = "annotators.csv", "cases.csv"


class PrivateKey:
    """Two tables: ``annotators.csv`` (code, name) and ``cases.csv`` (code, source)."""

    def __init__(self, folder: Path, study_folder: Path):
        """Raises InputError if the folder is missing or lies in the study folder, which annotators can open."""
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"There is no folder {folder} for the private key. Make it first, outside the study.")
        if self.folder.resolve().is_relative_to(Path(study_folder).resolve()):
            raise InputError(
                f"The private key must not lie in the study folder, but {folder} does. Choose a folder that "
                "annotators cannot open."
            )

    def add_case(self, code: str, source: Path) -> None:
        """Remember where a case comes from. Raises OutputError if the table cannot be written."""
        self._write(_CASES, ("case", "source"), [*self._read(_CASES), (code, str(source))])

    def codes_of(self, names: Sequence[str]) -> list[str]:
        """Codes ``r01``, ``r02``, … of people, new ones for new names.

        Raises InputError if a name is empty or stands there twice.
        """
        names = [name.strip() for name in names]
        if not all(names) or len(set(names)) != len(names):
            raise InputError("Every annotator needs a name, and may be named once only. Check the list of names.")
        rows = self._read(_ANNOTATORS)
        codes = {name: code for code, name in rows}
        for name in names:
            codes.setdefault(name, f"r{len(codes) + 1:02d}")
        self._write(_ANNOTATORS, ("annotator", "name"), [(code, name) for name, code in codes.items()])
        return [codes[name] for name in names]

    def _read(self, name: str) -> list[tuple[str, str]]:
        path = self.folder / name
        if not path.exists():
            return []
        with open(path, encoding="utf-8", newline="") as file:
            rows = [tuple(row) for row in csv.reader(file)][1:]
        if any(len(row) != 2 for row in rows):
            raise InputError(f"{path} is not a table of two columns. Restore it from a copy.")
        return rows

    def _write(self, name: str, header: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
        with atomic_path(self.folder / name) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
