"""Cases on the workers of a real Dask cluster: what one process gives, also if a worker is killed in the middle."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_cluster import (
    LONG,
    REPOSITORY,
    Setup,
    dask_processes,
    die_at_two,
    environment,
    fail_at_two,
    most_at_once,
    square,
    until,
    wait_for_file,
    wait_unless_negative,
)
from fixtures_models import make_model_folder
from MedSegAICore.errors import ClusterError, DeviceError, OutputError
from MedSegAICore.files import read_label_map
from MedSegAILib.commands import cluster, main, segment, segment_cluster
from MedSegAILib.commands.cases import Case, ImageFiles
from MedSegAILib.models.library import ModelLibrary

pytest.importorskip("distributed")

EXACT = ("--quality", "best", "--no-mirroring")  # 16 bits may round differently in another process
CPU = ("--device", "cpu")
SAMPLES = REPOSITORY / "MedSegAI/Resources/SampleData"


@pytest.fixture
def dask(tmp_path_factory):
    with dask_processes(tmp_path_factory.mktemp("dask")) as processes:
        yield processes


@pytest.fixture
def said():
    return []


def run(dask, function, items, folder, said, **values):
    """Values or problems by index."""
    with cluster.connected(argparse.Namespace(workers=None, scheduler=dask.address)) as workers:
        outcomes = workers.run(function, items, Setup(folder=str(folder), **values), say=said.append)
        return {outcome.index: outcome.problem or outcome.value for outcome in outcomes}


def start(*arguments, **options):
    """``medsegai`` as a process of its own session, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "MedSegAILib.commands", *map(str, arguments)], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options,
    )  # fmt: skip


def medsegai(*arguments, **options):
    """Exit status, standard output and error."""
    process = start(*arguments, **options)
    out, error = process.communicate(timeout=LONG)
    nobody_is_left(process)
    return process.returncode, out, error


def nobody_is_left(process):
    """No process of the session lives. Those that have just ended may take a moment to go."""

    def gone():
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True

    until(gone, "the processes of the session to end")


def reports(text):
    """What --json printed, but the time."""
    return [{name: value for name, value in report.items() if name != "seconds"} for report in json.loads(text)]


def lines(text):
    """Printed lines without time, in alphabetical order: cases are printed as they are finished."""
    return sorted(re.sub(r"\(\d+\.\d s\)", "", line) for line in text.splitlines())


def results(folder):
    """Label array and record, but its time and checksum (the file holds the time), of each case."""
    found = {}
    for path in sorted(folder.glob("*.seg.nrrd")):
        name = path.name.removesuffix(".seg.nrrd")
        record = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        del record["provenance"]["time_utc"], record["output_sha256"]
        found[name] = read_label_map(path).array, record
    return found


def assert_equal_results(folder, reference):
    ours, theirs = results(folder), results(reference)
    assert ours.keys() == theirs.keys()
    for name, (array, record) in ours.items():
        np.testing.assert_array_equal(array, theirs[name][0], err_msg=name)
        assert record == theirs[name][1]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in reference.iterdir())


