"""An annotator's days at the desk: open, save, quit, resume, submit; and the share that goes away meanwhile."""

import os
import shutil
import time

import numpy as np
import pytest

from fixtures_study import drawing, make_study, oblique_grid
from MedSegAICore.errors import GeometryError, InputError, OutputError
from MedSegAICore.image import LabelMap
from MedSegAILib.study import Desk, check


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path)


@pytest.fixture
def sit(study, tmp_path):
    """A function that opens the desk of r01 as a new run of the application does."""
    return lambda: Desk(study.folder / "annotators/r01", tmp_path / "outbox")


def assert_same(label_map, other):
    assert label_map.labels == other.labels
    assert label_map.grid.matches(other.grid)
    for label in label_map.labels:
        np.testing.assert_array_equal(label_map.mask(label), other.mask(label))


def test_overlapping_and_empty_segments_come_back_as_they_were(sit):
    with sit() as desk:
        task = desk.next_item().task
        drawn = drawing(desk.grid(task))
        saved = desk.save(task, drawn, base=None, activity=[[0.0, 4.5, "active"]])
        again, record = desk.version(saved.file)
    assert_same(again, drawn)
    assert record["activity"] == [[0.0, 4.5, "active"]]
    assert record["volumes_ml"]["note"] == 0
    # 3 x 5 x 5 voxels and one more, of 0.7 x 0.9 x 2.5 mm
    assert record["volumes_ml"]["liver"] == pytest.approx(76 * 0.7 * 0.9 * 2.5 / 1000)


def test_a_day_of_work_goes_through_the_states(study, sit):
    with sit() as desk:
        item = desk.next_item()
        assert (item.number, item.count, item.state.state) == (1, 8, "assigned")
        desk.open_task(item.task)
        assert desk.items()[0].state.state == "in progress"
        desk.autosave(item.task, drawing(desk.grid(item.task)))
    with sit() as desk:
        assert desk.next_item().task == item.task
        desk.submit(item.task, drawing(desk.grid(item.task)), certainty=4, comment="clear borders")
        assert desk.next_item().number == 2
    study.decide(item.task, "returned", reviewer="v01", comment="The caudate lobe is missing.")
    with sit() as desk:
        state = desk.next_item().state
        assert (state.state, state.comment) == ("returned", "The caudate lobe is missing.")
        desk.open_task(item.task)
        assert desk.items()[0].state.state == "in progress"
        desk.submit(item.task, drawing(desk.grid(item.task), seed=1))
        assert desk.items()[0].state.state == "submitted"
    study.decide(item.task, "accepted", reviewer="v01")
    assert study.states("r01")[item.task].state == "accepted"
    assert study.status()["annotators"] == {"r01": {"accepted": 1, "assigned": 7}, "r02": {"assigned": 8}}
    assert check(study.folder) == []


def test_a_version_after_submitting_is_kept_and_marked_and_does_not_replace_the_submission(study, sit):
    with sit() as desk:
        task = desk.next_item().task
        submitted = desk.submit(task, drawing(desk.grid(task)))
        later = desk.save(task, drawing(desk.grid(task), seed=1))
        assert (submitted.record["post_submission"], later.record["post_submission"]) == (False, True)
    assert study.states("r01")[task].version == submitted.file
    assert study.states("r01")[task].state == "submitted"


def test_the_newest_work_is_resumed_whichever_run_saved_it_and_whatever_the_clock_says(sit, monkeypatch):
    with sit() as desk:
        task = desk.next_item().task
        desk.save(task, drawing(desk.grid(task), seed=1))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86400)
    with sit() as desk:
        desk.autosave(task, drawing(desk.grid(task), seed=2))
    with sit() as desk:
        assert_same(desk.latest(task)[0], drawing(desk.grid(task), seed=2))


def test_of_the_autosaves_only_the_last_two_are_kept_and_versions_all(study, sit):
    with sit() as desk:
        task = desk.next_item().task
        for seed in range(4):
            desk.autosave(task, drawing(desk.grid(task), seed))
            desk.save(task, drawing(desk.grid(task), seed))
    folder = study.folder / "annotators/r01"
    assert len(list((folder / "autosave").glob("*.seg.nrrd"))) == 2
    assert len(list((folder / "versions").glob("*.seg.nrrd"))) == 4
    assert check(study.folder) == []


def test_nothing_is_left_on_the_computer_when_everything_is_delivered(sit, tmp_path):
    with sit() as desk:
        desk.save(desk.next_item().task, drawing(desk.grid(desk.next_item().task)))
    assert [path for path in (tmp_path / "outbox").rglob("*") if path.is_file()] == []


def test_segments_on_another_grid_are_refused(sit):
    with sit() as desk:
        task = desk.next_item().task
        with pytest.raises(GeometryError, match="grid of its image"):
            desk.save(task, drawing(oblique_grid(shift=50)))
        assert desk.latest(task) is None


def test_a_version_that_was_altered_is_refused(study, sit):
    with sit() as desk:
        task = desk.next_item().task
        saved = desk.save(task, drawing(desk.grid(task)))
        path = study.version_path(saved.file)
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(InputError, match="was altered"):
            desk.latest(task)


