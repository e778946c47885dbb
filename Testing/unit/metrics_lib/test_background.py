"""A comparison in a child process: the same numbers, progress, cancel, errors, and nothing left behind."""

import subprocess
import time

import numpy as np
import pytest

from fixtures_scene import make_grid
from MedSegAICore.errors import Cancelled, WorkerError
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib import background
from MedSegAIMetricsLib.comparison import Settings
from MedSegAIMetricsLib.label_maps import SegmentComparison, measure_segments
from MedSegAIMetricsLib.matching import match_labels
from MedSegAIMetricsLib.run import ComparisonRun

GRID = make_grid((12, 14, 16), spacing_ijk=(0.8, 1.0, 2.0))
LABELS = (Label(1, "first", "First"), Label(1, "second", "Second\tone", layer=1))
SETTINGS = Settings.of(None, tolerances_mm=[1])


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """The temporary folder of the comparisons; it must be empty in the end."""
    monkeypatch.setattr(background.tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def label_map(shift=0):
    array = np.zeros((2, *GRID.shape), np.uint8)
    array[0, 2:8, 3:9, 3 + shift : 9 + shift] = 1
    array[1, 4:9, 5:11, 4:10] = 1
    return LabelMap(array, GRID, LABELS)


def steps(settings=SETTINGS):
    reference, test = label_map(), label_map(2)
    return background.measure_in_child(reference, test, match_labels(reference.labels, test.labels), settings)


def run_to_end(generator):
    seen = []
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as end:
            return end.value, seen
        time.sleep(0.005)


def test_the_child_gives_what_this_process_gives():
    reference, test = label_map(), label_map(2)
    wanted = measure_segments(reference, test, match_labels(LABELS, LABELS), SETTINGS)
    found, seen = run_to_end(steps())
    assert found == wanted
    assert found["first"].values["dice"] == pytest.approx(2 / 3)  # moved by a third of its edge
    assert {fraction for fraction, _name in seen} <= {0.0, 0.5}


def test_fingerprints_tell_masks_and_places_apart():
    wanted = run_to_end(steps())[0]
    assert len({own.fingerprint for own in wanted.values()}) == 2
    reference, moved = label_map(), label_map(1)
    other = measure_segments(reference, moved, match_labels(LABELS, LABELS), SETTINGS)
    assert other["first"].fingerprint != wanted["first"].fingerprint
    assert other["second"].fingerprint == wanted["second"].fingerprint


@pytest.fixture
def started(monkeypatch):
    """The processes that were started, as a list."""
    processes, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: processes.append(popen(*a, **k)) or processes[-1])
    return processes


def test_the_child_ends_well(started):
    run_to_end(steps())
    assert started[0].returncode == 0


def test_closing_ends_the_child_at_once(started):
    generator = steps()
    while not started:
        next(generator)
    assert started[0].poll() is None
    generator.close()
    assert started[0].returncode is not None


def test_a_child_that_is_killed_is_an_error_in_one_sentence(started):
    generator = steps()
    while not started:
        next(generator)
    started[0].kill()
    with pytest.raises(WorkerError, match=r"ended with status -?\d+.* Compare again\."):
        run_to_end(generator)


def test_the_child_ends_when_its_parent_does(started, folders):
    generator = steps()
    while not started:
        next(generator)
    started[0].stdin.close()  # as the system does when a process ends, however it ends
    started[0].wait(30)
    assert list(folders.glob("*/answer")) == []
    generator.close()


def test_a_child_that_cannot_be_started_is_an_error(monkeypatch):
    monkeypatch.setattr(background, "find_python", lambda: "/nowhere/python")
    with pytest.raises(WorkerError, match="cannot be started: No such file"):
        run_to_end(steps())


def test_an_error_of_the_child_says_its_last_line(monkeypatch):
    monkeypatch.setattr(background, "MODULE", "no_such_module")
    with pytest.raises(WorkerError, match="status 1: .*No module named no_such_module"):
        run_to_end(steps())


def whole():
    measured = yield from steps()
    reference, test = label_map(), label_map(2)
    return SegmentComparison.of(measured, match_labels(LABELS, LABELS), SETTINGS, (reference, test))


def test_a_run_is_advanced_until_it_has_a_result():
    run = ComparisonRun(whole())
    while not run.advance():
        time.sleep(0.005)
    assert (run.fraction, run.advance()) == (1.0, True)
    assert run.result["first"]["dice"] == pytest.approx(2 / 3)
    run.cancel()
    assert run.result is not None


def test_a_canceled_run_stays_canceled():
    run = ComparisonRun(whole())
    run.advance()
    run.cancel()
    run.cancel()
    for _ in range(2):
        with pytest.raises(Cancelled):
            run.advance()


def test_a_run_that_failed_does_not_go_on(monkeypatch):
    monkeypatch.setattr(background, "MODULE", "no_such_module")
    run = ComparisonRun(whole())
    with pytest.raises(WorkerError, match="no_such_module"):
        while not run.advance():
            time.sleep(0.005)
    with pytest.raises(Cancelled):
        run.advance()
