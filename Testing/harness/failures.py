"""Collects what Qt, VTK and Python swallow: exceptions of slots, observers, timers, virtuals and destructors.

A fixture of the panel tests clears ``failures`` before a test and fails the test when something is in it after it.
"""

from __future__ import annotations

import sys
import threading


class _Failures(list):
    """The exceptions, in the order in which they were raised; also printed as Python would."""

    def __call__(self, kind, error, traceback):
        self.append(error)
        sys.__excepthook__(kind, error, traceback)

    def add(self, message: str):
        """A failure that the harness found itself."""
        self(AssertionError, AssertionError(message), None)


failures = _Failures()


def install():
    """Have Python hand what it cannot raise to ``failures``."""
    sys.excepthook = failures
    sys.unraisablehook = lambda raised: failures(raised.exc_type, raised.exc_value, raised.exc_traceback)
    threading.excepthook = lambda raised: failures(raised.exc_type, raised.exc_value, raised.exc_traceback)
