"""Showing progress on a terminal without flooding a log file."""

from __future__ import annotations

import sys


class ProgressLine:
    """A bar on a terminal while its ``with`` block runs; elsewhere, or without tqdm (as in Slicer), nothing."""

    _shown = None  # the bar that is on the terminal now

    def __init__(self, title: str):
        self.title, self._bar = title, None

    def __enter__(self) -> ProgressLine:
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return self
            layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
            self._bar = ProgressLine._shown = tqdm(
                total=1.0, desc=self.title, bar_format=layout, leave=False, file=sys.stderr
            )
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()
            ProgressLine._shown = None

    def __call__(self, fraction: float, message: str):
        """Progress of 0..1, as the libraries report it."""
        if self._bar is not None:
            self._bar.set_postfix_str(message, refresh=False)
            self._bar.update(max(0.0, min(1.0, fraction) - self._bar.n))


def say(text: str):
    """A line that stays, on standard error: standard output is for results."""
    bar = ProgressLine._shown
    if bar is not None:
        bar.clear()
    print(text, file=sys.stderr, flush=True)
    if bar is not None:
        bar.refresh()
