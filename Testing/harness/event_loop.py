"""Runs Qt's event loop in tests, and watches whether something blocks it.

>>> with Watch() as watch:
...     ui.applyButton.click()
...     wait_until(lambda: not section.isRunning(), 60)
>>> assert watch.longest_ms <= 50, watch.report()
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field

from harness.pythonqt import QtCore

TICK_MS = 10
_OWN_FILE = __file__


def wait_until(condition, seconds: float = 10.0):
    """Run the event loop until ``condition()`` is true.

    Raises AssertionError after that many seconds, or as soon as a slot or an observer raised; what the condition raises
    is passed on.
    """
    from harness.application import failures

    loop, timer, raised, known = QtCore.QEventLoop(), QtCore.QTimer(), [], len(failures)
    end = time.monotonic() + seconds

    def look():
        try:
            if condition() or len(failures) > known or time.monotonic() > end:
                loop.quit()
        except BaseException as error:
            raised.append(error)
            loop.quit()

    timer.timeout.connect(look)
    timer.start(TICK_MS)
    loop.exec()
    timer.stop()
    if raised:
        raise raised[0]
    if len(failures) > known:
        raise AssertionError(f"While waiting, a slot or an observer raised {failures[-1]!r}") from failures[-1]
    if not condition():
        raise AssertionError(f"Waited {seconds} s in vain")


def run_for(seconds: float):
    """Run the event loop for a time."""
    loop = QtCore.QEventLoop()
    QtCore.QTimer.singleShot(int(1000 * seconds), loop.quit)
    loop.exec()


@dataclass
class Gap:
    """A time in which the event loop could not answer.

    ``cpu_ms`` is what the main thread computed in it: far less than ``ms`` means that it waited (for a file, a lock, a
    process, or for a busy machine). ``stacks`` are the main thread's, the most recent call last, sampled in the gap; an
    empty one means that no Python code ran.
    """

    ms: float
    cpu_ms: float
    stacks: list[tuple[str, ...]] = field(default_factory=list)

    def ran(self, name: str) -> bool:
        """Whether the text, as the name of a function or a file, is in a sampled stack."""
        return any(name in line for stack in self.stacks for line in stack)

    def __str__(self):
        lines = [f"blocked for {self.ms:.0f} ms ({self.cpu_ms:.0f} ms of them computing)"]
        for stack in dict.fromkeys(self.stacks):
            lines += [f"  seen {self.stacks.count(stack)} times:", *("    " + line for line in stack)]
        return "\n".join(lines)


class Watch:
    """Measures how long the event loop was blocked, with a timer that should tick every 10 ms.

    All that happens inside the ``with`` counts, so what a test does there by itself should be quick. Gaps longer than
    ``limit_ms`` are kept with what ran in them. Begin and end count as ticks.
    """

    def __init__(self, limit_ms: float = 50.0):
        self.limit_ms, self.longest_ms, self.gaps, self.ticks = limit_ms, 0.0, [], 0
        self._lock, self._stacks, self._done = threading.Lock(), [], threading.Event()

    def __enter__(self):
        gc.collect()
        gc.freeze()  # what other tests have left is not collected in here: Slicer does not have it
        self._last, self._last_cpu = time.perf_counter(), time.thread_time()
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)
        self._sampler = threading.Thread(target=self._sample, args=(threading.get_ident(),), daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *_):
        self._tick()
        self._timer.stop()
        self._done.set()
        self._sampler.join()
        gc.unfreeze()

    def longest_ms_without(self, *names: str) -> float:
        """The longest gap in which none of these functions was seen; gaps within the limit are not told apart."""
        others = [gap.ms for gap in self.gaps if not any(gap.ran(name) for name in names)]
        return max(others, default=min(self.longest_ms, self.limit_ms))

    def report(self) -> str:
        """What blocked the event loop, for the message of a failing test."""
        return "\n".join([f"{self.ticks} ticks, the longest gap {self.longest_ms:.0f} ms", *map(str, self.gaps)])

    def _tick(self):
        now, cpu = time.perf_counter(), time.thread_time()
        ms, cpu_ms = 1000 * (now - self._last), 1000 * (cpu - self._last_cpu)
        with self._lock:
            stacks, self._stacks = self._stacks, []
            self._last, self._last_cpu = now, cpu
        self.ticks += 1
        self.longest_ms = max(self.longest_ms, ms)
        if ms > self.limit_ms:
            self.gaps.append(Gap(ms, cpu_ms, stacks))

    def _sample(self, main_thread: int):
        while not self._done.wait(0.005):
            with self._lock:
                if 1000 * (time.perf_counter() - self._last) < 2 * TICK_MS:
                    continue
                frame = sys._current_frames().get(main_thread)
                self._stacks.append(_stack(frame))


def _stack(frame) -> tuple[str, ...]:
    """The last lines of a stack below the event loop that the test runs."""
    lines = []
    for entry in reversed(traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)[:40]):
        if entry.filename == _OWN_FILE:
            lines = []
        else:
            lines.append(f"{entry.filename}:{entry.lineno} {entry.name}")
    return tuple(lines[-12:])