def write_noise(path, shape=(16, 20, 18), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


@pytest.mark.parametrize("where", ["scheduler", "workers"])
def test_segment_and_compare_give_what_one_process_gives(request, tmp_path, where):
    """Sample volumes, one that is broken, one that was finished before; relative paths as a user gives them."""
    (tmp_path / "in").mkdir()
    (tmp_path / "references").mkdir()
    for copy in "ab":
        for sample in ("hippocampus_303", "hippocampus_393"):
            shutil.copy(SAMPLES / f"{sample}.nii.gz", tmp_path / f"in/{sample}{copy}.nii.gz")
            shutil.copy(SAMPLES / f"{sample}_label.nii.gz", tmp_path / f"references/{sample}{copy}.nii.gz")
    command = ("segment", "in", "--model", "hippocampus", "--json", *CPU, *EXACT)
    for output in ("one", "many"):
        assert medsegai("segment", "in/hippocampus_303b.nii.gz", *command[2:], "--output", output, cwd=tmp_path)[0] == 0
    (tmp_path / "in/broken.nii.gz").write_text("not an image")
    if where == "scheduler":
        dask = request.getfixturevalue("dask")
        dask.add_worker()
        dask.add_worker()
        flags = ("--scheduler", dask.address)
    else:
        flags = ("--workers", str(os.cpu_count()))  # one thread each, as in the process to compare with

    status, out, error = medsegai(*command, "--output", "one", cwd=tmp_path)
    assert status == 1
    assert [report["status"] for report in reports(out)] == ["failed", "done", "skipped", *["done"] * 2]
    own_status, own_out, own_error = medsegai(*command, "--output", "many", *flags, cwd=tmp_path)
    assert own_status == status
    as_one = own_out.replace("many/", "one/").replace(f"{tmp_path}/", "")
    assert reports(as_one) == reports(out)
    assert lines(own_error.replace("in many.", "in one.").replace(f"{tmp_path}/", "")) == lines(error)
    assert_equal_results(tmp_path / "many", tmp_path / "one")
    assert all(report["status"] in ("skipped", "failed") for report in
               reports(medsegai(*command, "--output", "many", *flags, cwd=tmp_path)[1]))  # fmt: skip

    (tmp_path / "references/missing.nii.gz").write_bytes((SAMPLES / "hippocampus_303_label.nii.gz").read_bytes())
    printed, pages = [], []
    for more in ((), flags):
        compare = ("compare", "references", "one", "--html", "r.html", "--csv", "r.csv", "--json", "--images", "in")
        printed.append(medsegai(*compare, *more, cwd=tmp_path))
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", (tmp_path / "r.html").read_text(encoding="utf-8")))
        pages.append((tmp_path / "r.csv").read_text(encoding="utf-8"))
    assert printed[0][0] == 1
    assert printed[1] == printed[0]
    assert pages[2:] == pages[:2]
    assert pages[0].count("data:image/png;base64,") == 10


def test_forty_cases_survive_the_death_of_a_worker(shared_data, dask, tmp_path):
    """One of two workers is killed in the middle: all results are there and equal to those of one process."""
    (tmp_path / "in").mkdir()
    for path in sorted(shared_data("hippocampus/images").iterdir())[:40]:
        shutil.copy(path, tmp_path / "in")
    command = ("segment", tmp_path / "in", "--model", "hippocampus", "--json", "--device", "cpu", *EXACT, "--output")
    status, expected, _ = medsegai(*command, tmp_path / "one")
    assert (status, len(reports(expected))) == (0, 40)

    first, _ = dask.add_worker(), dask.add_worker()
    process = start(*command, tmp_path / "many", "--scheduler", dask.address)

    def finished():
        return len(list((tmp_path / "many").glob("*.seg.nrrd")))

    until(lambda: finished() >= 10, "the first results")
    dask.kill(first)
    assert finished() < 40
    out, error = process.communicate(timeout=LONG)
    assert process.returncode == 0, error
    assert_equal_results(tmp_path / "many", tmp_path / "one")
    # A worker can die when its case is written and before it says so: then the next one finds it done.
    mine, theirs = ([{**report, "status": "", "output": ""} for report in reports(text)] for text in (out, expected))
    assert mine == theirs


def test_every_worker_is_used_and_made_ready_once(dask, tmp_path, said):
    dask.add_worker(), dask.add_worker()
    answers = run(dask, square, list(range(20)), tmp_path, said)
    assert [answers[number][1] for number in range(20)] == [number**2 for number in range(20)]
    pids = {pid for pid, _ in answers.values()}
    assert len(pids) == 2
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        f"setup_{pid}": "x" for pid in pids
    }


