"""Noticing that the parent process ended, on every system."""

from __future__ import annotations

import os
import sys
import time

SECONDS_BETWEEN_LOOKS = 0.5


def wait_until_gone(pid: int) -> None:
    """Return when the process ``pid``, which started this one directly or through a launcher, has ended."""
    if sys.platform == "win32":
        _wait_on_windows(pid)
        return
    # An orphan is given to another parent at once, while the old one may still be listed as a zombie.
    starter = os.getppid()
    while os.getppid() == starter and (pid == starter or _exists(pid)):
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _wait_on_windows(pid: int) -> None:
    """Windows gives an orphan no new parent; but the handle of a process is signaled when that process ends."""
    import ctypes

    synchronize, forever = 0x00100000, 0xFFFFFFFF
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.WaitForSingleObject.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
    handle = kernel.OpenProcess(synchronize, False, pid)
    if handle:  # none: it has ended already
        kernel.WaitForSingleObject(handle, forever)
