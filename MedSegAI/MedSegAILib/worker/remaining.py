"""How long a run will still take, from how far it has come."""

from __future__ import annotations

FEWEST_SECONDS = 1.0  # of a run before a guess is better than none
SMALLEST_SHARE = 0.01


class RemainingTime:
    """Fed with every piece of news about the network's tiles. The first one is where the clock starts: what was before,
    to load and to prepare, says nothing about tiles.
    """

    def __init__(self):
        self._start: tuple[float, float] | None = None

    def seconds(self, fraction: float, now: float) -> float | None:
        """``fraction`` (0 to 1) of the tiles is done at the time ``now``; None while a guess would be worth nothing."""
        if self._start is None:
            self._start = fraction, now
        done, passed = fraction - self._start[0], now - self._start[1]
        if done < SMALLEST_SHARE or passed < FEWEST_SECONDS:
            return None
        return passed * (1 - fraction) / done
