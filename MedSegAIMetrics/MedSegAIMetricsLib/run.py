"""A comparison that goes on while its caller does other things."""

from __future__ import annotations

from collections.abc import Generator

from MedSegAICore.errors import Cancelled
from MedSegAIMetricsLib.label_maps import SegmentComparison


class ComparisonRun:
    """What ``ComparisonLogic.startComparison`` gives.

    >>> run = logic.startComparison(referenceSegmentation, testSegmentation)
    >>> while not run.advance():  # in a window: at each tick of a timer
    ...     print(run.fraction, run.message)
    >>> run.result["liver"]["dice"]

    ``fraction``: 0 to 1. ``message``: the segment that is measured, or "". ``result``: None until ``advance`` gives
    True.
    """

    def __init__(self, steps: Generator[tuple[float, str], None, SegmentComparison]):
        self._steps = steps
        self.fraction, self.message = 0.0, ""
        self.result: SegmentComparison | None = None

    def advance(self) -> bool:
        """Do a little, and say whether all is done. Raises what ``compare`` raises; Cancelled after ``cancel``."""
        if self.result is not None:
            return True
        if self._steps is None:
            raise Cancelled("Cancelled: the comparison was not finished.")
        try:
            self.fraction, self.message = next(self._steps)
        except StopIteration as end:
            self.fraction, self.result = 1.0, end.value
        except BaseException:
            self._steps = None
            raise
        return self.result is not None

    def cancel(self):
        """End at once and free everything. Harmless when it has ended or was canceled before."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None
