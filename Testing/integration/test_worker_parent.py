"""A worker whose parent ends, and the places where programs, models and temporary files may lie."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fixtures_worker
from fixtures_models import make_model_folder
from fixtures_worker import EXACT, QUICK, exists, wait_for
from MedSegAILib.inference.prediction import segment_image
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.worker.client import Worker

quick, slow_tiles = fixtures_worker.quick, fixtures_worker.slow_tiles

REPOSITORY = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and shell")

PARENT = """
import os, sys, time
from fixtures_worker import EXACT, MIRRORED, QUICK, SLOW_TILES, wait_until_in_a_tile
from MedSegAILib.worker.client import Worker

what, model, slow = sys.argv[1:]
worker = Worker()
worker.segment(QUICK, model, **EXACT)
if "tile" in what:
    run = worker.begin(SLOW_TILES, slow, **MIRRORED)
    wait_until_in_a_tile(run)
helper = os.fork() if "fork" in what else None
if helper == 0:  # holds the worker's standard input open
    os.close(1)
    time.sleep(1000)
print(worker.pid, helper or "", flush=True)
if "exit" in what:
    sys.exit("as after a mistake")
time.sleep(1000)
"""


def start_parent(what, *models, temporary):
    """A program that uses a worker; also the ids of its worker and, where it forked itself, of its copy."""
    folders = (REPOSITORY / "MedSegAI", REPOSITORY / "MedSegAIMetrics", REPOSITORY / "Testing")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "TMPDIR": str(temporary)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, what, *map(str, models)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return parent, *map(int, parent.stdout.readline().split())


@posix
@pytest.mark.parametrize("what", ["idle", "in a tile", "in a tile, fork"])
def test_the_worker_ends_by_itself_when_its_parent_is_killed(tmp_path, quick, slow_tiles, what):
    parent, worker, *copies = start_parent(what, quick, slow_tiles, temporary=tmp_path)
    assert exists(worker)
    assert len(list(tmp_path.iterdir())) == ("tile" in what)
    with parent:
        parent.kill()
    gone = wait_for(lambda: not exists(worker))
    for copy in copies:
        assert exists(copy)
        os.kill(copy, signal.SIGKILL)
    assert gone
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("what", ["exit", "exit in a tile"])
def test_the_worker_is_gone_when_a_program_ends_that_forgot_to_close_it(tmp_path, quick, slow_tiles, what):
    parent, worker = start_parent(what, quick, slow_tiles, temporary=tmp_path)
    with parent:
        assert parent.wait() == 1
        assert not exists(worker)  # at once
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_nobody_holds_is_gone(quick):
    worker = Worker()
    worker.segment(QUICK, quick, **EXACT)
    pid = worker.pid
    del worker
    assert not exists(pid)


@posix
def test_a_copy_of_the_parent_made_by_fork_leaves_the_worker_and_its_volume_alone(quick):
    with Worker() as worker:
        run = worker.begin(QUICK, quick, **EXACT)
        copy = os.fork()
        if copy == 0:
            worker._held.release()  # what happens at exit
            os._exit(0)
        os.waitpid(copy, 0)
        assert run.result().label_map.array.any()


NOISE = """
import os, threading, time
print("{}")
os.write(1, b"no line end")

def chatter():
    while True:
        os.write(1, b'{"version": 1, "type": "result", "id": 1, "result": {}}' + bytes([10]))
        os.write(2, bytes([255, 13, 10]))
        time.sleep(0.001)

def later():
    import sys
    while "MedSegAILib.worker.exchange" not in sys.modules:  # the worker has taken standard output over
        time.sleep(0.01)
    chatter()

threading.Thread(target=later, daemon=True).start()
"""


def test_what_libraries_print_does_not_disturb(tmp_path, monkeypatch, quick):
    (tmp_path / "sitecustomize.py").write_text(NOISE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with Worker() as worker:
        found = worker.segment(QUICK, quick, **EXACT)
        assert found.label_map.array.any()
        assert worker._held.process.ready  # its first message was not lost in the noise
        assert worker.segment(QUICK, quick, **EXACT).label_map.array.tobytes() == found.label_map.array.tobytes()


def deep(folder: Path) -> Path:
    """A path of more than 1500 characters with spaces and Japanese in it."""
    for n in range(30):
        folder = folder / f"患者さんの 海馬 folder number {n:02d} which is long"
    folder.mkdir(parents=True)
    assert len(str(folder)) > 1200
    return folder


@posix
def test_japanese_and_very_long_paths_with_spaces(tmp_path, monkeypatch):
    model = ModelFolder.open(make_model_folder(deep(tmp_path / "models") / "海馬 モデル"))
    temporary = deep(tmp_path / "temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with Worker() as worker:
        found = worker.segment(QUICK, model, **EXACT)
    assert found.label_map.array.tobytes() == segment_image(QUICK, model, **EXACT).label_map.array.tobytes()
    assert list(temporary.iterdir()) == []


@posix
def test_the_program_itself_may_lie_in_such_a_path_whatever_the_locale(tmp_path, quick):
    home = tmp_path / "田中 さん" / "Slicer 拡張"
    for package in ("MedSegAI/MedSegAICore", "MedSegAI/MedSegAILib", "MedSegAIMetrics/MedSegAIMetricsLib"):
        shutil.copytree(REPOSITORY / package, home / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "MedSegAI/Resources/Models", home / "MedSegAI/Resources/Models")
    code = (
        "import sys; from fixtures_worker import EXACT, QUICK; from MedSegAILib.worker import client\n"
        "with client.Worker() as worker: print(client.__file__.encode('utf-8', 'surrogateescape'), "
        "worker.segment(QUICK, sys.argv[1], **EXACT).label_map.array.sum())"
    )
    environment = {
        **os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (home / "MedSegAI", REPOSITORY / "Testing"))),
    }  # fmt: skip
    run = subprocess.run([sys.executable, "-c", code, quick], env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    place, total = run.stdout.decode().rsplit(" ", 1)
    assert repr("田中".encode())[2:-1] in place
    assert int(total) == segment_image(QUICK, ModelFolder.open(quick), **EXACT).label_map.array.sum()
