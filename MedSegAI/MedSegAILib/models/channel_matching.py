"""Which volume is which channel of a model, by the rules of its card; reported where it is not clear, never guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from MedSegAICore.errors import InputError
from MedSegAILib.models.card import ExpectedChannel, ModelCard

MATCHED, AMBIGUOUS, MISSING = "matched", "ambiguous", "missing"


@dataclass(frozen=True)
class Candidate:
    """A volume that may be a channel.

    ``volume``: a node or a series; it is handed on and not looked at. ``name``: for messages.
    ``description``: of the DICOM series, else the name. ``modality``: DICOM code, or empty if it is not known.
    """

    volume: Any
    name: str
    description: str
    modality: str = ""


@dataclass(frozen=True)
class ChannelMatch:
    """One channel of the model: the volume that was found for it, or None, and why.

    ``status``: matched, ambiguous (several volumes fit, or one fits several channels) or missing (none fits).
    """

    channel: str
    status: str
    reason: str
    candidate: Candidate | None = None

    @property
    def volume(self) -> Any:
        return self.candidate.volume if self.candidate else None


@dataclass(frozen=True)
class Assignment:
    """All channels in the model's order, and the volumes that are none of them."""

    matches: tuple[ChannelMatch, ...]
    unused: tuple[Candidate, ...]

    @property
    def complete(self) -> bool:
        return all(match.status == MATCHED for match in self.matches)

    @property
    def volumes(self) -> list[Any]:
        """The volumes in the order of the channels. Raises InputError that says which are not clear."""
        if not self.complete:
            raise InputError(f"Not every channel has its volume:\n{self}")
        return [match.volume for match in self.matches]

    def __str__(self) -> str:
        """One line a channel, and one of what was left over."""
        lines = [
            f"  {m.channel}: {m.candidate.name if m.candidate else m.status.upper()} ({m.reason})" for m in self.matches
        ]
        if self.unused:
            lines.append(f"  not used: {', '.join(candidate.name for candidate in self.unused)}")
        return "\n".join(lines)


def match_channels(candidates: Sequence[Candidate], names: Sequence[str], card: ModelCard | None) -> Assignment:
    """Give every channel of a model its volume. ``names``: of the channels, in the model's order.

    A volume fits a channel by modality and by its description, which one of the card's patterns finds. If several fit,
    those leave that are the only ones for other channels. What is still not clear is ambiguous. A model of one channel
    takes the only volume in any case; without rules for its channels in the card, no volume fits.

    Raises InputError if there are no candidates.
    """
    if not candidates:
        raise InputError("No volume is chosen. Load or choose a volume first.")
    expected = card.input.channels if card else ()
    rules = [next((rule for rule in expected if rule.name == name), None) for name in names]
    if len(names) == len(candidates) == 1:
        match = ChannelMatch(names[0], MATCHED, "it is the only volume", candidates[0])
        return Assignment((match,), ())
    fitting = [
        [n for n, candidate in enumerate(candidates) if rule is not None and _fits(candidate, rule)] for rule in rules
    ]
    remaining = _without_taken(fitting)
    matches = tuple(
        _match(name, rule, candidates, fits, left, remaining)
        for name, rule, fits, left in zip(names, rules, fitting, remaining, strict=True)
    )
    used = [match.candidate for match in matches]
    return Assignment(matches, tuple(candidate for candidate in candidates if candidate not in used))


def _fits(candidate: Candidate, rule: ExpectedChannel) -> bool:
    if rule.modality and candidate.modality and candidate.modality not in rule.modality:
        return False
    return any(re.search(pattern, candidate.description, re.IGNORECASE) for pattern in rule.series_descriptions)


def _without_taken(fitting: Sequence[Sequence[int]]) -> list[list[int]]:
    """Take volumes that are the only ones for a channel away from the others, until nothing changes."""
    remaining = [list(fits) for fits in fitting]
    while True:
        sole = [left[0] for left in remaining if len(left) == 1]
        taken = {n for n in sole if sole.count(n) == 1}
        reduced = [[n for n in left if n not in taken or left == [n]] for left in remaining]
        if reduced == remaining:
            return remaining
        remaining = reduced


def _match(
    name: str,
    rule: ExpectedChannel | None,
    candidates: Sequence[Candidate],
    fits: Sequence[int],
    left: Sequence[int],
    remaining: Sequence[Sequence[int]],
) -> ChannelMatch:
    if rule is None:
        return ChannelMatch(name, MISSING, "the model's card has no rule for this channel; choose its volume by hand")
    if not left:
        patterns = " or ".join(repr(pattern) for pattern in rule.series_descriptions) or "nothing"
        modality = f" of modality {' or '.join(rule.modality)}" if rule.modality else ""
        taken = ", that is not another channel" if fits else ""
        return ChannelMatch(name, MISSING, f"no volume{modality} is described by {patterns}{taken}")
    if len(left) > 1:
        several = ", ".join(candidates[n].name for n in left)
        return ChannelMatch(name, AMBIGUOUS, f"{len(left)} volumes fit: {several}")
    candidate = candidates[left[0]]
    if sum(list(other) == list(left) for other in remaining) > 1:
        return ChannelMatch(name, AMBIGUOUS, f"{candidate.name} fits, but another channel has no other volume either")
    reason = f"only it fits, by its description {candidate.description!r}"
    if len(fits) > 1:
        others = ", ".join(candidates[n].name for n in fits if n != left[0])
        reason = f"of those that fit, {others} must be another channel"
    return ChannelMatch(name, MATCHED, reason, candidate)
