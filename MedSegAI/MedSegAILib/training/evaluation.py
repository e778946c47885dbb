"""How good a model is on cases it never saw: Dice and HD95 per structure, with a bootstrap interval over cases."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedSegAICore.files import atomic_path, write_json
from MedSegAICore.image import LabelMap
from MedSegAILib.training.dataset import TrainingCase

if TYPE_CHECKING:
    from MedSegAILib.inference.prediction import Predictor

# MONAI's convention of the distance, so that the figures of model cards compare with published ones.
MEASURES = ("dice", "hd95_voxelcenter_maxdir_mm", "volume_reference_ml", "volume_test_ml")


@dataclass(frozen=True)
class Score:
    """One structure of one case. ``hd95`` is NaN if exactly one of the two masks is empty."""

    case: str
    structure: str
    dice: float
    hd95_voxelcenter_maxdir_mm: float
    reference_volume_ml: float
    test_volume_ml: float


def evaluate(
    predictor: Predictor, cases: Sequence[TrainingCase], progress: Callable[[float, str], None] | None = None
) -> list[Score]:
    """Segment every case and compare each structure with the case's label file, but for voxels labeled ``ignore``."""
    ignore = predictor.model.dataset["labels"].get("ignore")
    scores = []
    for number, case in enumerate(cases, start=1):
        result = predictor.segment(case.read_image())
        scores += compare(case.id, result.label_map, case.read_labels(), ignore)
        if progress:
            progress(number / len(cases), f"evaluated {case.id}")
    return scores


def compare(case_id: str, test: LabelMap, reference: np.ndarray, ignore: int | None = None) -> list[Score]:
    """Compare a segmentation with a reference array (K, J, I) that uses the same label values.

    Voxels whose reference is ``ignore`` count for nothing.
    """
    # Not at the top: in Slicer's developer mode the metrics package is not on the path yet when this module loads.
    from MedSegAIMetricsLib import compare as compare_masks

    scores = []
    for label in test.labels:
        ours, theirs = test.mask(label) & (reference != ignore), reference == label.value
        measured = compare_masks(theirs, ours, test.grid.spacing_kji, [1], MEASURES)[1]
        scores.append(
            Score(
                case_id,
                label.id,
                measured["dice"],
                measured["hd95_voxelcenter_maxdir_mm"],
                measured["volume_reference_ml"],
                measured["volume_test_ml"],
            )
        )
    return scores


def summarize(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Per structure: cases, and for Dice and HD95 mean, 95 % interval, median, standard deviation, worst case.

    Cases without a distance (one mask empty) are counted under ``undefined`` and left out of the distance's figures.
    """
    summary: dict[str, dict[str, Any]] = {}
    for structure in dict.fromkeys(score.structure for score in scores):
        own = [score for score in scores if score.structure == structure]
        summary[structure] = {
            "cases": len(own),
            "dice": _figures({s.case: s.dice for s in own}, worst=min),
            "hd95_voxelcenter_maxdir_mm": _figures({s.case: s.hd95_voxelcenter_maxdir_mm for s in own}, worst=max),
        }
    return summary


def _figures(values: Mapping[str, float], worst: Callable) -> dict[str, Any]:
    from MedSegAIMetricsLib.statistics import bootstrap_interval

    defined = {case: value for case, value in values.items() if np.isfinite(value)}
    if not defined:
        return {"undefined": len(values)}
    numbers = np.array(list(defined.values()))
    worst_case = worst(defined, key=defined.get)
    return {
        "mean": round(float(numbers.mean()), 4),
        "ci95": [round(limit, 4) for limit in bootstrap_interval(numbers)] if len(numbers) > 1 else None,
        "median": round(float(np.median(numbers)), 4),
        "sd": round(float(numbers.std(ddof=1)), 4) if len(numbers) > 1 else None,
        "worst": round(float(defined[worst_case]), 4),
        "worst_case": worst_case,
        "undefined": len(values) - len(defined),
    }


def write_evaluation(folder: Path, name: str, scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Write ``<name>.csv`` (one line per case and structure) and ``<name>.json`` (the summary); returns the summary."""
    folder = Path(folder)
    with atomic_path(folder / f"{name}.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(scores[0])))
        writer.writeheader()
        writer.writerows(asdict(score) for score in scores)
    summary = summarize(scores)
    write_json(folder / f"{name}.json", summary)
    return summary
