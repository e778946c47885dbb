"""`medsegai segment` with models of several channels: files on different grids, DICOM studies, --register and --roi."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_dicom import write_series
from fixtures_models import make_model_folder
from fixtures_registration import errors_mm, head, motion
from fixtures_scene import make_grid
from MedSegAICore.files import read_label_map, write_image
from MedSegAICore.grid import LPS_FROM_RAS
from MedSegAILib.commands import main

RULES = [
    {"name": "MR0", "modality": ["MR"], "series_descriptions": ["t1"]},
    {"name": "MR1", "modality": ["MR"], "series_descriptions": [r"t1.*(post|\+c|gd)"]},
    {"name": "MR2", "modality": ["MR"], "series_descriptions": ["^t2"]},
    {"name": "MR3", "modality": ["MR"], "series_descriptions": ["flair"]},
]
COARSE = make_grid((22, 34, 30), np.diag([-1.0, -1, 1]), (5.5, 5.5, 6.5), (80, 92, -68))


def make_model(path, channels, spacing=(6.5, 5.5, 5.5)):
    card = {"input": {"modality": ["MR"], "channels": RULES[:channels]}}
    return make_model_folder(path / f"model_{channels}", channels=channels, spacing=spacing, card=card)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models"), 2)


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models"), 4)


def segment(model, output, *arguments):
    return main(["segment", *map(str, arguments), "--model", str(model), "--output", str(output), "--device", "cpu"])


def write_channels(folder, *images):
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        write_image(folder / f"case_{number:04d}.nii.gz", image)
    return folder


def test_channel_files_on_different_grids_are_resampled_to_the_first(two, tmp_path, capsys):
    other = make_grid((40, 30, 36), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], (4, 4.5, 4.2), (-80, -90, -66))
    folder = write_channels(tmp_path / "in", head("T1", COARSE), head("T2", other))
    assert segment(two, tmp_path / "out", folder, "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["warnings"][0].startswith("MR1 does not cover ")
    assert read_label_map(tmp_path / "out/case.seg.nrrd").grid.matches(COARSE)
    facts = json.loads((tmp_path / "out/case.json").read_text())["provenance"]["channels"]
    assert [(fact["channel"], fact["resampled"]) for fact in facts] == [("MR0", False), ("MR1", True)]
    assert segment(two, tmp_path / "out", folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "skipped"


def test_volumes_that_do_not_overlap_fail_alone(two, tmp_path, capsys):
    apart = make_grid((22, 34, 30), np.diag([-1.0, -1, 1]), (5.5, 5.5, 6.5), (580, 92, -68))
    good = write_channels(tmp_path / "good", head("T1", COARSE), head("T2", COARSE))
    bad = write_channels(tmp_path / "bad", head("T1", COARSE), head("T2", apart))
    for file in good.iterdir():
        file.rename(file.with_name(file.name.replace("case", "good")))
    assert segment(two, tmp_path / "out", bad, good, "--json") == 1
    failed, done = json.loads(capsys.readouterr().out)
    assert "MR1 and MR0 do not overlap in space" in failed["error"]
    assert done["status"] == "done"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.json", "good.seg.nrrd"]


def test_register_writes_a_transform_that_itk_reads(two, tmp_path, capsys):
    step = motion((3, -4, 5), (6, -5, 4))
    folder = write_channels(tmp_path / "in", head("T1", COARSE), head("T2", COARSE, step))
    assert segment(two, tmp_path / "out", folder, "--register", "rigid") == 0
    assert "MR1: rigid registration moved it by" in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["case.json", "case.seg.nrrd", "case_0001_to_first.tfm"]
    transform = sitk.ReadTransform(str(tmp_path / "out/case_0001_to_first.tfm"))
    found = np.eye(4)
    found[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        found[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - found[:3, 3]
    # ITK maps points of the first volume to the moving one: where the patient went.
    assert errors_mm(LPS_FROM_RAS @ found @ LPS_FROM_RAS, step, COARSE).max() < 4
    quality = json.loads((tmp_path / "out/case.json").read_text())["provenance"]["channels"][1]["registration"]
    assert quality["mutual_information_after"] > quality["mutual_information_before"]
    # The same again is the same to the last bit, so that the finished case is known.
    assert segment(two, tmp_path / "out", folder, "--register", "rigid", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "skipped"


@pytest.mark.parametrize("study", ["dicom_brain_tumour/timepoint_1", "dicom_hippocrop_study"])
def test_the_series_of_a_real_study_become_the_channels(four, shared_data, tmp_path, capsys, study):
    assert segment(four, tmp_path / "out", shared_data(study)) == 0
    said = capsys.readouterr().err
    for channel, series in zip(
        ("MR0", "MR1", "MR2", "MR3"), ("T1pre_reg", "T1post", "T2_reg", "FLAIR_reg"), strict=True
    ):
        assert any(channel in line and f"  {series}  " in line for line in said.splitlines())
    record = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert len(record["provenance"]["channels"]) == 4
    assert record["provenance"]["input"]["shape_kji"] == [22, 320, 280]


def test_a_study_whose_series_are_not_clear_fails_with_what_is_there(four, shared_data, tmp_path, capsys):
    study = tmp_path / "study"
    shutil.copytree(shared_data("dicom_brain_tumour/timepoint_1"), study)
    flair = next(path for path in study.rglob("*") if path.is_dir() and "FLAIR" in path.name.upper())
    shutil.rmtree(flair)
    assert segment(four, tmp_path / "out", study, "--json") == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert "MR3: MISSING (no volume of modality MR is described by 'flair')" in report["error"]
    assert "not used: 5377  Mask_Tumor" in report["error"]
    assert "study_0000.nii.gz" in report["error"]
    assert not list((tmp_path / "out").iterdir())


def test_a_model_without_rules_takes_no_series(tmp_path, capsys):
    model = make_model_folder(tmp_path / "model", channels=2)
    for number, description in enumerate(("T1", "T2")):
        array = np.random.default_rng(number).integers(0, 100, (8, 9, 10), dtype=np.int16)
        write_series(tmp_path / f"study/{description}", array, SeriesDescription=description)
    assert segment(model, tmp_path / "out", tmp_path / "study", "--json") == 1
    assert "the model's card has no rule for this channel" in json.loads(capsys.readouterr().out)[0]["error"]


def test_a_file_of_several_volumes_is_refused_for_a_model_of_one(tmp_path, capsys):
    model = make_model_folder(tmp_path / "model")
    frames = [sitk.GetImageFromArray(np.full((4, 5, 6), n, np.float32)) for n in range(3)]
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "cine.nii.gz"))
    assert segment(model, tmp_path / "out", tmp_path / "cine.nii.gz", "--json") == 1
    error = json.loads(capsys.readouterr().out)[0]["error"]
    assert "holds 3 volumes (time points or channels), but the model takes one" in error
    assert "segmentSequence" in error


def test_a_region_beside_the_volume_fails_and_a_bad_file_stops_at_once(two, tmp_path, capsys):
    folder = write_channels(tmp_path / "in", head("T1", COARSE), head("T2", COARSE))
    entry = {"type": "ROI", "coordinateSystem": "LPS", "center": [900, 0, 0], "size": [20, 20, 20]}
    (tmp_path / "far.mrk.json").write_text(json.dumps({"markups": [entry]}))
    assert segment(two, tmp_path / "out", folder, "--json", "--roi", tmp_path / "far.mrk.json") == 1
    assert "'far' holds no voxel of the volume 'case'" in json.loads(capsys.readouterr().out)[0]["error"]
    (tmp_path / "bad.mrk.json").write_text("{}")
    assert segment(two, tmp_path / "out", folder, "--roi", tmp_path / "bad.mrk.json") == 2
    assert "not a markups file" in capsys.readouterr().err


def test_maps_outside_the_region_are_zero_and_another_region_is_another_result(two, tmp_path, capsys):
    folder = write_channels(tmp_path / "in", head("T1", COARSE), head("T2", COARSE))
    for name, size in (("small", 60), ("large", 90)):
        entry = {"type": "ROI", "coordinateSystem": "LPS", "center": [0, 0, 0], "size": [size] * 3}
        (tmp_path / f"{name}.mrk.json").write_text(json.dumps({"markups": [entry]}))
    options = ("--json", "--probabilities", "--roi")
    assert segment(two, tmp_path / "out", folder, *options, tmp_path / "small.mrk.json") == 0
    maps = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/case_probabilities.nrrd")))
    box = json.loads((tmp_path / "out/case.json").read_text())["provenance"]["region_kji"]
    inside = tuple(slice(*part) for part in box)
    assert maps.shape[:3] == COARSE.shape
    assert maps[inside].any()
    maps[inside] = 0
    assert not maps.any()
    capsys.readouterr()
    assert segment(two, tmp_path / "out", folder, *options, tmp_path / "large.mrk.json") == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "done"