def test_what_kills_its_workers_fails_alone_after_three_of_them(dask, tmp_path, said):
    for _ in range(4):
        dask.add_worker()
    answers = run(dask, die_at_two, list(range(8)), tmp_path, said)
    assert "ended without an answer, 3 times" in answers.pop(2)
    assert answers == {number: number for number in range(8) if number != 2}
    assert (tmp_path / "deaths").read_text(encoding="utf-8") == "xxx"
    assert sum("has ended; what it worked on is done again" in line for line in said) == 2


def test_what_raises_fails_alone_with_its_sentence(dask, tmp_path, said):
    dask.add_worker()
    answers = run(dask, fail_at_two, list(range(5)), tmp_path, said)
    assert answers[2] == "Two is not allowed."
    assert answers[3].startswith("Unexpected ZeroDivisionError")
    assert (answers[1], answers[4]) == (-1, 1)


def test_a_worker_with_many_threads_has_one_item_at_a_time_also_of_two_runs(dask, tmp_path, said):
    dask.add_worker("--nthreads", "4")
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, dask, most_at_once, list(range(10)), tmp_path, said) for _ in range(2)]
        assert {most for done in runs for most in done.result(LONG).values()} == {1}


def test_a_worker_that_cannot_be_made_ready_is_not_used(dask, tmp_path, said):
    bad, _ = dask.add_worker(WORKER_NAME="bad"), dask.add_worker(WORKER_NAME="good")
    assert len(run(dask, square, list(range(6)), tmp_path, said, refused_by=["bad"])) == 6
    assert said == [f"The worker {bad} is not used: There is no such device here."]
    with pytest.raises(DeviceError, match="no such device"):
        run(dask, square, [1], tmp_path, said, refused_by=["bad", "good"])


def test_a_worker_that_comes_later_helps(dask, tmp_path, said):
    dask.add_worker()
    with cluster.connected(argparse.Namespace(workers=None, scheduler=dask.address)) as workers:
        outcomes = workers.run(wait_for_file, [0, 1], Setup(folder=str(tmp_path)), say=said.append)
        with ThreadPoolExecutor(1) as pool:
            answers = pool.submit(list, outcomes)
            until((tmp_path / "began_0").exists, "the first item to begin")
            dask.add_worker()
            until((tmp_path / "began_1").exists, "the second item to begin on the new worker")
            (tmp_path / "go").touch()
            assert sorted(outcome.value for outcome in answers.result(LONG)) == [0, 1]


def test_whoever_stops_early_cancels_what_runs_and_what_waits(dask, tmp_path, said):
    dask.add_worker()
    with cluster.connected(argparse.Namespace(workers=None, scheduler=dask.address)) as workers:
        setup = Setup(folder=str(tmp_path))
        outcomes = workers.run(wait_unless_negative, [-1, 0, 1], setup, say=said.append)
        assert next(outcomes).value == -1
        outcomes.close()
        if (tmp_path / "began_0").exists():
            until((tmp_path / "cancelled_0").exists, "the running item to notice")
    assert run(dask, square, [3], tmp_path, said)[0][1] == 9  # the cluster goes on, and its worker is free
    assert not (tmp_path / "began_1").exists()


