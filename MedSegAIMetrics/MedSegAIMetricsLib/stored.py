"""A comparison as plain facts that JSON can hold, and back: how it is kept in a scene.

Slicer's tables lose digits, quotes and line breaks when a scene is saved, so everything is in these facts.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from MedSegAICore import VERSION
from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Label
from MedSegAIMetricsLib.comparison import LabelMeasures
from MedSegAIMetricsLib.label_maps import SegmentComparison
from MedSegAIMetricsLib.matching import Match
from MedSegAIMetricsLib.measures import select


class StoredComparison(SegmentComparison):
    """A comparison that was read back. ``read_masks(comparison, segment id)`` finds the masks where they are now."""

    read_masks: Callable[[SegmentComparison, str], tuple[np.ndarray, np.ndarray]]

    def masks(self, segment_id: str) -> tuple[np.ndarray, np.ndarray]:
        return self.read_masks(self, segment_id)


def to_json(comparison: SegmentComparison) -> str:
    """Everything but the voxels. What does not exist is null; numbers are in full precision."""
    names = [measure.name for measure in comparison.measures]
    facts = {
        "reference": comparison.names[0],
        "test": comparison.names[1],
        "time": comparison.time,
        "region": comparison.region,
        "grid": str(comparison.grid),
        "shape_kji": comparison.grid.shape,
        "ijk_to_ras": comparison.grid.ijk_to_ras.tolist(),
        "notes": comparison.notes,
        "request": comparison.request,
        "version": VERSION,
        "measures": names,
        "segments": [_segment(comparison, key, names) for key in comparison],
    }
    return json.dumps(facts, sort_keys=True, allow_nan=False)


def _segment(comparison: SegmentComparison, key: str, names: list[str]) -> dict[str, Any]:
    match = comparison.matches[key]
    values = [comparison[key][name] for name in names]
    return {
        "id": key,
        "matched": str(match),
        "by": match.by,
        "reference": _label(match.reference),
        "test": _label(match.test),
        "values": [value if math.isfinite(value) else None for value in values],
        "reasons": comparison.reasons[key],
        "fingerprint": comparison.fingerprints[key],
    }


def _label(label: Label | None) -> dict[str, Any] | None:
    return dataclasses.asdict(dataclasses.replace(label, tags=())) if label is not None else None


def from_json(text: str, read_masks: Callable) -> StoredComparison:
    """The comparison that ``to_json`` wrote. Raises InputError if the text is not one, or of another version."""
    try:
        return _from_facts(json.loads(text), read_masks)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "This table does not hold a comparison that this version of MedSegAIMetrics can read "
            f"({type(error).__name__}: {error}). Compare again."
        ) from error


def _from_facts(facts: Mapping[str, Any], read_masks: Callable) -> StoredComparison:
    names, measured, matches = facts["measures"], {}, []
    for segment in facts["segments"]:
        values = (math.nan if value is None else float(value) for value in segment["values"])
        own = LabelMeasures(dict(zip(names, values, strict=True)), segment["reasons"], segment["fingerprint"])
        measured[segment["id"]] = own
        matches.append(Match(_read_label(segment["reference"]), _read_label(segment["test"]), segment["by"]))
    grid = Grid(tuple(facts["shape_kji"]), np.array(facts["ijk_to_ras"]))
    result = StoredComparison(measured, matches, select(names), facts["region"], grid)
    result.read_masks = read_masks
    result.names = (facts["reference"], facts["test"])
    result.notes, result.request, result.time = facts["notes"], facts["request"], facts["time"]
    return result


def _read_label(facts: Mapping[str, Any] | None) -> Label | None:
    return None if facts is None else Label(**{**facts, "color": tuple(facts["color"]), "tags": ()})
