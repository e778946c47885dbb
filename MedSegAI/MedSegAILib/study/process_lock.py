"""A lock that ends with its process, for folders on this computer; never for a shared folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def try_lock(path: Path) -> IO | None:
    """The open file, to be kept and closed; None if another process that still runs holds it."""
    file = open(path, "ab")  # noqa: SIM115 the caller keeps it open
    try:
        _lock(file)
    except OSError:
        file.close()
        return None
    return file


def _lock(file: IO) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
