"""The worker's end, spoken to by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def child():
    """A started worker that has said that it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "MedSegAI")}
    command = [sys.executable, "-m", "MedSegAILib.worker", str(os.getpid())]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"\n"
        assert answer(process)["pid"] == process.pid
        yield process
        process.kill()


def answer(process):
    """The next message; which device is there is said whenever torch is loaded."""
    line = process.stdout.readline()
    assert line.endswith(b"}\n")
    message = json.loads(line.decode("utf-8"))
    return answer(process) if message["type"] == "device" else message


def say(process, line: bytes):
    process.stdin.write(line)
    process.stdin.flush()


def test_it_answers_what_it_cannot_read_with_an_error_and_lives_on(child):
    for line, expected in (
        (b"garbage\r\n", "'garbage' is not a message"),
        (b'{"version": 1, "type": "load"\n', "is not a message"),
        (b"\xff\xfe\n", "is not a message"),
        (b'{"version": 99, "type": "load", "id": 1}\r\n', "has version 99, expected 1"),
    ):
        say(child, line)
        found = answer(child)
        assert found["type"] == "error"
        assert found["error"] == "WorkerError"
        assert found["id"] is None
        assert expected in found["message"]
    say(child, b'{"version": 1, "type": "dance", "id": 3}\r\n')
    found = answer(child)
    assert found["id"] == 3
    assert "asked for 'dance', expected load, segment, cancel or quit" in found["message"]
    say(child, b'{"version": 1, "type": "quit", "id": null}\r\n')
    assert child.wait() == 0


def test_a_model_that_cannot_be_loaded_is_an_error_of_its_request(child, tmp_path):
    folder = tmp_path / "medsegai-worker-test"
    folder.mkdir()
    load = {"version": 1, "type": "load", "id": 5, "options": {}, "folder": str(folder),
            "model": {"path": str(tmp_path / "海馬"), "configurations": []}}  # fmt: skip
    segment = {"version": 1, "type": "segment", "id": 5, "image": None}
    say(child, "".join(json.dumps(m, ensure_ascii=False) + "\r\n" for m in (load, segment)).encode())
    assert answer(child)["type"] == "progress"
    found = answer(child)
    assert (found["type"], found["id"], found["error"]) == ("error", 5, "ModelError")
    assert "海馬" in found["message"]
    say(child, b'{"version": 1, "type": "dance", "id": 6}\n')
    assert answer(child)["id"] == 6  # nothing more was said of request 5


@pytest.mark.parametrize("name", ["medsegai-worker-test", "precious"])
def test_it_ends_when_its_input_ends_and_deletes_its_own_folder_only(child, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "0.raw").write_bytes(b"voxels")
    load = {"version": 1, "type": "load", "id": 1, "options": {}, "folder": str(folder),
            "model": {"path": str(tmp_path), "configurations": []}}  # fmt: skip
    say(child, json.dumps(load).encode() + b"\n")
    child.stdin.close()
    assert child.wait() == 0
    assert folder.exists() == (name == "precious")
