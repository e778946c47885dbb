"""The cursor of a busy window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import qt


@contextmanager
def busyCursor() -> Iterator[None]:
    """Show it while something takes a moment; it goes away whatever happens.

    Slicer's own (``slicer.util.WaitCursor``) lets clicks, timers and the end of the scene happen in between.
    """
    qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()