def test_workers_of_another_version_or_without_the_program_are_refused_at_once(dask, tmp_path, said):
    def site(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sitecustomize.py").write_text(code)
        return os.pathsep.join([str(tmp_path / name), environment()["PYTHONPATH"]])

    other = dask.add_worker(PYTHONPATH=site("other", "import MedSegAICore\nMedSegAICore.VERSION = '9.9.9'\n"))
    with pytest.raises(ClusterError, match=f"{other} has MedSegAI 9.9.9, but this computer has"):
        run(dask, square, [1], tmp_path, said)
    dask.kill(other)
    lacks = dask.add_worker(PYTHONPATH=site("lacks", "import sys\nsys.modules['MedSegAILib'] = None\n"))
    with pytest.raises(ClusterError, match=f"{lacks} cannot load MedSegAI: .*Install the same version"):
        run(dask, square, [1], tmp_path, said)


def test_a_worker_that_does_not_see_a_file_says_so(dask, tmp_path, said):
    """A path that is nowhere stands in for one of another machine."""
    worker = dask.add_worker()
    model = make_model_folder(tmp_path / "model")
    options = ["--model", str(model), "--output", str(tmp_path), "--scheduler", dask.address, *CPU]
    arguments = cluster.plain(segment.parse([str(tmp_path), *options]))
    case = Case("x", ImageFiles((tmp_path / "not_there.nii.gz",)))

    def outcomes(staging):
        setup = segment_cluster.Setup(arguments, staging, model, ModelLibrary().find(model).checksum)
        return list(workers.run(segment_cluster.segment_on_worker, [case], setup, say=said.append))

    with cluster.connected(arguments) as workers:
        ((report, *_),) = [outcome.value for outcome in outcomes(tmp_path)]
        assert report.status == "failed"
        assert f"{worker} does not see {case.source.files[0]}" in report.error
        with pytest.raises(OutputError, match="does not see the output folder"):
            outcomes(tmp_path / "not_there")


@pytest.mark.parametrize("where", ["scheduler", "workers"])
def test_ctrl_c_prints_what_was_finished_and_leaves_no_process_of_ours(request, tmp_path, where):
    dask = request.getfixturevalue("dask")
    dask.add_worker()
    model = make_model_folder(tmp_path / "model")
    write_noise(tmp_path / "in/a_quick.nii.gz")
    write_noise(tmp_path / "in/b_slow.nii.gz", (160, 200, 200))
    flags = ("--scheduler", dask.address) if where == "scheduler" else ("--workers", "1")
    output = tmp_path / "out"
    process = start(
        "segment", tmp_path / "in", "--model", model, "--output", output, "--json", "--device", "cpu", *flags
    )
    # The second case has begun when there is a folder again for what is not finished.
    until(lambda: (output / "a_quick.seg.nrrd").exists() and list(output.glob(".staged-*/*")), "the second case")
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    out, error = process.communicate(timeout=LONG)
    assert process.returncode == 130, error
    assert [report["case"] for report in json.loads(out)] == ["a_quick"]
    assert "[1/2] a_quick:" in error
    assert "Stopped" in error
    assert "Traceback" not in error
    nobody_is_left(process)
    assert sorted(path.name for path in output.iterdir()) == ["a_quick.json", "a_quick.seg.nrrd"]
    assert all(living.poll() is None for living in dask.processes)


def test_a_scheduler_that_goes_away_is_one_sentence(dask, tmp_path):
    dask.add_worker()
    model = make_model_folder(tmp_path / "model")
    write_noise(tmp_path / "in/a_quick.nii.gz")
    write_noise(tmp_path / "in/b_slow.nii.gz", (160, 200, 200))
    output = tmp_path / "out"
    process = start(
        "segment", tmp_path / "in", "--model", model, "--output", output, "--device", "cpu", "--scheduler", dask.address
    )
    until(lambda: (output / "a_quick.seg.nrrd").exists(), "the first case")
    with suppress(ProcessLookupError):
        dask.processes[0].kill()
    _, error = process.communicate(timeout=LONG)
    assert process.returncode == 2
    assert "Traceback" not in error
    assert "The connection to the cluster at tcp://" in error.splitlines()[-1]


def test_a_cluster_without_workers_is_one_sentence(dask, tmp_path, said, monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_S", 1)
    with pytest.raises(ClusterError, match="There is no worker on the cluster at .*, 2 of 2 cases are to be done"):
        run(dask, square, [1, 2], tmp_path, said)


def test_an_address_without_a_scheduler_is_one_sentence_and_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 1)
    write_noise(tmp_path / "in/a.nii.gz")
    command = ["segment", str(tmp_path / "in"), "--model", "hippocampus", "--output", str(tmp_path / "out")]
    assert main([*command, "--scheduler", "tcp://127.0.0.1:1"]) == 2
    assert not (tmp_path / "out").exists()
