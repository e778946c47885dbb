"""Assignments are balanced, depend on the seed alone, and keep a case apart from itself."""

from collections import Counter
from dataclasses import replace

import pytest

from MedSegAICore.errors import InputError
from MedSegAILib.study.assignment import plan_tasks
from MedSegAILib.study.definition import SegmentDefinition, StudyDefinition

CROSSOVER = StudyDefinition("Title", (SegmentDefinition("liver", "Liver"),), repeats=0.2, shams=0.1, seed=7)
PEOPLE = [f"r{n:02d}" for n in range(1, 6)]
CASES = [f"c{n:03d}" for n in range(20)]


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others():
    assert plan_tasks(CROSSOVER, PEOPLE, CASES) == plan_tasks(CROSSOVER, PEOPLE[::-1], CASES[::-1])
    assert plan_tasks(CROSSOVER, PEOPLE, CASES) != plan_tasks(replace(CROSSOVER, seed=8), PEOPLE, CASES)


def test_a_frozen_assignment_stays_what_it_was_on_every_computer():
    """Computed once with sha256sum: a later release must not assign other tasks to the same seed."""
    task = plan_tasks(replace(CROSSOVER, repeats=0, shams=0, arms=("scratch",)), ["r01"], ["c000"])[0]
    # printf '7|task|r01|c000|scratch|0' | sha256sum | cut -c1-10
    assert (task.code, task.order, task.period) == ("t060f4c257d", 1, 1)


@pytest.mark.parametrize("people", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_every_annotator_meets_every_case_once_in_each_arm_and_once_in_a_period(people, count):
    tasks = plan_tasks(CROSSOVER, PEOPLE[:people], CASES[:count])
    once = Counter((t.annotator, t.case, t.arm) for t in tasks if not t.repeat)
    assert len(once) == people * count * 2
    assert set(once.values()) == {1}
    assert max(Counter((t.annotator, t.case, t.period) for t in tasks).values()) == 1
    assert len({t.code for t in tasks}) == len(tasks)
    for annotator in PEOPLE[:people]:
        own = [t for t in tasks if t.annotator == annotator]
        assert [t.order for t in own] == list(range(1, len(own) + 1))
        assert [t.period for t in own] == sorted(t.period for t in own)


@pytest.mark.parametrize("design", ["crossover", "split"])
def test_arms_are_balanced_over_the_cases_of_an_annotator_and_the_annotators_of_a_case(design):
    tasks = [t for t in plan_tasks(replace(CROSSOVER, design=design), PEOPLE, CASES) if t.period == 1]
    for key in ("annotator", "case"):
        for value in {getattr(t, key) for t in tasks}:
            arms = Counter(t.arm for t in tasks if getattr(t, key) == value)
            assert abs(arms["scratch"] - arms["draft"]) <= 1, (key, value)


@pytest.mark.parametrize("design", ["crossover", "split"])
def test_a_fifth_of_twenty_cases_is_repeated_four_times_in_an_arm_met_before(design):
    tasks = plan_tasks(replace(CROSSOVER, design=design), PEOPLE, CASES)
    for annotator in PEOPLE:
        own = [t for t in tasks if t.annotator == annotator]
        repeats = [t for t in own if t.repeat]
        assert len({t.case for t in repeats}) == len(repeats) == 4
        for repeat in repeats:
            (first,) = [t for t in own if (t.case, t.arm, t.repeat) == (repeat.case, repeat.arm, 0)]
            assert first.period < repeat.period


def test_a_tenth_of_twenty_drafts_is_a_sham_and_nothing_else_is():
    tasks = plan_tasks(CROSSOVER, PEOPLE, CASES)
    shams = [t for t in tasks if t.sham]
    assert Counter(t.annotator for t in shams) == dict.fromkeys(PEOPLE, 2)
    assert {(t.arm, t.repeat) for t in shams} == {("draft", 0)}


def test_orders_differ_between_annotators():
    tasks = plan_tasks(CROSSOVER, PEOPLE, CASES)
    orders = {tuple(t.case for t in tasks if t.annotator == annotator and t.period == 1) for annotator in PEOPLE}
    assert len(orders) == len(PEOPLE)


@pytest.mark.parametrize(("people", "cases"), [([], CASES), (PEOPLE, []), (["r01", "r01"], CASES)])
def test_an_impossible_assignment_is_refused(people, cases):
    with pytest.raises(InputError, match="annotator|case"):
        plan_tasks(CROSSOVER, people, cases)
