"""A real worker process: the same results as in this process, and what happens when a run is stopped or fails."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time

import numpy as np
import pytest

import fixtures_worker
from fixtures_worker import (
    EXACT,
    MANY_TILES,
    MIRRORED,
    OBLIQUE,
    QUICK,
    exists,
    needs_proc,
    open_files,
    resident_mib,
    volume,
)  # fmt: skip
from MedSegAICore.errors import Cancelled, InputError, ModelError, ProtocolError, WorkerError
from MedSegAICore.files import read_image
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAICore.resources import resource
from MedSegAILib.inference.prediction import segment_image
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.library import ModelLibrary
from MedSegAILib.worker.client import Worker

quick, many_tiles = fixtures_worker.quick, fixtures_worker.many_tiles

RUNS = 50
GROWTH_MIB = 40  # over RUNS runs; with volume and result staying behind in each it would be 10 times as much


@pytest.fixture(scope="module")
def worker():
    with Worker() as worker:
        yield worker


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """An own folder for temporary files, which must be empty after every test."""
    folder = tmp_path / "temporary files 一時"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def assert_same(found, expected):
    assert found.label_map.array.tobytes() == expected.label_map.array.tobytes()
    assert found.label_map.array.dtype == expected.label_map.array.dtype
    assert found.label_map.labels == expected.label_map.labels
    assert found.label_map.grid.shape == expected.label_map.grid.shape
    np.testing.assert_array_equal(found.label_map.grid.ijk_to_ras, expected.label_map.grid.ijk_to_ras)
    assert found.warnings == expected.warnings
    assert {**found.provenance, "time_utc": 0} == {**expected.provenance, "time_utc": 0}
    assert found.seconds > 0
    for one, other in ((found.probabilities, expected.probabilities), (found.uncertainty, expected.uncertainty)):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.array.tobytes() == other.array.tobytes()
            assert one.meta == other.meta


# ---- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", ["hippocampus_303", "hippocampus_393"])
def test_the_result_is_that_of_this_process_voxel_for_voxel(worker, sample):
    image = read_image(resource("SampleData") / f"{sample}.nii.gz")
    model = ModelLibrary().find("hippocampus")
    options = {**EXACT, "probabilities": True, "uncertainty": True}
    found = worker.segment(image, "hippocampus", **options)
    assert_same(found, segment_image(image, model, **options))
    assert min(found.label_map.volumes_ml().values()) > 0.5


def test_options_facts_and_warnings_get_through(worker, quick):
    image = volume((20, 30, 26), seed=3, modality="CT", source="海馬.nii.gz")
    options = {**MIRRORED, "folds": ["0"]}
    found = worker.segment(image, quick, **options)
    assert_same(found, segment_image(image, ModelFolder.open(quick), **options))
    assert any("modality is CT" in warning for warning in found.warnings)
    assert found.provenance["run"]["mirror_axes"] == [0, 1, 2]
    assert worker.segment(image, quick, device="cpu", quality="fast").provenance["run"]["quality"] == "fast"
    with pytest.raises(ProtocolError, match="The modality is CT"):
        worker.segment(image, quick, **EXACT, strict=True)


@pytest.mark.parametrize("dtype", ["i2", ">f4", "f8"])
def test_any_type_of_voxels_and_any_memory_order(worker, quick, dtype):
    array = np.random.default_rng(0).normal(0, 90, (26, 30, 20, 1)).astype(dtype).transpose(3, 2, 1, 0)[:, ::-1]
    image = Image(array, Grid(array.shape[1:], OBLIQUE))
    assert_same(worker.segment(image, quick, **EXACT), segment_image(image, ModelFolder.open(quick), **EXACT))


def test_the_second_run_finds_the_model_loaded_and_its_progress_grows_to_one(worker, quick):
    worker.segment(QUICK, quick, **EXACT)
    pid, run, news = worker.pid, worker.begin(QUICK, quick, **EXACT), []
    while not run.done:
        news += run.poll()
    assert worker.pid == pid
    assert [one.stage for one in news] == ["load", "prepare"] + ["network"] * (len(news) - 2)
    assert [one.fraction for one in news] == sorted(one.fraction for one in news)
    tiles = len(news) - 2
    assert news[2].message == f"tile 1 of {tiles}"
    assert news[-1].fraction == 1.0
    assert run.result() is run.result()


def test_progress_of_a_waiting_call_comes_on_its_own_thread(worker, quick):
    seen = []
    worker.segment(QUICK, quick, **EXACT, progress=lambda f, m: seen.append((f, m, threading.get_ident())))
    assert seen[-1][0] == 1.0
    assert {thread for *_, thread in seen} == {threading.get_ident()}


# ---- failed cases --------------------------------------------------------------------------------------------------


def test_a_failed_case_has_the_same_error_as_here_and_the_worker_lives_on(worker, quick):
    expected = worker.segment(QUICK, quick, **EXACT)
    pid = worker.pid
    bad = Image(np.full((1, 20, 30, 26), np.nan, np.float32), Grid((20, 30, 26), OBLIQUE))
    with pytest.raises(InputError, match="15600 voxels that are NaN"):
        worker.segment(bad, quick, **EXACT)
    with pytest.raises(InputError, match=r"needs 1 channel\(s\).* but the volume has 2"):
        worker.segment(Image(np.zeros((2, 20, 30, 26)), bad.grid), quick, **EXACT)
    with pytest.raises(ModelError, match="There is no model 'no such model'"):
        worker.segment(QUICK, "no such model", **EXACT)
    assert worker.pid == pid
    assert_same(worker.segment(QUICK, quick, **EXACT), expected)


def test_a_model_that_is_damaged_is_told_by_the_worker(worker, tmp_path, quick):
    from fixtures_models import make_model_folder

    model = ModelFolder.open(make_model_folder(tmp_path / "damaged"))
    with open(model.checkpoint_path("0"), "r+b") as file:
        file.write(b"not a checkpoint")
    with pytest.raises(ModelError, match="was changed or damaged"):
        worker.segment(QUICK, model, **EXACT)
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


def test_a_mistake_of_the_program_is_one_sentence_and_its_traceback_goes_to_the_log(worker, quick, caplog):
    with pytest.raises(WorkerError, match=r"Unexpected TypeError: .*'nonsense'.*\. Please report this") as caught:
        worker.segment(QUICK, quick, **EXACT, nonsense=1)
    assert "\n" not in str(caught.value)
    assert "Traceback (most recent call last)" in caplog.text
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


def test_options_that_cannot_be_sent_leave_the_worker_free(worker, quick):
    with pytest.raises(TypeError, match="not JSON serializable"):
        worker.segment(QUICK, quick, device=object())
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


def test_a_temporary_folder_without_room_is_a_sentence(worker, quick):
    limit = pytest.importorskip("resource", reason="needs a limit for the size of files")
    limits = limit.getrlimit(limit.RLIMIT_FSIZE)
    limit.setrlimit(limit.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(WorkerError, match=r"cannot be handed to the worker process: File too large .* set TMPDIR"):
            worker.segment(QUICK, quick, **EXACT)
    finally:
        limit.setrlimit(limit.RLIMIT_FSIZE, limits)
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


def test_a_second_request_while_one_runs_is_refused(worker, quick, many_tiles):
    run = worker.begin(MANY_TILES, many_tiles, **EXACT)
    with pytest.raises(WorkerError, match="The worker is busy with another volume"):
        worker.begin(QUICK, quick, **EXACT)
    assert not run.done
    run.abandon()
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


# ---- stopped in the middle -----------------------------------------------------------------------------------------


def test_cancelling_between_tiles_keeps_the_worker_warm(worker, quick, many_tiles):
    expected, tiles = worker.segment(QUICK, quick, **EXACT), []
    pid = worker.pid
    with pytest.raises(Cancelled, match="nothing was written"):
        worker.segment(
            MANY_TILES, many_tiles, **EXACT, progress=lambda _, text: tiles.append(text),
            cancelled=lambda: len(tiles) > 5,
        )  # fmt: skip
    done, count = map(int, tiles[-1].removeprefix("tile ").split(" of "))
    assert done < count
    assert worker.pid == pid
    assert_same(worker.segment(QUICK, quick, **EXACT), expected)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_cancelling_in_a_tile_kills_the_process_and_the_next_run_starts_another(worker, quick, many_tiles):
    expected = worker.segment(QUICK, quick, **EXACT)
    run = worker.begin(MANY_TILES, many_tiles, **EXACT)
    while "network" not in [news.stage for news in run.poll(1)]:
        pass
    pid = worker.pid
    os.kill(pid, signal.SIGSTOP)  # as deaf as in a tile that does not end, on a machine of any speed
    run.cancel()
    assert exists(pid)  # it was asked first
    with pytest.raises(Cancelled):
        run.result()
    assert not exists(pid)
    assert worker.pid is None
    assert_same(worker.segment(QUICK, quick, **EXACT), expected)


def test_cancelling_at_once_while_the_process_starts(quick):
    worker = Worker()
    run = worker.begin(QUICK, quick, **EXACT)
    run.cancel()
    with pytest.raises(Cancelled):
        run.result()
    with worker:
        assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


def test_a_result_that_comes_after_cancelling_is_not_given(worker, quick):
    run = worker.begin(QUICK, quick, **EXACT)
    while 1.0 not in [news.fraction for news in run.poll(1)]:
        pass
    run.cancel()
    with pytest.raises(Cancelled):
        run.result()


def test_an_exception_of_the_caller_stops_the_run(worker, quick, many_tiles):
    def stop(fraction, message):
        if message.startswith("tile"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.segment(MANY_TILES, many_tiles, **EXACT, progress=stop)
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_killed_in_the_middle_is_one_error_and_the_next_run_works(worker, quick, many_tiles):
    expected = worker.segment(QUICK, quick, **EXACT)
    run = worker.begin(MANY_TILES, many_tiles, **EXACT)
    while "network" not in [news.stage for news in run.poll(1)]:
        pass
    pid = worker.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="ended before its result was there, with signal SIGKILL") as caught:
        run.result()
    assert "\n" not in str(caught.value)
    assert run.poll() == []
    assert not exists(pid)
    assert_same(worker.segment(QUICK, quick, **EXACT), expected)
    os.kill(worker.pid, signal.SIGKILL)  # between two runs nobody needs to know
    while worker.pid is not None:
        pass
    assert_same(worker.segment(QUICK, quick, **EXACT), expected)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_crash_is_named(worker, many_tiles, caplog):
    run = worker.begin(MANY_TILES, many_tiles, **EXACT)
    while "network" not in [news.stage for news in run.poll(1)]:
        pass
    os.kill(worker.pid, signal.SIGSEGV)
    while worker.pid is not None:
        pass
    worker.start()  # too early: the run has not been told of it yet
    with pytest.raises(WorkerError, match=r"with signal SIGSEGV: Fatal Python error: Segmentation fault\. Nothing was"):
        run.result()
    assert "most recent call first" in caplog.text  # where it crashed


def test_closing_ends_the_process_and_the_worker_can_be_used_again(worker, quick):
    for _ in range(2):
        assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()
        pid = worker.pid
        worker.close()
        assert not exists(pid)
        assert worker.pid is None
    worker.start()
    assert worker.pid is not None


# ---- many runs -----------------------------------------------------------------------------------------------------


@needs_proc
def test_many_runs_in_a_row_leave_no_memory_files_or_threads_behind(worker, quick, temporary):
    array = np.zeros((1, 80, 80, 80), np.float32)  # large in memory, but only what is not zero is segmented
    array[:, 30:50, 30:60, 30:56] = QUICK.array
    image = Image(array, Grid(array.shape[1:], np.eye(4)))

    def state():
        pids = (os.getpid(), worker.pid)
        return [open_files(pid) for pid in pids], threading.active_count(), [resident_mib(pid) for pid in pids]

    for _ in range(5):
        worker.segment(image, quick, **EXACT, probabilities=True)
    files, threads, memory = state()
    for _ in range(RUNS):
        worker.segment(image, quick, **EXACT, probabilities=True)
        assert list(temporary.iterdir()) == []
    end = time.monotonic() + 10
    while state()[0] != files and time.monotonic() < end:  # the worker closes its last files after its answer
        time.sleep(0.05)
    files_then, threads_then, memory_then = state()
    assert files_then == files
    assert threads_then == threads
    assert max(np.subtract(memory_then, memory)) < GROWTH_MIB


@needs_proc
def test_workers_that_were_killed_leave_no_files_or_threads_behind(quick):
    files, threads = open_files(os.getpid()), threading.active_count()
    for _ in range(3):
        worker = Worker()
        run = worker.begin(QUICK, quick, **EXACT)
        run.abandon()
        worker.close()
    assert open_files(os.getpid()) == files
    assert threading.active_count() == threads
