"""The script for `Slicer --python-script` does what the command does, to the byte."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_models import make_model_folder
from MedSegAICore.files import read_label_map

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "MedSegAI/Scripts/medsegai_batch.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Both programs on two volumes and a missing one: their processes and output folders."""
    folder = tmp_path_factory.mktemp("batch")
    model = make_model_folder(folder / "model")
    volumes = []
    for seed in range(2):
        array = np.random.default_rng(seed).normal(100, 20, (20, 30, 24)).astype(np.float32)
        volumes.append(folder / f"case{seed}.nii.gz")
        sitk.WriteImage(sitk.GetImageFromArray(array), str(volumes[-1]))
    arguments = [
        "segment",
        *map(str, volumes),
        str(folder / "missing.nii.gz"),
        "--model",
        str(model),
        "--device",
        "cpu",
    ]
    module = {**os.environ, "PYTHONPATH": str(REPOSITORY / "MedSegAI")}
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    runs = {}
    for name, start, environment in (
        ("command", [sys.executable, "-m", "MedSegAILib.commands"], module),
        ("script", [sys.executable, str(SCRIPT)], bare),
    ):
        output = folder / name
        run = subprocess.run([*start, *arguments, "--output", str(output)], env=environment, capture_output=True)
        runs[name] = (run, output)
    return runs


def test_both_end_with_the_same_status(results):
    assert results["command"][0].returncode == results["script"][0].returncode == 1


def test_label_arrays_are_equal_to_the_byte(results):
    for name in ("case0.seg.nrrd", "case1.seg.nrrd"):
        one, other = (read_label_map(results[program][1] / name) for program in ("command", "script"))
        assert one.array.tobytes() == other.array.tobytes()
        assert one.array.any()
        assert one.labels == other.labels


def load_script():
    specification = importlib.util.spec_from_file_location("medsegai_batch", SCRIPT)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    return script


def test_in_slicer_the_status_goes_to_the_application(monkeypatch):
    """Slicer goes on after a script unless it is told to exit; the stand-in records what it is told."""
    from types import SimpleNamespace

    told = []
    stand_in = SimpleNamespace(app=SimpleNamespace(exit=None), util=SimpleNamespace(exit=told.append))
    monkeypatch.setitem(sys.modules, "slicer", stand_in)
    load_script().finish(1)
    assert told == [1]


def test_a_mistake_of_the_program_still_ends_slicer(monkeypatch, capsys):
    """After an exception in a script Slicer would wait for ever, without a window that could be closed."""
    import MedSegAILib.commands

    def fail(_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(MedSegAILib.commands, "main", fail)
    assert load_script().run() == 70
    assert "a mistake" in capsys.readouterr().err
