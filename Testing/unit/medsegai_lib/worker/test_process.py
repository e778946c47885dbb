"""Which interpreter is started, and what is said when it cannot be."""

import os
import signal
import stat
import subprocess
import sys

import pytest

import fixtures_worker
from fixtures_worker import EXACT, QUICK, exists, wait_for
from MedSegAICore.errors import DependencyError, WorkerError
from MedSegAICore.python_process import find_python
from MedSegAILib.worker.client import Worker
from MedSegAILib.worker.process import environment

quick = fixtures_worker.quick
posix = pytest.mark.skipif(os.name == "nt", reason="shell scripts")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


def failure(executable, model) -> str:
    worker = Worker(executable)
    with pytest.raises(WorkerError) as caught:
        worker.segment(QUICK, model, **EXACT)
    assert worker.pid is None
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_elsewhere_it_is_the_interpreter_that_runs():
    assert find_python() == sys.executable


def test_it_finds_all_our_packages_wherever_it_is_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import MedSegAICore, MedSegAILib, MedSegAIMetricsLib"
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


@posix
def test_in_slicer_it_is_python_slicer_on_the_path_or_beside_the_application(tmp_path, monkeypatch):
    (tmp_path / "slicer 海").mkdir()
    python = script(tmp_path / "slicer 海" / "PythonSlicer", 'exec python "$@"')
    monkeypatch.setattr(sys, "executable", str(tmp_path / "slicer 海" / "SlicerApp-real"))
    assert find_python() == str(python)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "SlicerApp-real"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkerError, match=r"no PythonSlicer on the PATH or beside .*SlicerApp-real"):
        find_python()
    monkeypatch.setenv("PATH", str(python.parent))
    assert find_python() == str(python)
    monkeypatch.setattr(sys, "executable", "")
    assert find_python() == str(python)


@posix
def test_a_launcher_is_ended_with_the_interpreter_that_it_started(tmp_path, quick):
    """PythonSlicer starts the real interpreter as its child."""
    children = tmp_path / "children"
    start = f'exec 3<&0; {sys.executable} "$@" <&3 & echo $! > "{children}"; wait $!'
    worker = Worker(script(tmp_path / "PythonSlicer", start))
    assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()
    launcher, child = worker.pid, int(children.read_text())
    assert child != launcher
    os.kill(child, signal.SIGSTOP)  # as if it was too busy to stop by itself
    worker.close()
    assert not exists(launcher)
    assert not exists(child)


def test_a_program_that_is_not_there_is_named(tmp_path, quick):
    text = failure(tmp_path / "no such python", quick)
    assert "cannot be started with" in text
    assert "no such python" in text
    assert "No such file" in text or "cannot find" in text


@posix
def test_a_file_that_is_no_program_is_named(tmp_path, quick):
    (tmp_path / "python").write_text("text")
    assert "ermission denied" in failure(tmp_path / "python", quick)
    (tmp_path / "python").chmod(0o755)
    assert "Exec format error" in failure(tmp_path / "python", quick)


@posix
def test_a_program_that_ends_at_once_is_named_with_its_status(quick):
    text = failure("/bin/false", quick)
    assert "could not start with /bin/false; it ended with status 1" in text


@posix
def test_the_real_reason_of_an_interpreter_that_lacks_our_packages_is_told(tmp_path, quick):
    broken = script(tmp_path / "python", f'shift; exec {sys.executable} -I -S -m "not_$1"')
    assert "No module named 'not_MedSegAILib'" in failure(broken, quick)


@posix
def test_a_program_that_says_nothing_is_given_up(tmp_path, quick, monkeypatch):
    monkeypatch.setattr("MedSegAILib.worker.client.SECONDS_TO_START", 0.3)
    assert "said nothing for 0.3 seconds" in failure(script(tmp_path / "python", "sleep 100"), quick)


def test_missing_torch_is_said_as_everywhere_and_may_be_installed_meanwhile(tmp_path, quick, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    worker = Worker()
    with pytest.raises(DependencyError, match="PyTorch is not installed. In Slicer install the PyTorch extension"):
        worker.segment(QUICK, quick, **EXACT)
    assert worker.pid is None
    (tmp_path / "torch.py").unlink()
    with worker:
        assert worker.segment(QUICK, quick, **EXACT).label_map.array.any()


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="Windows says it when the process is started")
def test_it_yields_to_the_window(quick):
    with Worker() as worker:
        worker.segment(QUICK, quick, **EXACT)
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) > os.getpriority(os.PRIO_PROCESS, 0)


def test_it_tells_what_the_automatic_device_is(quick):
    with Worker() as worker:
        assert worker.device is None
        worker.start()
        assert wait_for(lambda: worker.device is not None)
        assert worker.device.split()[0] in ("cpu", "cuda", "mps")
        worker.segment(QUICK, quick, **EXACT)
