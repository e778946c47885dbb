"""How numbers are written for people."""

from __future__ import annotations

import math


def format_volume(volume_ml: float) -> str:
    """A volume with three significant digits: ``1.62 ml``, ``1240 ml``, ``0.0313 ml``; ``empty`` for none."""
    if volume_ml == 0:
        return "empty"
    digits = max(0, 2 - math.floor(math.log10(volume_ml)))
    return f"{volume_ml:.{digits}f} ml"
