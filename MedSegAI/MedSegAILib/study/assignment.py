"""Who annotates which case, how and when: balanced, decided by a seed alone, and the same on every computer.

Every choice sorts by a SHA-256 of seed, purpose and item, not by a generator whose numbers may change with a library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from MedSegAICore.errors import InputError
from MedSegAILib.study.definition import StudyDefinition


@dataclass(frozen=True)
class Task:
    """One case to annotate once by one annotator.

    ``code`` says nothing about the rest, so it may stand in file names. ``period`` 1, 2, …: an annotator meets a case
    at most once in each. ``order`` 1, 2, …: of the annotator's tasks. ``repeat`` 1: a hidden repetition of another
    task. ``sham``: whether its draft is wrong on purpose.
    """

    code: str
    annotator: str
    case: str
    arm: str
    period: int
    order: int
    repeat: int = 0
    sham: bool = False


def plan_tasks(definition: StudyDefinition, annotators: Sequence[str], cases: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of all annotators, sorted by annotator and order.

    In each period an annotator has the arms equally often, and a case is met in each arm by equally many annotators
    (to within one). Raises InputError without annotators or cases, or if one is named twice.
    """
    for what, codes in (("annotator", annotators), ("case", cases)):
        if not codes:
            raise InputError(f"An assignment needs at least one {what}, but there is none. Add one first.")
        if len(set(codes)) != len(codes):
            raise InputError(f"Every {what} may be named once only, but they are {list(codes)}.")
    shuffle = _Shuffle(definition.seed)
    tasks = []
    for number, annotator in enumerate(shuffle(annotators, "annotators")):
        tasks += _tasks_of(definition, annotator, number, shuffle(cases, "cases"), shuffle)
    return tuple(sorted(tasks, key=lambda task: (task.annotator, task.order)))


class _Shuffle:
    def __init__(self, seed: int):
        self._seed = seed

    def digest(self, *parts: object) -> str:
        return hashlib.sha256("|".join(map(str, (self._seed, *parts))).encode("utf-8")).hexdigest()

    def __call__(self, items: Iterable[str], *purpose: object) -> list[str]:
        return sorted(items, key=lambda item: (self.digest(*purpose, item), item))


def _tasks_of(
    definition: StudyDefinition, annotator: str, number: int, cases: list[str], shuffle: _Shuffle
) -> list[Task]:
    arms = definition.arms
    periods = len(arms) if definition.design == "crossover" else 1
    planned = []  # (period, case, arm, repeat)
    for period in range(periods):
        # Which arm comes first alternates over the cases and over the annotators: a Latin square.
        arm_of = {case: arms[(number + place + period) % len(arms)] for place, case in enumerate(cases)}
        planned += [(period + 1, case, arm_of[case], 0) for case in cases]
    repeated = shuffle(cases, "repeats", annotator)[: _share(definition.repeats, len(cases))]
    first_arm = {case: arm for period, case, arm, _ in reversed(planned) if period == 1}
    for place, case in enumerate(repeated):
        # In a split design only the arm in which the annotator met the case can be repeated.
        arm = arms[(number + place) % len(arms)] if periods == len(arms) else first_arm[case]
        planned.append((periods + 1, case, arm, 1))
    drafts = [f"{case}|{period}" for period, case, arm, repeat in planned if arm == "draft" and not repeat]
    shams = set(shuffle(drafts, "shams", annotator)[: _share(definition.shams, len(drafts))])
    ordered = sorted(planned, key=lambda plan: (plan[0], shuffle.digest("order", annotator, *plan)))
    return [
        Task(
            code="t" + shuffle.digest("task", annotator, case, arm, repeat)[:10],
            annotator=annotator,
            case=case,
            arm=arm,
            period=period,
            order=order,
            repeat=repeat,
            sham=not repeat and f"{case}|{period}" in shams,
        )
        for order, (period, case, arm, repeat) in enumerate(ordered, start=1)
    ]


def _share(fraction: float, count: int) -> int:
    """A part of ``count``, rounded, and at least one if any is asked for."""
    return min(count, max(1, round(fraction * count))) if fraction > 0 and count else 0
