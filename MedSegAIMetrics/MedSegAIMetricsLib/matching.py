"""Which segment of one segmentation is compared with which of another."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from MedSegAICore.errors import InputError
from MedSegAICore.image import Label

GENERIC = re.compile(r"segment[ _]?\d+", re.IGNORECASE)  # what Slicer calls segments that nobody named


@dataclass(frozen=True)
class Match:
    """Two labels that are compared. ``by``: why. A label without a partner is compared with an empty mask."""

    reference: Label | None
    test: Label | None
    by: str

    @property
    def label(self) -> Label:
        """The one that names the pair: the reference's, else the test's."""
        return self.reference or self.test

    def __str__(self) -> str:
        if self.reference is None or self.test is None:
            return f"{self.label.name!r} is only in the {'reference' if self.reference else 'test'}"
        return f"{self.reference.name!r} with {self.test.name!r} ({self.by})"


def match_labels(reference: Sequence[Label], test: Sequence[Label]) -> list[Match]:
    """Every label of both sides exactly once: matched by id, else by terminology, else by name, else alone.

    An id or name such as "Segment_1" says nothing by itself: two of them match only if neither side has a better name,
    and a label without a name of its own (as files without names have them) matches by its value.

    Raises InputError if a name that has to decide occurs twice on one side.
    """
    matches: dict[str, Match] = {}
    for by, key in (("same id", _id), ("same terminology", _terminology), ("same name", _name)):
        left = [label for label in reference if label.id not in matches]
        used = {match.test.id for match in matches.values()}
        right = [label for label in test if label.id not in used]
        matches |= _matched(left, right, by, key)
    used = {match.test.id for match in matches.values()}
    rest = [label for label in test if label.id not in used]
    for label in reference:
        if label.id not in matches:
            partner = next((other for other in rest if _same_value(label, other)), None)
            if partner is not None:
                rest.remove(partner)
            matches[label.id] = Match(label, partner, "same value" if partner else "only in the reference")
    return [matches[label.id] for label in reference] + [Match(None, label, "only in the test") for label in rest]


def _matched(left: Sequence[Label], right: Sequence[Label], by: str, key: Callable) -> dict[str, Match]:
    ours, theirs = _by_key(left, key), _by_key(right, key)
    found = {}
    for value in ours.keys() & theirs.keys():
        if len(ours[value]) > 1 or len(theirs[value]) > 1:
            if by == "same name":
                side = "reference" if len(ours[value]) > 1 else "test"
                raise InputError(
                    f"The name {ours[value][0].name!r} occurs more than once in the {side}, so it does not say which "
                    "segments to compare. Rename them, or give them the ids of their partners."
                )
            continue  # several segments of one kind, such as lesions: their names must tell them apart
        found[ours[value][0].id] = Match(ours[value][0], theirs[value][0], by)
    return found


def _by_key(labels: Sequence[Label], key: Callable) -> dict:
    groups: dict = {}
    for label in labels:
        value = key(label)
        if value:
            groups.setdefault(value, []).append(label)
    return groups


def is_generic(label: Label) -> bool:
    """Whether nothing but its value says what a label is."""
    return bool(GENERIC.fullmatch(label.name.strip()) and GENERIC.fullmatch(label.id))


def _id(label: Label):
    if not GENERIC.fullmatch(label.id):
        return label.id
    return (label.id, label.name.strip().casefold())


def _terminology(label: Label):
    """The codes of category, type and its modifier, region and its modifier; their wording does not matter."""
    parts = label.terminology.split("~")
    if len(parts) != 7:
        return None
    codes = tuple(tuple(part.split("^")[:2]) for index, part in enumerate(parts) if index not in (0, 4))
    category, kind = codes[:2]
    unspecific = category == kind  # "Tissue, Tissue" is what Slicer gives to every new segment
    return codes if any(any(code) for code in codes) and not unspecific else None


def _name(label: Label):
    return None if GENERIC.fullmatch(label.name.strip()) else label.name.strip().casefold()


def _same_value(one: Label, other: Label) -> bool:
    return (is_generic(one) or is_generic(other)) and (one.value, one.layer) == (other.value, other.layer)
