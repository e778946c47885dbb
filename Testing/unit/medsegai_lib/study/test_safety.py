"""Killed at any step, several processes at once, a disk that is full: nothing that was saved is lost."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures_study import drawing, make_study
from MedSegAICore.errors import OutputError
from MedSegAICore.image import Label, LabelMap
from MedSegAILib.study import Desk, check, outbox

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks/study_safety.py"
posix_only = pytest.mark.skipif(os.name == "nt", reason="forks, SIGKILL and file size limits exist on POSIX only")


def run_program(*arguments):
    result = subprocess.run([sys.executable, PROGRAM, *arguments], check=False, capture_output=True, text=True)
    assert result.stdout, result.stderr
    counted = json.loads(result.stdout)
    assert counted["failures"] == []
    return counted


@posix_only
def test_killed_before_any_step_of_autosave_save_and_submit_nothing_is_lost_or_half_written():
    counted = run_program("crash", "--repeats", "1")
    assert counted["steps"] > 80
    assert {"open", "write", "fsync", "os.rename", "os.remove"} <= set(counted["kinds"])


@posix_only
def test_killed_at_any_time_nothing_is_lost_or_half_written():
    assert run_program("random", "--repeats", "15")["kills"] == 15


@posix_only
def test_four_processes_on_one_folder_lose_no_event_and_no_version():
    counted = run_program("together", "--seconds", "4")
    assert counted["processes"] == 4
    assert counted["versions"] >= 4


@posix_only
@pytest.mark.parametrize("room", ["no version", "half a line of the log"])
def test_a_full_disk_is_said_in_a_sentence_and_loses_nothing(tmp_path, room):
    """The file size limit of a process stands for a full disk: the system refuses in the middle of the file."""
    import resource

    study = make_study(tmp_path)
    with Desk(study.folder / "annotators/r01", tmp_path / "outbox") as desk:
        task = desk.next_item().task
        kept = desk.save(task, drawing(desk.grid(task)))
        (log,) = (tmp_path / "outbox").rglob("logs/*.jsonl")
        noise = np.random.default_rng(0).integers(0, 2, (20, *desk.grid(task).shape)).astype(np.uint8)
        large = LabelMap(noise, desk.grid(task), tuple(Label(1, f"s{n}", f"S{n}", layer=n) for n in range(20)))
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 40, hard))
        try:
            with pytest.raises(OutputError, match="larger than|cannot be written"):
                if room == "no version":
                    desk.save(task, large)
                else:
                    desk.record("activity", task=task, kind="active", start=0.0, end=5.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert desk.latest(task)[1]["file"] == kept.file
        again = desk.save(task, large)
        assert desk.latest(task)[1]["file"] == again.file
    assert check(study.folder) == []
    assert [e["event"] for e in study.events("r01")] == ["run_started", "version_saved", "version_saved", "run_ended"]


def test_a_full_share_leaves_the_work_on_the_computer_until_there_is_room(tmp_path, monkeypatch):
    study = make_study(tmp_path)
    with Desk(study.folder / "annotators/r01", tmp_path / "outbox") as desk:
        task = desk.next_item().task

        def full(_source, target, _length):
            target.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(outbox.shutil, "copyfileobj", full)
            saved = desk.save(task, drawing(desk.grid(task)))
        assert (saved.delivery.waiting, "No space left" in saved.delivery.problem) == (3, True)
        assert [finding for finding in check(study.folder) if not finding.harmless] == []
        assert desk.deliver().waiting == 0
    assert study.version_path(saved.file).exists()
    assert check(study.folder) == []


def test_what_was_saved_but_not_yet_in_the_log_when_the_application_died_is_taken_up(tmp_path, monkeypatch):
    study = make_study(tmp_path)
    desk = Desk(study.folder / "annotators/r01", tmp_path / "outbox")
    task = desk.next_item().task

    def die(*_arguments, **_fields):
        raise KeyboardInterrupt

    monkeypatch.setattr(desk._log, "append", die)
    with pytest.raises(KeyboardInterrupt):
        desk.save(task, drawing(desk.grid(task)))
    desk._outbox._lock.close()  # as the system does when a process ends
    with Desk(study.folder / "annotators/r01", tmp_path / "outbox") as desk:
        assert desk.latest(task)[1]["number"] == 1
        (event,) = [event for event in desk.events() if event["event"] == "version_saved"]
        assert event["recovered"] is True
    assert check(study.folder) == []
