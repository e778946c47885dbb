"""File names made of what people call things: valid on every system, and never those of files that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from MedSegAICore.errors import OutputError

LONGEST = 100  # characters; with folder and suffix it fits the 260 that Windows allows a path
LONGEST_BYTES = 200  # in UTF-8; with suffix it fits the 255 that Linux allows a name
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')  # on Windows; other systems forbid fewer
# No file on Windows can be called so, whatever follows the first point.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?= *(\.|$))", re.IGNORECASE)


def safe_name(text: str, default: str = "segmentation") -> str:
    """A text as the name of a file, without suffix; ``default`` if nothing is left of it."""
    name = re.sub(r"\s+", " ", _FORBIDDEN.sub("_", text))[:LONGEST]
    name = name.encode("utf-8", "ignore")[:LONGEST_BYTES].decode("utf-8", "ignore").strip(" ._")
    return _DEVICES.sub(r"\1_", name, count=1) if _DEVICES.match(name) else name or default


@contextmanager
def reserved(folder: Path, name: str, endings: Sequence[str]) -> Iterator[list[Path]]:
    """Paths ``<name><ending>`` in ``folder`` of which none existed, else ``<name>_2<ending>`` and so on.

    They are there, empty, as soon as they are chosen, so that nobody else takes them, and are to be written by
    renaming. If the block raises, they are removed. Raises OutputError if nothing can be written there.
    """
    paths = _reserve(folder, name, endings)
    try:
        yield paths
    except BaseException:
        _remove(paths)
        raise


def _reserve(folder: Path, name: str, endings: Sequence[str]) -> list[Path]:
    if not folder.is_dir():
        raise OutputError(f"There is no folder {folder}. Choose another one, or make it first.")
    for number in range(1, 10000):
        stem = name if number == 1 else f"{name}_{number}"
        paths, taken = [folder / f"{stem}{ending}" for ending in endings], []
        try:
            for path in paths:
                path.touch(exist_ok=False)
                taken.append(path)
            return paths
        except FileExistsError:
            _remove(taken)
        except OSError as error:
            _remove(taken)
            raise OutputError(
                f"Nothing can be written into {folder}: {error.strerror or error}. Choose another folder."
            ) from error
    raise OutputError(f"{folder} holds thousands of files called {name}. Choose another folder.")


def _remove(paths: Sequence[Path]):
    for path in paths:
        with suppress(OSError):
            path.unlink()
