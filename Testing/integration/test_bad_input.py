"""Bad input gets one clear sentence and the right exit status, and leaves nothing half-written."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from fixtures_models import make_model_folder
from MedSegAILib.commands import main

REPOSITORY = Path(__file__).resolve().parents[2]
CROP = {"modality": ["MR"], "spacing_mm": [[0.8, 1.2]] * 3, "extent_mm": [[28, 50], [36, 66], [20, 54]]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("models") / "random", card={"input": CROP})


def write(path, array, spacing=(1, 1, 1)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    return path


def noise(shape=(36, 50, 35)):
    return np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)


def command(volume, model, output, *options):
    return ["segment", str(volume), "--model", str(model), "--output", str(output), "--device", "cpu", *options]


def refused(capsys, model, tmp_path, volume, *options):
    """The one line about the case, after checking that it failed and left nothing behind."""
    assert main(command(volume, model, tmp_path / "out", *options)) == 1
    assert list((tmp_path / "out").iterdir()) == []
    lines = [line for line in capsys.readouterr().err.splitlines() if "FAILED" in line]
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    return lines[0]


def test_a_missing_file(capsys, model, tmp_path):
    assert "no file or folder" in refused(capsys, model, tmp_path, tmp_path / "missing.nii.gz")


@pytest.mark.parametrize("name", ["text.nii.gz", "text.nrrd", "text.mha", "text.dcm", "text.docx"])
def test_a_file_that_is_no_image(capsys, model, tmp_path, name):
    (tmp_path / name).write_text("just text")
    assert name in refused(capsys, model, tmp_path, tmp_path / name)


def test_a_folder_without_images(capsys, model, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "neither images" in refused(capsys, model, tmp_path, tmp_path / "empty")


def test_a_single_slice_for_a_3d_model(capsys, model, tmp_path):
    line = refused(capsys, model, tmp_path, write(tmp_path / "slice.nii.gz", noise((1, 50, 35))))
    assert "single slice (50 x 35)" in line


def test_a_wrong_number_of_channels(capsys, model, tmp_path):
    vector = sitk.GetImageFromArray(np.stack([noise()] * 3, axis=-1), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "three.nrrd"))
    error = refused(capsys, model, tmp_path, tmp_path / "three.nrrd")
    assert "three.nrrd holds 3 volumes (time points or channels), but the model takes one" in error


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_volume(capsys, model, tmp_path, value):
    volume = write(tmp_path / "flat.nii.gz", np.full((36, 50, 35), value, np.int16))
    assert f"is {value} everywhere" in refused(capsys, model, tmp_path, volume)


def test_voxels_that_are_not_numbers(capsys, model, tmp_path):
    array = noise()
    array[3, 4, 5], array[6, 7, 8] = np.nan, np.inf
    line = refused(capsys, model, tmp_path, write(tmp_path / "nan.nii.gz", array))
    assert "2 voxels that are NaN or infinite" in line


def test_a_whole_brain_for_a_model_of_crops_is_warned_of_and_refused_if_strict(capsys, tmp_path):
    model = make_model_folder(tmp_path / "coarse", card={"input": CROP}, spacing=(6.0, 4.0, 4.0))
    brain = write(tmp_path / "brain.nii.gz", noise((22, 256, 256)), (0.9, 0.9, 6.5))
    line = refused(capsys, model, tmp_path, brain, "--strict")
    assert "The spacing is 0.9 x 0.9 x 6.5 mm, but Random weights is for 0.8-1.2 x 0.8-1.2 x 0.8-1.2 mm" in line
    assert "The extent is 230 x 230 x 143 mm, but Random weights is for 28-50 x 36-66 x 20-54 mm" in line
    assert main(command(brain, model, tmp_path / "out")) == 0
    assert "warning: The spacing is 0.9 x 0.9 x 6.5 mm" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "malicious", "missing", "other"])
def test_a_damaged_or_dangerous_checkpoint(capsys, tmp_path, damage):
    model = make_model_folder(tmp_path / "model", card=False)
    path, marker = model / "fold_0/checkpoint_final.pth", tmp_path / "executed"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "malicious":

        class Malicious:
            def __reduce__(self):
                return os.system, (f"touch {marker}",)

        torch.save({"network_weights": {}, "logging": Malicious()}, path)
    elif damage == "missing":
        path.unlink()
    else:
        torch.save({"network_weights": {"layer": torch.ones(1)}}, path)
    assert main(command(write(tmp_path / "x.nii.gz", noise()), model, tmp_path / "out")) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    expected = {
        "truncated": "damaged",
        "malicious": "nothing of it was run",
        "missing": "no fold",
        "other": "do not fit",
    }
    assert expected[damage] in lines[0]
    assert not (tmp_path / "out").exists()
    assert not marker.exists()


def test_an_output_folder_that_cannot_be_made(capsys, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert main(command(write(tmp_path / "x.nii.gz", noise()), model, tmp_path / "file")) == 2
    assert "cannot be made" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that even root cannot write to")
def test_an_output_folder_that_is_not_writable_is_found_before_the_work(capsys, model, tmp_path):
    assert main(command(write(tmp_path / "x.nii.gz", noise()), model, "/sys/kernel")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "The output folder /sys/kernel cannot be written to" in line


def environment():
    folders = [REPOSITORY / "MedSegAI", REPOSITORY / "MedSegAIMetrics"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONUNBUFFERED": "1"}


def test_a_full_disk_fails_the_case_and_leaves_nothing(model, tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails in the middle in the same way."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

    volume = write(tmp_path / "x.nii.gz", noise())
    run = subprocess.run(
        [sys.executable, "-m", "MedSegAILib.commands", *command(volume, model, tmp_path / "out")],
        env=environment(), preexec_fn=limit, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert f"{tmp_path / 'out/x.seg.nrrd'} cannot be written" in run.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_keeps_finished_cases_and_nothing_half_written(model, tmp_path):
    write(tmp_path / "in/a_quick.nii.gz", noise())
    write(tmp_path / "in/b_slow.nii.gz", noise((160, 200, 200)))
    process = subprocess.Popen(
        [sys.executable, "-m", "MedSegAILib.commands", *command(tmp_path / "in", model, tmp_path / "out")],
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    # The record of the first case is written last, so the second one runs when it is there.
    for _ in range(600):
        if (tmp_path / "out/a_quick.json").is_file():
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped" in errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_quick.json", "a_quick.seg.nrrd"]
