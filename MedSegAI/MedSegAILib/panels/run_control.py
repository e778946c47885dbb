"""One run in the worker process, followed by a timer: the window is never waited with."""

from __future__ import annotations

import qt

MS_BETWEEN_POLLS = 30  # each takes some milliseconds: Slicer's Python reads messages only while its own code runs


class RunControl:
    """``onNews(progress)`` is called for each piece of news, ``onEnd(node, error)`` once, with one of them None."""

    def __init__(self, logic, onNews, onEnd):
        self._logic, self._onNews, self._onEnd = logic, onNews, onEnd
        self._run = None
        self._timer = qt.QTimer()
        self._timer.setInterval(MS_BETWEEN_POLLS)
        self._timer.timeout.connect(self._poll)

    @property
    def running(self) -> bool:
        return self._run is not None

    def start(self, volumeNodes, model, **arguments):
        """Raises what ``SegmentationLogic.startSegmentation`` raises; then nothing runs."""
        self._run = self._logic.startSegmentation(volumeNodes, model, **arguments)
        self._timer.start()

    def cancel(self):
        """Ask it to stop; ``onEnd`` follows within a second. It may be asked twice."""
        if self._run is not None:
            self._run.cancel()

    def close(self):
        """Forget the run without a word; whoever ends the worker process ends it."""
        self._timer.stop()
        self._run = None

    def _poll(self):
        if self._run is None:
            return
        for news in self._run.poll():
            self._onNews(news)
        if self._run is None or not self._run.done:
            return
        self._timer.stop()
        run, self._run = self._run, None
        try:
            node = run.result()
        except Exception as error:
            self._onEnd(None, error)
        else:
            self._onEnd(node, None)
