"""`medsegai study` as a coordinator meets it: a folder is made, filled, assigned, looked at and checked."""

import json

import numpy as np
import pytest

from fixtures_study import drawing, oblique_grid
from MedSegAICore.files import write_image, write_segmentation
from MedSegAICore.image import Image
from MedSegAILib.commands import main
from MedSegAILib.study import Desk, Study


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "private").mkdir()
    for number in range(3):
        array = np.full((1, *oblique_grid().shape), number, np.int16)
        write_image(tmp_path / f"Doe_{number}.nii.gz", Image(array, oblique_grid(number)))
    write_segmentation(tmp_path / "example.seg.nrrd", drawing(oblique_grid()))
    return tmp_path


def run(*arguments):
    return main(["study", *map(str, arguments)])


def make(folder):
    study, private = folder / "study", folder / "private"
    assert run("init", study, "--title", "Liver", "--segments", folder / "example.seg.nrrd", "--seed", "7",
               "--washout-days", "0", "--threshold", "idle_s=30") == 0  # fmt: skip
    assert run("add-cases", study, *sorted(folder.glob("Doe_*")), "--private", private) == 0
    assert run("assign", study, "Miller Ann", "Jones Bob", "--private", private) == 0
    return study


def test_from_nothing_to_a_study_that_annotators_can_open(folder, capsys):
    study = make(folder)
    said = capsys.readouterr().out
    assert "the segments Liver, Lesion, Ünsicher" in said
    assert "3 of 3 added; the study has 3 cases." in said
    assert "Assigned 12 tasks to r01, r02; it is frozen now." in said
    definition = Study.open(study).definition
    assert (definition.thresholds, definition.seed) == ({"idle_s": 30.0}, 7)
    assert definition.segments[0].terminology == drawing(oblique_grid()).labels[0].terminology
    with Desk(study / "annotators/r01", folder / "outbox") as desk:
        desk.open_task(desk.next_item().task)
    assert run("status", study) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[:3] == [["annotators", "assigned", "in", "progress"], ["r01", "5", "1"], ["r02", "6", "0"]]
    assert run("status", study, "--json") == 0
    assert json.loads(capsys.readouterr().out)["annotators"]["r01"] == {"assigned": 5, "in progress": 1}
    assert run("check", study) == 0
    assert capsys.readouterr().out == "Everything fits together.\n"


def test_the_check_prints_what_is_wrong_and_ends_with_status_1(folder, capsys):
    study = make(folder)
    (study / "annotators/r01/worklist.json").unlink()
    (study / "images/.part-1").touch()
    capsys.readouterr()
    assert run("check", study) == 1
    said = capsys.readouterr().out
    assert "WRONG  annotators/r01/worklist.json: " in said
    assert "note  images/.part-1: A save was interrupted here." in said
    assert said.endswith("1 findings, 1 harmless notes.\n")
    assert run("check", study, "--json") == 1
    assert [entry["harmless"] for entry in json.loads(capsys.readouterr().out)] == [False, True]


def test_an_image_that_cannot_be_read_does_not_stop_the_others(folder, capsys):
    (folder / "Doe_1.nii.gz").write_bytes(b"broken")
    run("init", folder / "study", "--title", "Liver", "--segments", folder / "example.seg.nrrd")
    assert run("add-cases", folder / "study", *sorted(folder.glob("Doe_*")), "--private", folder / "private") == 1
    assert "2 of 3 added" in capsys.readouterr().out


def test_segments_may_be_written_as_json(folder):
    (folder / "s.json").write_text('[{"id": "liver", "name": "Liver", "allow_empty": true}]')
    assert run("init", folder / "study", "--title", "Liver", "--segments", folder / "s.json", "--arms", "scratch") == 0
    assert Study.open(folder / "study").definition.segments[0].allow_empty is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "scratch,ai"], "not ['scratch', 'ai']"),
        (["--threshold", "idle_s"], "A threshold is NAME=NUMBER"),
        (["--repeats", "2"], "between 0 and 1, not 2.0"),
        (["--segments", "none.json"], "cannot be read as JSON"),
    ],
)
def test_a_wrong_argument_is_one_line_and_leaves_nothing(folder, capsys, arguments, words):
    given = ["--title", "Liver", "--segments", folder / "example.seg.nrrd", *arguments]
    assert run("init", folder / "study", *given) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (folder / "study").exists()


def test_a_second_assignment_is_refused(folder, capsys):
    study = make(folder)
    assert run("assign", study, "Other", "--private", folder / "private") == 2
    assert "frozen" in capsys.readouterr().err


def test_without_a_private_folder_nothing_is_added(folder, capsys):
    run("init", folder / "study", "--title", "Liver", "--segments", folder / "example.seg.nrrd")
    assert run("add-cases", folder / "study", *folder.glob("Doe_*"), "--private", folder / "none") == 2
    assert "There is no folder" in capsys.readouterr().err
    assert list((folder / "study/images").iterdir()) == []
