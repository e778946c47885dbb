"""Overlap of two masks."""

from __future__ import annotations

import numpy as np


def dice(reference: np.ndarray, test: np.ndarray) -> float:
    """Dice similarity coefficient, 2 |R ∩ T| / (|R| + |T|) (Dice, Ecology 1945), of two boolean masks of one shape.

    Two empty masks agree by convention: 1. Exactly one empty mask: 0.
    """
    total = np.count_nonzero(reference) + np.count_nonzero(test)
    return 2 * np.count_nonzero(reference & test) / total if total else 1.0
