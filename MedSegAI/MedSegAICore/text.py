"""How numbers are written for people."""

from __future__ import annotations

import math


def format_volume(volume_ml: float) -> str:
    """A volume with three significant digits: ``1.62 ml``, ``1240 ml``, ``0.0313 ml``; ``empty`` for none."""
    if volume_ml == 0:
        return "empty"
    digits = max(0, 2 - math.floor(math.log10(volume_ml)))
    return f"{volume_ml:.{digits}f} ml"


def format_duration(seconds: float) -> str:
    """A time about as exact as an estimate: ``20 s``, ``9 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_count(number: int) -> str:
    """A number of things with its thousands apart by a thin space, which no language takes for a decimal mark."""
    return f"{number:,}".replace(",", "\u2009")
