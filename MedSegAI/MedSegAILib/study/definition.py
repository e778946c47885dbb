"""What a study asks for: its segments, arms, design and thresholds; fixed before the first annotation."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from MedSegAICore.errors import InputError
from MedSegAICore.image import Label

ARMS = ("scratch", "draft")
DESIGNS = ("crossover", "split")


@dataclass(frozen=True)
class SegmentDefinition:
    """One structure to annotate.

    ``id`` is what versions are matched by; ``terminology`` is Slicer's seven-part string; ``allow_empty``: whether an
    annotator may submit it without a voxel; ``tolerance_mm``: of the surface Dice in the report.
    """

    id: str
    name: str
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    terminology: str = ""
    allow_empty: bool = False
    tolerance_mm: float = 1.0


@dataclass(frozen=True)
class StudyDefinition:
    """The plan of a study.

    ``arms``: ``scratch`` (from nothing), ``draft`` (correcting an AI segmentation), or both. ``design``: ``crossover``
    (every annotator gets every case once in each arm, in periods apart by ``washout_days``) or ``split`` (every
    annotator gets every case once; the arms alternate over cases and annotators). ``repeats``: fraction of the cases
    that every annotator gets a second time without being told. ``shams``: fraction of the draft tasks whose draft is
    wrong on purpose. ``thresholds``: of the analysis, by name, e.g. ``{"idle_s": 30}``. ``seed``: of the assignment.

    Raises InputError, with what was expected, if a value is not usable.
    """

    title: str
    segments: tuple[SegmentDefinition, ...]
    arms: tuple[str, ...] = ARMS
    design: str = "crossover"
    washout_days: float = 14.0
    repeats: float = 0.0
    shams: float = 0.0
    seed: int = 0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "segments", tuple(self.segments))
        object.__setattr__(self, "arms", tuple(self.arms))
        if not isinstance(self.title, str) or not self.title.strip():
            raise InputError(f"A study needs a title, but it is {self.title!r}. Give one, without names of people.")
        self._check_segments()
        self._check_design()
        for name, value in self.thresholds.items():
            _check_number(f"The threshold {name!r}", value, 0.0, math.inf)

    def _check_segments(self):
        ids = [segment.id for segment in self.segments]
        if not ids:
            raise InputError("A study needs at least one segment to annotate, but there is none. Define one.")
        if len(set(ids)) != len(ids):
            raise InputError(f"Every segment of a study needs an id of its own, but they are {ids}.")
        for segment in self.segments:
            if not re.fullmatch(r"[^\s|]+", str(segment.id)) or not str(segment.name).strip():
                raise InputError(
                    f"A segment needs a name and an id without spaces, but they are {segment.name!r} and "
                    f"{segment.id!r}. Rename it."
                )
            _check_number(f"The tolerance of segment {segment.id!r} in mm", segment.tolerance_mm, 0.0, math.inf)
            if len(segment.color) != 3:
                raise InputError(f"The color of segment {segment.id!r} needs red, green, blue in 0..1.")
            for part in segment.color:
                _check_number(f"The color of segment {segment.id!r}", part, 0.0, 1.0)

    def _check_design(self):
        if not self.arms or len(set(self.arms)) != len(self.arms) or not set(self.arms) <= set(ARMS):
            raise InputError(f"The arms of a study are {' and '.join(ARMS)} or one of them, not {list(self.arms)}.")
        if self.design not in DESIGNS:
            raise InputError(f"The design of a study is {' or '.join(DESIGNS)}, not {self.design!r}.")
        _check_number("The washout in days", self.washout_days, 0.0, math.inf)
        _check_number("The fraction of hidden repeats", self.repeats, 0.0, 1.0)
        _check_number("The fraction of sham drafts", self.shams, 0.0, 1.0)
        if self.shams and "draft" not in self.arms:
            raise InputError("Sham drafts need the draft arm, which this study does not have. Add it, or take 0.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError(f"The seed is a whole number, not {self.seed!r}.")

    def labels(self) -> tuple[Label, ...]:
        """The segments as labels 1, 2, … of an empty label map."""
        return labels_of(self.segments)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which ``from_dict`` reads."""
        return {**dataclasses.asdict(self), "thresholds": dict(self.thresholds)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StudyDefinition:
        """From ``as_dict`` or a JSON file that somebody wrote. Raises InputError for unknown or missing entries."""
        _check_keys("study", data, cls)
        if not isinstance(data["segments"], (list, tuple)):
            raise InputError(f"The segments of a study are a list, not {data['segments']!r}.")
        return cls(**{**data, "segments": tuple(segment_of(segment) for segment in data["segments"])})


def segment_of(data: Mapping[str, Any]) -> SegmentDefinition:
    """A segment from plain data. Raises InputError for unknown or missing entries."""
    if not isinstance(data, Mapping):
        raise InputError(f"A segment of a study has an id and a name, but this is {data!r}.")
    _check_keys("segment", data, SegmentDefinition)
    color = data.get("color", (0.5, 0.5, 0.5))
    return SegmentDefinition(**{**data, "color": tuple(color) if isinstance(color, (list, tuple)) else (color,)})


def labels_of(segments: tuple[SegmentDefinition, ...]) -> tuple[Label, ...]:
    """Labels 1, 2, … of these segments."""
    return tuple(Label(n, s.id, s.name, tuple(s.color), s.terminology) for n, s in enumerate(segments, start=1))


def _check_keys(what: str, data: Mapping[str, Any], kind: type) -> None:
    fields = dataclasses.fields(kind)
    known = [f.name for f in fields]
    needed = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    if unknown := sorted(set(data) - set(known)):
        raise InputError(f"A {what} has no entry {unknown[0]!r}; it may have {', '.join(known)}.")
    if missing := [name for name in needed if name not in data]:
        raise InputError(f"A {what} needs {', '.join(needed)}, but {missing[0]!r} is missing.")


def _check_number(what: str, value: Any, low: float, high: float) -> None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not usable or not low <= value <= high:
        limits = f"between {low:g} and {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise InputError(f"{what} is a number {limits}, not {value!r}.")
