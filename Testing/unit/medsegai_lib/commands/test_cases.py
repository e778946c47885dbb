"""Which cases the inputs of `medsegai segment` make: names, channels of a case, and what is no input."""

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAICore.errors import InputError
from MedSegAILib.commands.cases import find_cases


def volume(folder, name, value=0):
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(np.full((4, 5, 6), value, np.float32)), str(folder / name))
    return folder / name


def cases_of(inputs, channels=1):
    """Cases by name, and what was said."""
    said = []
    return {
        case.name: case for case in find_cases(inputs, [f"MR{n}" for n in range(channels)], None, said.append)
    }, said


def first_values(case):
    return case.read().array[:, 0, 0, 0].tolist()


def test_channels_are_in_the_order_of_their_numbers(tmp_path):
    for number in (1, 0, 2):
        volume(tmp_path, f"head_{number:04d}.nii.gz", number)
    cases, _ = cases_of([tmp_path], channels=3)
    assert list(cases) == ["head"]
    assert first_values(cases["head"]) == [0, 1, 2]


def test_channel_files_named_one_by_one_make_one_case(tmp_path):
    files = [volume(tmp_path, f"{case}_000{channel}.nii.gz", channel) for case in "ab" for channel in (0, 1)]
    cases, _ = cases_of(reversed(files), channels=2)
    assert sorted(cases) == ["a", "b"]
    assert first_values(cases["a"]) == [0, 1]


def test_channels_of_equal_name_from_two_folders_are_two_cases(tmp_path):
    files = [volume(tmp_path / folder, f"a_000{channel}.nrrd", channel) for folder in "xy" for channel in (0, 1)]
    cases, said = cases_of(files, channels=2)
    assert list(cases) == ["a", "a_2"]
    assert "more than one case 'a'" in said[0]
    assert first_values(cases["a_2"]) == [0, 1]


@pytest.mark.parametrize("present", [(0, 2), (1,), (0, 1, 2)])
def test_a_case_with_other_channels_than_the_model_needs_fails(tmp_path, present):
    for number in present:
        volume(tmp_path, f"head_{number:04d}.nii.gz", number)
    cases, _ = cases_of([tmp_path], channels=2)
    with pytest.raises(InputError, match="needs the channel files head_0000 to head_0001"):
        cases["head"].read()


def test_files_of_equal_stem_are_never_taken_for_channels(tmp_path):
    for value, name in enumerate(["head.nii.gz", "head.nrrd"]):
        volume(tmp_path, name, value)
    for channels in (1, 2):
        cases, said = cases_of([tmp_path], channels)
        assert list(cases) == ["head", "head_2"]
        assert "more than one case 'head'" in said[0]
        if channels == 1:
            assert [first_values(case) for case in cases.values()] == [[0], [1]]
            continue
        for case in cases.values():
            with pytest.raises(InputError, match=r"needs 2 channel\(s\) \(MR0, MR1\), but 1 volume\(s\) with 1"):
                case.read()


def test_one_channel_models_take_the_number_0000_off_and_keep_others(tmp_path):
    for number in (0, 7):
        volume(tmp_path, f"head_{number:04d}.nii.gz")
    assert list(cases_of([tmp_path])[0]) == ["head", "head_0007"]


def test_results_of_earlier_runs_are_no_input(tmp_path):
    for name in ("head.nii.gz", "head.seg.nrrd", "head_probabilities.nrrd"):
        volume(tmp_path, name)
    cases, said = cases_of([tmp_path])
    assert list(cases) == ["head"]
    assert said == [f"{tmp_path}: head.seg.nrrd, head_probabilities.nrrd left out, they are results and not volumes."]


def test_sub_folders_beside_images_are_mentioned(tmp_path):
    volume(tmp_path, "head.nii.gz")
    volume(tmp_path / "more", "other.nii.gz")
    cases, said = cases_of([tmp_path])
    assert list(cases) == ["head"]
    assert said == [f"{tmp_path}: only its image files are taken; sub-folders must be given by themselves."]


def test_an_input_that_cannot_be_listed_fails_alone(tmp_path, monkeypatch):
    good, bad = volume(tmp_path / "good", "head.nii.gz").parent, tmp_path / "bad"
    bad.mkdir()
    listing = type(bad).iterdir

    def refuse(path):
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(type(bad), "iterdir", refuse)
    cases, _ = cases_of([bad, good])
    assert list(cases) == ["bad", "head"]
    with pytest.raises(InputError, match="bad cannot be read: Permission denied"):
        cases["bad"].read()
