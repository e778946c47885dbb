"""The files of a case: written whole or not at all, and whichever moment a run dies in, the next one mends it."""

import json
import os

import numpy as np
import pytest

from MedSegAICore.errors import OutputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAILib.commands import record
from MedSegAILib.commands.record import CaseFiles
from MedSegAILib.inference.prediction import Result

GRID = Grid((3, 4, 5), np.eye(4))


def result(value=1):
    array = np.zeros(GRID.shape, np.uint8)
    array[:value] = 1
    probabilities = Image(np.zeros((1, *GRID.shape), np.float32), GRID, {})
    return Result(LabelMap(array, GRID, (Label(1, "part", "Part"),)), probabilities, None, {"model": {}}, [], 0.1)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def files(tmp_path):
    return CaseFiles(tmp_path, "head", "seg.nrrd")


def test_what_was_written_is_found_again_for_the_same_request_only(files, tmp_path):
    files.write(result(), "request", ["a warning"])
    assert names(tmp_path) == ["head.json", "head.seg.nrrd", "head_probabilities.nrrd"]
    assert files.finished("request") == {"volumes_ml": {"part": 0.02}, "warnings": ["a warning"]}
    assert files.finished("another") is None


@pytest.mark.parametrize("failing", ["write_segmentation", "write_image", "write_json"])
def test_a_disk_that_fills_up_at_any_file_leaves_nothing(files, tmp_path, monkeypatch, failing):
    def full(*_):
        raise OutputError("the disk is full")

    monkeypatch.setattr(record, failing, full)
    with pytest.raises(OutputError, match="disk is full"):
        files.write(result(), "request", [])
    assert names(tmp_path) == []


@pytest.mark.parametrize("failing", ["write_segmentation", "write_image", "write_json"])
def test_a_disk_that_fills_up_keeps_the_result_of_an_earlier_run(files, tmp_path, monkeypatch, failing):
    files.write(result(1), "first", [])
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}

    def full(*_):
        raise OutputError("the disk is full")

    monkeypatch.setattr(record, failing, full)
    with pytest.raises(OutputError):
        files.write(result(2), "second", [])
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_run_that_dies_between_two_files_can_be_repeated(files, tmp_path, monkeypatch, renames):
    """The power goes after so many renames while an earlier result is replaced: it is not taken for a person's work."""
    files.write(result(1), "first", [])
    done, replace = [], os.replace

    def die(source, target):
        if os.path.basename(source).startswith(".staged"):
            if len(done) == renames:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        files.write(result(2), "second", [])
    monkeypatch.undo()
    assert (files.finished("second") or {}).get("warnings", []) == []
    files.check_may_write()
    files.write(result(2), "second", [])
    assert files.finished("second")["volumes_ml"] == {"part": 0.04}
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_a_rename_that_the_system_refuses_is_an_output_error(files, tmp_path, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        if os.path.basename(source).startswith(".staged"):
            raise PermissionError(13, "Permission denied", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        files.write(result(), "request", [])
    assert names(tmp_path) == []


def test_a_record_that_is_damaged_protects_the_output(files):
    files.write(result(), "request", [])
    files.record.write_text("[1, 2")
    with pytest.raises(OutputError, match="no record"):
        files.check_may_write()
    files.record.write_text(json.dumps(["request", "output", "output_sha256", "volumes_ml", "warnings"]))
    assert files.finished("request") is None
