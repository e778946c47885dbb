"""Keeping freed memory for the next tile instead of giving it back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Names and numbers of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEEP_ALL, _DEFAULT_MMAP_MAX = 2**31 - 1, 65536
_LARGEST_DYNAMIC_TRIM_THRESHOLD = 64 * 2**20


@contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, freed memory is not given back to the system, so that the next large array need not ask for it again.

    A network allocates and frees some gigabytes per tile. glibc maps each large array anew, and the system must clear
    every page of it at the first touch: that took 30 to 45 % of the forward passes' CPU time. At the end everything
    that is free is given back. Without glibc (Windows, macOS) nothing is changed.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.malloc_trim(0)
    libc.malloc_trim(0)  # what is free now lies in pieces, beside which the kept memory would come
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _KEEP_ALL)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
        # What glibc itself comes to in a process that has freed large arrays.
        libc.mallopt(_TRIM_THRESHOLD, _LARGEST_DYNAMIC_TRIM_THRESHOLD)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - other C libraries do not have it
    except (AttributeError, OSError, TypeError):  # Windows cannot load None
        return None
    return libc