def test_a_missing_or_forbidden_empty_segment_cannot_be_submitted_but_saved(sit):
    with sit() as desk:
        task = desk.next_item().task
        with pytest.raises(InputError, match="'Liver' is empty"):
            desk.submit(task, desk.empty(task))
        drawn = drawing(desk.grid(task))
        partial = LabelMap(drawn.array, drawn.grid, drawn.labels[:1])
        with pytest.raises(InputError, match="'Lesion' is missing"):
            desk.submit(task, partial)
        assert desk.latest(task) is None
        assert desk.save(task, partial).record["segments"] == ["liver"]


@pytest.mark.parametrize("certainty", [0, 6, "high", 2.5])
def test_a_certainty_that_is_none_is_refused_before_anything_is_saved(sit, certainty):
    with sit() as desk:
        task = desk.next_item().task
        with pytest.raises(InputError, match="from 1"):
            desk.submit(task, drawing(desk.grid(task)), certainty=certainty)
        assert desk.latest(task) is None


def test_an_image_that_was_altered_is_not_shown(study, sit):
    with sit() as desk:
        task = desk.next_item().task
        assert desk.image(task).grid.matches(desk.grid(task))
        with open(desk.image_path(task), "ab") as file:
            file.write(b"x")
        with pytest.raises(InputError, match="altered"):
            desk.image(task)


def test_the_second_period_begins_when_the_washout_after_the_first_is_over(tmp_path):
    study = make_study(tmp_path, cases=2, washout_days=14)
    with Desk(study.folder / "annotators/r01", tmp_path / "outbox") as desk:
        first, second, third, _ = desk.items()
        assert [first.period, second.period, third.period] == [1, 1, 2]
        for item in (first, second):
            desk.submit(item.task, drawing(desk.grid(item.task)))
        assert desk.next_item() is None
        assert desk.next_item(time.time() + 13.9 * 86400) is None
        assert desk.next_item(time.time() + 14.1 * 86400).task == third.task
        with pytest.raises(InputError, match="break"):
            desk.open_task(third.task)


def test_a_task_of_somebody_else_is_refused(study, sit):
    other = next(task.code for task in study.tasks if task.annotator == "r02")
    with sit() as desk:
        for call in (desk.open_task, desk.image, desk.start, desk.latest):
            with pytest.raises(InputError, match="not in the work list"):
                call(other)


def test_work_goes_on_while_the_share_is_gone_and_is_delivered_when_it_is_back(study, sit, tmp_path):
    with sit() as desk:
        task = desk.next_item().task
        desk.save(task, drawing(desk.grid(task), seed=1))
        (tmp_path / "share").rename(tmp_path / "unplugged")
        saved = desk.save(task, drawing(desk.grid(task), seed=2))
        assert saved.delivery.waiting == 3  # sidecar, segmentation, log
        assert "3 files (it cannot be reached): nothing is lost, they wait in" in saved.delivery.problem
        assert saved.delivery.problem.count(". ") == 0  # one sentence
        assert not (tmp_path / "share").exists()
        (tmp_path / "unplugged").rename(tmp_path / "share")
        assert_same(desk.latest(task)[0], drawing(desk.grid(task), seed=2))
        assert desk.deliver().waiting == 0
    assert len(list((study.folder / "annotators/r01/versions").glob("*.seg.nrrd"))) == 2
    assert check(study.folder) == []


def test_autosaves_do_not_pile_up_on_the_computer_while_the_share_is_gone(study, sit, tmp_path):
    with sit() as desk:
        task = desk.next_item().task
        (tmp_path / "share").rename(tmp_path / "unplugged")
        for seed in range(5):
            desk.autosave(task, drawing(desk.grid(task), seed))
        assert len(list((tmp_path / "outbox").rglob("autosave/*.seg.nrrd"))) == 2
        (tmp_path / "unplugged").rename(tmp_path / "share")
        assert_same(desk.latest(task)[0], drawing(desk.grid(task), seed=4))
    assert check(study.folder) == []


def test_a_share_that_goes_away_changes_neither_the_states_nor_the_next_task(study, sit, tmp_path):
    with sit() as desk:
        desk.submit(desk.next_item().task, drawing(desk.grid(desk.next_item().task)))
    with sit() as desk:
        before = desk.items()
        (tmp_path / "share").rename(tmp_path / "unplugged")
        assert desk.items() == before
        assert desk.next_item().number == 2
        assert desk.save(before[0].task, drawing(desk.grid(before[0].task))).record["post_submission"]
        (tmp_path / "unplugged").rename(tmp_path / "share")
    assert check(study.folder) == []


def test_what_waits_when_the_application_ends_is_delivered_by_the_next_run(study, sit, tmp_path):
    desk = sit()
    task = desk.next_item().task
    (tmp_path / "share").rename(tmp_path / "unplugged")
    desk.submit(task, drawing(desk.grid(task)))
    desk.close()
    with pytest.raises(InputError, match="worklist.json cannot be read"):
        sit()
    (tmp_path / "unplugged").rename(tmp_path / "share")
    with sit() as desk:
        assert desk.items()[0].state.state == "submitted"
    assert check(study.folder) == []


