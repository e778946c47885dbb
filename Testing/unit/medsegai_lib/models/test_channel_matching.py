"""Channels get their volumes by the card's rules; what is not clear is reported."""

import pytest

from fixtures_models import make_model_folder
from MedSegAICore.dicom import find_series
from MedSegAICore.errors import InputError, ModelError
from MedSegAILib.models.channel_matching import AMBIGUOUS, MATCHED, MISSING, Candidate
from MedSegAILib.models.channel_matching import match_channels as match_by_names
from MedSegAILib.models.folder import ModelFolder

BRAIN = [
    {"name": "MR0", "modality": ["MR"], "series_descriptions": [r"\bt1"]},
    {"name": "MR1", "modality": ["MR"], "series_descriptions": [r"t1.*(post|\+c|gd)"]},
    {"name": "MR2", "modality": ["MR"], "series_descriptions": ["^t2"]},
    {"name": "MR3", "modality": ["MR"], "series_descriptions": ["flair"]},
]


def make_model(path, channels=4, rules=BRAIN):
    card = {"input": {"modality": ["MR"], "channels": rules}} if rules is not None else False
    return ModelFolder.open(make_model_folder(path / f"model_{channels}", channels=channels, card=card))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models"))


def match_channels(candidates, model):
    return match_by_names(candidates, model.channel_names, model.card)


def volumes(*descriptions, modality="MR"):
    return [Candidate(number, text, text, modality) for number, text in enumerate(descriptions)]


def statuses(assignment):
    return [match.status for match in assignment.matches]


@pytest.mark.parametrize(
    "study", ["dicom_brain_tumour/timepoint_1", "dicom_brain_tumour/timepoint_2", "dicom_hippocrop_study"]
)
def test_the_sequences_of_a_real_study_are_told_apart(model, shared_data, study):
    found = [Candidate(s, s.description, s.description, s.modality) for s in find_series(shared_data(study))]
    assignment = match_channels(found, model)
    assert assignment.complete
    chosen = [series.description for series in assignment.volumes]
    assert chosen == ["T1pre_reg", "T1post", "T2_reg", "FLAIR_reg"]
    assert assignment.unused[0].name in ("Mask_Tumor", "HippoCrop")


def test_a_volume_that_another_channel_needs_is_not_ambiguous(model):
    assignment = match_channels(volumes("FLAIR", "T1 post", "T2", "T1"), model)
    assert assignment.volumes == [3, 1, 2, 0]
    assert assignment.matches[0].reason == "of those that fit, T1 post must be another channel"
    assert "by its description 'T2'" in assignment.matches[2].reason


def test_two_volumes_for_one_channel_are_ambiguous(model):
    assignment = match_channels(volumes("T1", "T1 post", "T2", "T2 again", "FLAIR"), model)
    assert statuses(assignment) == [MATCHED, MATCHED, AMBIGUOUS, MATCHED]
    assert assignment.matches[2].volume is None
    with pytest.raises(InputError, match=r"MR2: AMBIGUOUS \(2 volumes fit: T2, T2 again\)"):
        _ = assignment.volumes


def test_one_volume_for_two_channels_is_given_to_neither(model):
    assignment = match_channels(volumes("T1 post", "T2", "FLAIR"), model)
    assert statuses(assignment) == [AMBIGUOUS, AMBIGUOUS, MATCHED, MATCHED]


def test_a_missing_one_is_named_with_what_was_looked_for(model):
    assignment = match_channels(volumes("T1", "T1 post", "T2", "DWI"), model)
    assert statuses(assignment) == [MATCHED, MATCHED, MATCHED, MISSING]
    assert "no volume of modality MR is described by 'flair'" in str(assignment)
    assert "not used: DWI" in str(assignment)


def test_another_modality_does_not_fit_and_an_unknown_one_is_not_held_against_it(model):
    assert statuses(match_channels(volumes("FLAIR", modality="CT"), model)) == [MISSING] * 4
    assert statuses(match_channels(volumes("FLAIR", modality=""), model))[3] == MATCHED


def test_without_rules_nothing_is_guessed(tmp_path):
    model = make_model(tmp_path, channels=2, rules=None)
    assignment = match_channels(volumes("MR0", "MR1"), model)
    assert statuses(assignment) == [MISSING, MISSING]
    assert "the model's card has no rule for this channel" in str(assignment)


def test_the_only_volume_is_taken_for_the_only_channel(tmp_path):
    model = make_model(tmp_path, channels=1, rules=None)
    assert match_channels(volumes("anything", modality="CT"), model).volumes == [0]
    with pytest.raises(InputError, match="No volume is chosen"):
        match_channels([], model)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"name": "MR0", "series_descriptions": ["("]}], "expected a regular expression"),
        ([{"name": "MR0"}, {"name": "MR0"}], "expected each name once"),
        ([{"name": "T9"}], "T9"),
        ([{"series_descriptions": ["a"]}], "name"),
    ],
)
def test_a_card_with_impossible_rules_is_refused(tmp_path, rules, message):
    with pytest.raises(ModelError, match=message):
        make_model(tmp_path, channels=2, rules=rules)
