"""Lesion-wise detection: connected components of two masks, matched one to one."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from MedSegAIMetricsLib.masks import MaskPair
from MedSegAIMetricsLib.overlap import ratio

TOUCHING = np.ones((3, 3, 3), bool)  # 26-connected: voxels that share a face, an edge or a corner are one lesion


def lesion_measures(pair: MaskPair, threshold: float = 0.0) -> dict[str, float]:
    """All measures of the group ``lesions``; NaN where they do not exist.

    Two lesions can match if their Jaccard exceeds ``threshold``. Matches are one-to-one and chosen so that the sum of
    their Jaccard is largest (Kuhn, Nav Res Logist Q 1955;2:83-97).
    """
    (reference, n_reference), (test, n_test) = (ndimage.label(m, TOUCHING) for m in (pair.reference, pair.test))
    matched = _dice_of_matches(reference, n_reference, test, n_test, threshold)
    tp, total = len(matched), float(matched.sum())
    fp, fn = n_test - tp, n_reference - tp
    return {
        "lesions_reference": n_reference,
        "lesions_test": n_test,
        "lesion_tp": tp,
        "lesion_fp": fp,
        "lesion_fn": fn,
        "lesion_sensitivity": ratio(tp, n_reference),
        "lesion_precision": ratio(tp, n_test),
        "lesion_f1": ratio(2 * tp, 2 * tp + fp + fn),
        "lesion_dice_matched": total / tp if tp else math.nan,
        "lesion_dice_all": ratio(total, tp + fp + fn),
    }


def _dice_of_matches(
    reference: np.ndarray, n_reference: int, test: np.ndarray, n_test: int, threshold: float
) -> np.ndarray:
    """Dice of each pair of the best one-to-one assignment."""
    if not n_reference or not n_test:
        return np.zeros(0)
    joint = np.bincount((reference.ravel() * (n_test + 1) + test.ravel()), minlength=(n_reference + 1) * (n_test + 1))
    joint = joint.reshape(n_reference + 1, n_test + 1)
    common = joint[1:, 1:]
    sizes = joint.sum(1)[1:, None] + joint.sum(0)[None, 1:]
    jaccard = common / (sizes - common)
    jaccard[jaccard <= threshold] = 0  # such pairs must not compete with those that can match
    from scipy.optimize import linear_sum_assignment  # takes a while to import

    rows, columns = linear_sum_assignment(-jaccard)
    return (2 * common / sizes)[rows, columns][jaccard[rows, columns] > 0]
