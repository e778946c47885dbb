"""A definition that cannot work is refused with a sentence that names the value."""

import pytest

from MedSegAICore.errors import InputError
from MedSegAILib.study import SegmentDefinition, StudyDefinition

GOOD = {"title": "Liver", "segments": [{"id": "liver", "name": "Liver", "color": [1, 0, 0]}]}


def test_a_definition_survives_being_stored():
    definition = StudyDefinition.from_dict({**GOOD, "arms": ["draft"], "thresholds": {"idle_s": 30}})
    assert definition.segments == (SegmentDefinition("liver", "Liver", (1, 0, 0)),)
    assert StudyDefinition.from_dict(definition.as_dict()) == definition


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": " "}, "needs a title"),
        ({"segments": []}, "at least one segment"),
        ({"segments": GOOD["segments"] * 2}, "an id of its own"),
        ({"segments": [{"id": "two words", "name": "x"}]}, "'two words'"),
        ({"segments": [{"name": "x"}]}, "'id' is missing"),
        ({"segments": [{"id": "x", "name": "x", "color": [1, 2, 3]}]}, "between 0 and 1, not 2"),
        ({"segments": [{"id": "x", "name": "x", "tolerance_mm": "one"}]}, "'one'"),
        ({"segments": "liver"}, "a list, not 'liver'"),
        ({"arms": ["scratch", "scratch"]}, "scratch and draft"),
        ({"arms": []}, "scratch and draft"),
        ({"design": "parallel"}, "crossover or split, not 'parallel'"),
        ({"repeats": 1.5}, "between 0 and 1, not 1.5"),
        ({"washout_days": -1}, "of at least 0, not -1"),
        ({"arms": ["scratch"], "shams": 0.1}, "need the draft arm"),
        ({"seed": 1.5}, "whole number, not 1.5"),
        ({"thresholds": {"idle_s": float("nan")}}, "'idle_s' is a number"),
        ({"colour": 1}, "no entry 'colour'"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(change, words):
    with pytest.raises(InputError, match=words):
        StudyDefinition.from_dict({**GOOD, **change})