def test_a_delivery_that_was_torn_in_a_line_of_the_log_is_completed(study, sit, tmp_path):
    desk = sit()
    task = desk.next_item().task
    (log,) = (study.folder / "annotators/r01/logs").iterdir()
    desk.open_task(task)
    desk.deliver()
    log.write_bytes(log.read_bytes()[:-20])
    assert any("incomplete" in finding.sentence for finding in check(study.folder))
    desk.close()
    assert check(study.folder) == []
    assert [event["event"] for event in study.events("r01")] == ["run_started", "task_opened", "run_ended"]


def test_a_log_that_somebody_else_changed_is_not_written_over(study, sit):
    desk = sit()
    (log,) = (study.folder / "annotators/r01/logs").iterdir()
    log.write_bytes(b"something else\n")
    desk.record("activity", task=desk.next_item().task, kind="active", start=0.0, end=5.0)
    delivery = desk.close()
    assert "was altered" in delivery.problem
    assert log.read_bytes() == b"something else\n"


def test_what_one_annotator_left_at_a_computer_is_not_delivered_to_the_next_one(study, sit, tmp_path):
    desk = sit()
    task = desk.next_item().task
    (tmp_path / "share").rename(tmp_path / "unplugged")
    desk.save(task, drawing(desk.grid(task)))
    desk.close()
    (tmp_path / "unplugged").rename(tmp_path / "share")
    with Desk(study.folder / "annotators/r02", tmp_path / "outbox"):
        pass
    assert list((study.folder / "annotators/r02/versions").iterdir()) == []
    with sit():
        assert len(list((study.folder / "annotators/r01/versions").iterdir())) == 2
    assert check(study.folder) == []


def test_two_runs_at_once_keep_their_logs_apart(study, sit):
    first, second = sit(), sit()
    task = first.next_item().task
    first.save(task, drawing(first.grid(task), seed=1))
    second.save(task, drawing(second.grid(task), seed=2))
    first.record("activity", task=task, kind="active", start=0.0, end=5.0)
    second.close()
    first.close()
    events = [event["event"] for event in study.events("r01")]
    assert sorted(events) == sorted(["run_started", "version_saved", "run_ended"] * 2 + ["activity"])
    assert [finding for finding in check(study.folder) if not finding.harmless] == []


def test_the_outbox_must_not_lie_in_the_study(study):
    with pytest.raises(OutputError, match="lies in the study folder"):
        Desk(study.folder / "annotators/r01", study.folder / "outbox")


def test_a_draft_is_what_the_annotator_begins_with_without_a_trace_of_its_model(study, sit):
    from dataclasses import replace

    drafted = next(task for task in study.tasks if task.annotator == "r01" and task.arm == "draft")
    scratch = next(task for task in study.tasks if task.annotator == "r01" and task.arm == "scratch")
    with sit() as desk:
        draft = drawing(desk.grid(drafted.code))
        with pytest.raises(InputError, match="not there yet"):
            desk.start(drafted.code)
        tagged = tuple(replace(label, tags=(("MedSegAI.Provenance", "net"),)) for label in draft.labels)
        path = study.give_start(drafted.code, LabelMap(draft.array, draft.grid, tagged), {"model": "net"})
        assert [label.tags for label in desk.start(drafted.code).labels] == [()] * 3
        assert desk.start(scratch.code).volumes_ml() == {"liver": 0, "lesion": 0}
        assert desk.start(scratch.code).labels[0].terminology == draft.labels[0].terminology
    with pytest.raises(OutputError, match="never replaced"):
        study.give_start(drafted.code, draft, {})
    with pytest.raises(InputError, match="begins with nothing"):
        study.give_start(scratch.code, draft, {})
    assert check(study.folder) == []
    os.truncate(path, 10)
    assert [finding.sentence for finding in check(study.folder)] == [
        "The draft was altered since it was handed out. Restore it from a copy."
    ]


def test_the_study_can_be_moved(study, sit, tmp_path):
    with sit() as desk:
        task = desk.next_item().task
        desk.save(task, drawing(desk.grid(task)))
    shutil.move(study.folder, tmp_path / "moved")
    with Desk(tmp_path / "moved/annotators/r01", tmp_path / "outbox") as desk:
        assert desk.image(task).grid.matches(desk.grid(task))
        assert_same(desk.latest(task)[0], drawing(desk.grid(task)))
    assert check(tmp_path / "moved") == []


@pytest.mark.parametrize("name", ["", " a ", "a\nb", "a|b:c", "名前", "a\\nb", "x" * 300])
def test_no_name_of_a_segment_keeps_its_voxels_from_being_saved(sit, name):
    from dataclasses import replace

    with sit() as desk:
        task = desk.next_item().task
        drawn = drawing(desk.grid(task))
        named = LabelMap(drawn.array, drawn.grid, (replace(drawn.labels[0], name=name), *drawn.labels[1:]))
        desk.save(task, named)
        again = desk.latest(task)[0]
        np.testing.assert_array_equal(again.mask(again.label("liver")), drawn.mask(drawn.labels[0]))
