"""Write a file beside its target and rename it when it is complete, so that nobody ever sees half a result."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from MedSegAICore.errors import OutputError

COMPOUND_SUFFIXES = (".seg.nrrd", ".nii.gz")

_REASONS = {
    errno.ENOSPC: "the disk is full. Free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up. Free some space or choose another folder",
    errno.EFBIG: "the file would be larger than this file system or user may write. Choose another folder",
    errno.EROFS: "the file system is read-only. Choose another folder",
    errno.EACCES: "the permission is missing. Choose another folder or ask its owner for write access",
    errno.EPERM: "the permission is missing. Choose another folder or ask its owner for write access",
    errno.ENOENT: "its folder does not exist. Create the folder first",
    errno.ENOTDIR: "a part of its path is a file, not a folder. Choose another folder",
    errno.EISDIR: "there is a folder of that name. Choose another name",
    errno.ENAMETOOLONG: "the name is too long for this file system. Choose a shorter name",
}


def suffix_of(path: str | os.PathLike) -> str:
    """The lower-case suffix that decides the file type, ``.nii.gz`` and ``.seg.nrrd`` in one piece."""
    name = Path(path).name.lower()
    return next((suffix for suffix in COMPOUND_SUFFIXES if name.endswith(suffix)), Path(name).suffix)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path with the same suffix beside ``path``; it becomes ``path`` when the block succeeds.

    The data is forced to the disk before the rename. If the block raises anything (KeyboardInterrupt too), the
    temporary file is removed and a file that was at ``path`` stays as it was.

    Raises OutputError for everything the operating system refuses: folder missing, read-only, disk full, ….
    """
    path = Path(path)
    temporary = path.parent / f".medsegai-{uuid.uuid4().hex[:12]}{suffix_of(path)}"
    try:
        temporary.touch(exist_ok=False)  # an unwritable folder is noticed before minutes of work
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        yield temporary
        _force_to_disk(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and str(error.filename) not in (str(temporary), str(path)):
            raise  # about another file, which the block reads
        reason = _REASONS.get(error.errno) or f"{error.strerror or error}. Check the folder or choose another one"
        raise OutputError(f"{path} cannot be written: {reason}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _force_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
