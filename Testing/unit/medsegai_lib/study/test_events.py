"""The log tells when a line is torn, damaged, missing or repeated, and when the clock was set."""

import time

import pytest

from MedSegAICore.errors import OutputError
from MedSegAILib.study.events import EventLog, merged, read_log, seconds_of, utc_text


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path, "study", "r01", turn=0, screen="1920 x 1080")
    for number in range(3):
        log.append("activity", task="t0000000000", number=number)
    return log


def lines_of(log):
    return log.path.read_bytes().splitlines(keepends=True)


def test_events_are_read_as_they_were_written(log):
    read = read_log(log.path)
    assert [(event["seq"], event["event"], event.get("number")) for event in read.events] == [
        (0, "run_started", None), (1, "activity", 0), (2, "activity", 1), (3, "activity", 2),
    ]  # fmt: skip
    assert (read.problems, read.torn, read.clock_problems) == ((), False, ())
    assert (read.header["run"], read.header["screen"]) == (log.run, "1920 x 1080")


@pytest.mark.parametrize("cut", [1, 5, 50])
def test_a_torn_last_line_is_told_and_the_others_are_read(log, cut):
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    read = read_log(log.path)
    assert (len(read.events), read.torn, read.problems) == (3, True, ())


def test_a_changed_line_is_told_and_the_others_are_read(log):
    log.path.write_bytes(log.path.read_bytes().replace(b'"number":1', b'"number":7'))
    read = read_log(log.path)
    assert [event.get("number") for event in read.events] == [None, 0, 2]
    assert read.problems[0] == "line 3 is damaged: its checksum does not fit"


@pytest.mark.parametrize("order", [[0, 1, 3], [0, 2, 1, 3], [0, 1, 1, 2, 3], [1, 2, 3]])
def test_lines_that_are_missing_moved_or_repeated_are_told(log, order):
    lines = lines_of(log)
    log.path.write_bytes(b"".join(lines[number] for number in order))
    assert "does not follow" in read_log(log.path).problems[0]


@pytest.mark.parametrize(("shift", "word"), [(-3600, "back by 3600 s"), (600, "forward by 600 s")])
def test_a_clock_that_is_set_during_a_run_is_told(log, monkeypatch, shift, word):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + shift)
    log.append("activity", number=3)
    (problem,) = read_log(log.path).clock_problems
    assert word in problem


def test_runs_are_merged_in_their_turn_whatever_the_clock_said_and_copies_count_once(log, tmp_path, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86400)
    later = EventLog(tmp_path, "study", "r01", turn=1)
    later.append("activity", number=9)
    (tmp_path / "copy.jsonl").write_bytes(log.path.read_bytes())
    events = merged(map(read_log, sorted(tmp_path.glob("*.jsonl"))))
    assert [event.get("number") for event in events] == [None, 0, 1, 2, None, 9]


def test_a_log_whose_folder_is_gone_says_so(log):
    log.path.parent.rename(log.path.parent.with_name("gone"))
    with pytest.raises(OutputError, match="nothing that was saved before is lost"):
        log.append("activity")


def test_a_field_cannot_take_the_place_of_the_logs_own(log):
    with pytest.raises(ValueError, match="prev"):
        log.append("activity", prev="x")


def test_times_are_utc_with_milliseconds():
    assert utc_text(0.25) == "1970-01-01T00:00:00.250Z"
    assert seconds_of("1970-01-02T00:00:00.500Z") == 86400.5
