"""`medsegai segment` and `models` as a user meets them: files, records, exit statuses, and what is skipped."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_dicom import write_series
from fixtures_models import make_model_folder
from MedSegAICore import VERSION
from MedSegAICore.files import read_label_map, read_metadata, write_segmentation
from MedSegAICore.image import LabelMap
from MedSegAILib.commands import main

CROP = {
    "modality": ["MR"],
    "spacing_mm": [[0.8, 1.2]] * 3,
    "extent_mm": [[10, 40]] * 3,
    "series_descriptions": ["crop"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("models") / "random", card={"input": CROP})


def write_volume(path, seed=0, shape=(16, 20, 18)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def segment(model, output, *arguments):
    """Exit status and the list that --json prints."""
    return main(["segment", *map(str, arguments), "--model", str(model), "--output", str(output), "--device", "cpu"])


def reports_of(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_file_gives_a_segmentation_and_a_record_that_agree(model, tmp_path, capsys):
    assert segment(model, tmp_path / "out", write_volume(tmp_path / "head.nii.gz"), "--json") == 0
    (report,) = reports_of(capsys)
    assert set(report) == {"case", "status", "output", "volumes_ml", "seconds", "warnings"}
    assert (report["case"], report["status"]) == ("head", "done")
    label_map = read_label_map(tmp_path / "out/head.seg.nrrd")
    record = json.loads((tmp_path / "out/head.json").read_text())
    assert record["volumes_ml"] == report["volumes_ml"]
    assert label_map.volumes_ml() == pytest.approx(report["volumes_ml"])
    assert [label.name for label in label_map.labels] == ["Front part", "Back part"]
    assert record["provenance"]["model"]["id"] == "random"
    assert record["provenance"]["software"]["medsegai"] == VERSION
    assert json.loads(read_metadata(tmp_path / "out/head.seg.nrrd")["MedSegAI.Provenance"]) == record["provenance"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["head.json", "head.seg.nrrd"]


def test_finished_cases_are_skipped_until_something_changes(model, tmp_path, capsys):
    volume, output = write_volume(tmp_path / "head.nii.gz"), tmp_path / "out"
    segment(model, output, volume)
    first = (output / "head.seg.nrrd").stat().st_mtime_ns
    assert segment(model, output, volume, "--json") == 0
    assert reports_of(capsys)[0]["status"] == "skipped"
    assert (output / "head.seg.nrrd").stat().st_mtime_ns == first
    segment(model, output, volume, "--json", "--overwrite")
    assert reports_of(capsys)[0]["status"] == "done"
    write_volume(tmp_path / "head.nii.gz", seed=1)
    segment(model, output, volume, "--json")
    captured = capsys.readouterr()
    assert json.loads(captured.out)[0]["status"] == "done"
    assert "the result of an earlier run, with another input or other settings, is replaced" in captured.err
    (output / "head.seg.nrrd").unlink()
    segment(model, output, volume, "--json")
    assert reports_of(capsys)[0]["status"] == "done"


def test_a_corrected_segmentation_is_never_overwritten(model, tmp_path, capsys):
    volume, output = write_volume(tmp_path / "head.nii.gz"), tmp_path / "out"
    segment(model, output, volume)
    capsys.readouterr()
    draft = read_label_map(output / "head.seg.nrrd")
    corrected = draft.array.copy()
    corrected[:8] = 1
    write_segmentation(output / "head.seg.nrrd", LabelMap(corrected, draft.grid, draft.labels))
    work = (output / "head.seg.nrrd").read_bytes()

    assert segment(model, output, volume, "--json") == 0
    (report,) = reports_of(capsys)
    assert report["status"] == "skipped"
    assert "changed after it was written" in report["warnings"][-1]
    assert report["volumes_ml"]["front"] == pytest.approx((corrected == 1).sum() / 1000)

    assert segment(model, output, volume, "--json", "--overwrite") == 1
    assert "may be somebody's work" in reports_of(capsys)[0]["error"]
    (output / "head.json").unlink()
    assert segment(model, output, volume, "--json") == 1
    assert "no record" in reports_of(capsys)[0]["error"]
    assert (output / "head.seg.nrrd").read_bytes() == work
    assert [path.name for path in output.iterdir()] == ["head.seg.nrrd"]


def test_a_folder_of_files_with_a_broken_one_goes_on_and_reports_it(model, tmp_path, capsys):
    for name in ("a", "b"):
        write_volume(tmp_path / f"in/{name}.nii.gz")
    (tmp_path / "in/broken.nii.gz").write_text("not an image")
    assert segment(model, tmp_path / "out", tmp_path / "in", "--json") == 1
    captured = capsys.readouterr()
    assert {r["case"]: r["status"] for r in json.loads(captured.out)} == {"a": "done", "b": "done", "broken": "failed"}
    assert "1 of 3 cases failed" in captured.err


def test_files_named_by_channel_are_grouped(tmp_path, capsys):
    two = make_model_folder(tmp_path / "two", channels=2)
    for case in ("x", "y"):
        for channel in range(2):
            write_volume(tmp_path / f"in/{case}_{channel:04d}.nii.gz", seed=channel)
    assert segment(two, tmp_path / "out", tmp_path / "in", "--json") == 0
    assert [report["case"] for report in reports_of(capsys)] == ["x", "y"]


def test_equal_names_from_two_folders_are_kept_apart(model, tmp_path, capsys):
    inputs = [write_volume(tmp_path / f"{folder}/head.nii.gz", seed) for seed, folder in enumerate("ab")]
    assert segment(model, tmp_path / "out", *inputs, "--json") == 0
    captured = capsys.readouterr()
    assert [report["case"] for report in json.loads(captured.out)] == ["head", "head_2"]
    assert "more than one case 'head'" in captured.err


def test_nifti_and_probabilities_on_request(model, tmp_path):
    volume = write_volume(tmp_path / "head.nii.gz")
    assert segment(model, tmp_path / "out", volume, "--format", "nii.gz", "--probabilities") == 0
    labels = sitk.ReadImage(str(tmp_path / "out/head.nii.gz"))
    assert labels.GetSize() == (18, 20, 16)
    assert (tmp_path / "out/head_probabilities.nrrd").is_file()


def write_dicom(folder, description, seed=0, shape=(20, 20, 20), study="1.2.3"):
    pixels = np.random.default_rng(seed).integers(0, 500, shape).astype(np.int16)
    write_series(folder, pixels, spacing=(1, 1, 1), SeriesDescription=description, StudyInstanceUID=study)


def test_the_fitting_series_of_a_study_is_chosen_and_the_reason_said(model, tmp_path, capsys):
    write_dicom(tmp_path / "study/a", "Crop")
    write_dicom(tmp_path / "study/b", "Brain", shape=(5, 64, 64))
    assert segment(model, tmp_path / "out", tmp_path / "study", "--json") == 0
    captured = capsys.readouterr()
    assert [report["case"] for report in json.loads(captured.out)] == ["study"]
    assert "only it fits Random weights by modality, spacing and extent" in captured.err


@pytest.mark.parametrize("descriptions", [("One", "Other"), ("Crop 1", "Crop 2")])
def test_when_several_series_fit_they_are_listed_and_nothing_is_guessed(model, tmp_path, capsys, descriptions):
    for number, description in enumerate(descriptions):
        write_dicom(tmp_path / f"study/{number}", description, number)
    assert segment(model, tmp_path / "out", tmp_path / "study", "--json") == 1
    (report,) = reports_of(capsys)
    assert "2 series fit" in report["error"]
    assert all(description in report["error"] for description in descriptions)
    assert list((tmp_path / "out").iterdir()) == []


def test_when_no_series_fits_each_is_listed_with_what_speaks_against_it(model, tmp_path, capsys):
    for number in range(2):
        write_dicom(tmp_path / f"study/{number}", f"Brain {number}", number, (5, 64, 64))
    assert segment(model, tmp_path / "out", tmp_path / "study", "--json") == 1
    error = reports_of(capsys)[0]["error"]
    assert "no series fits" in error
    assert "extent 10-40 x 10-40 x 10-40 mm (right-left x anterior-posterior x inferior-superior)" in error
    assert error.count("does not fit: extent 64 x 64 x 5 mm") == 2


def test_the_description_decides_between_series_of_equal_size(model, tmp_path, capsys):
    for number, description in enumerate(["Localizer", "HippoCrop"]):
        write_dicom(tmp_path / f"study/{number}", description, number)
    assert segment(model, tmp_path / "out", tmp_path / "study") == 0
    assert "by its description 'HippoCrop'" in capsys.readouterr().err


def test_a_folder_of_studies_gives_a_case_each(model, tmp_path, capsys):
    for number in range(2):
        write_dicom(tmp_path / f"all/patient{number}/series", "x", number, study=f"1.2.{number}")
    assert segment(model, tmp_path / "out", tmp_path / "all", "--json") == 0
    assert [report["case"] for report in reports_of(capsys)] == ["patient0", "patient1"]


def test_the_course_study_gives_its_hippocampus_crop(shared_data, tmp_path, capsys):
    source = shared_data("dicom_hippocrop_study")
    card = {"modality": ["MR"], "spacing_mm": [[0.9, 1.1]] * 3, "extent_mm": [[28, 50], [36, 66], [20, 54]]}
    model = make_model_folder(tmp_path / "model", card={"input": card})
    assert segment(model, tmp_path / "out", source, "--json") == 0
    captured = capsys.readouterr()
    assert "HippoCrop" in captured.err
    assert read_label_map(json.loads(captured.out)[0]["output"]).grid.shape == (40, 50, 34)


@pytest.fixture
def user_models(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEGAI_MODELS", str(tmp_path / "user"))
    return tmp_path / "user"


def test_a_model_is_added_listed_verified_used_and_removed(model, user_models, tmp_path, capsys):
    assert main(["models", "add", str(model)]) == 0
    assert main(["models", "add", str(model)]) == 2  # its id is taken
    assert "already a model 'random'" in capsys.readouterr().err
    assert main(["models", "list", "--json"]) == 0
    assert "random" in [entry["id"] for entry in reports_of(capsys)]
    assert main(["models", "verify", "random"]) == 0
    assert main(["models", "show", "random"]) == 0
    assert "For: Tests of the program." in capsys.readouterr().out
    assert segment("random", tmp_path / "out", write_volume(tmp_path / "head.nii.gz")) == 0
    assert main(["models", "remove", "random"]) == 0
    assert list(user_models.iterdir()) == []
    assert main(["models", "remove", "random"]) == 2


def test_a_zip_of_a_model_is_added_and_a_dangerous_one_refused(model, user_models, tmp_path, capsys):
    archive = shutil.make_archive(str(tmp_path / "model"), "zip", model.parent)
    assert main(["models", "add", archive]) == 0
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as evil:
        evil.writestr("../../escaped.txt", "x")
    assert main(["models", "add", str(tmp_path / "evil.zip")]) == 2
    assert "not safe" in capsys.readouterr().err
    assert not (tmp_path.parent / "escaped.txt").exists()
    assert [path.name for path in user_models.iterdir()] == ["random"]


def test_changed_weights_are_found_by_verify_and_refused_by_segment(model, user_models, tmp_path, capsys):
    main(["models", "add", str(model)])
    weights = user_models / "random/fold_0/checkpoint_final.pth"
    weights.write_bytes(weights.read_bytes() + b"x")
    assert main(["models", "verify", "random"]) == 2
    assert segment("random", tmp_path / "out", write_volume(tmp_path / "head.nii.gz")) == 2
    assert "fold_0/checkpoint_final.pth of model random was changed or damaged" in capsys.readouterr().err


def test_doctor_gives_a_verdict(user_models, capsys):
    status = main(["doctor", "--device", "cpu", "--json"])
    findings = {finding["what"]: finding for finding in reports_of(capsys)}
    assert findings["device"]["ok"]
    assert "one convolution" in findings["device"]["value"]
    assert status == (1 if any(finding["ok"] is False for finding in findings.values()) else 0)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment"],
        ["segment", "x", "--model", "no-such-model", "--output", "out"],
        ["segment", "x", "--model", "m", "--output", "out", "--format", "tiff"],
        ["fly"],
    ],
)
def test_wrong_usage_has_status_2(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip()
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_here_has_status_2(model, tmp_path, capsys):
    volume = write_volume(tmp_path / "head.nii.gz")
    assert (
        main(["segment", str(volume), "--model", str(model), "--output", str(tmp_path / "o"), "--device", "cuda:77"])
        == 2
    )
    assert "cuda:77 was asked for" in capsys.readouterr().err


def test_the_version_is_that_of_the_program(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"medsegai {VERSION}\n"


def test_an_estimate_is_made_without_writing_anything(model, tmp_path, capsys):
    write_volume(tmp_path / "in/head.nii.gz")
    (tmp_path / "in/broken.nii.gz").write_bytes(b"no volume")
    before = sorted(tmp_path.rglob("*"))
    command = ["segment", str(tmp_path / "in"), "--model", str(model), "--device", "cpu", "--quality", "best"]
    assert main([*command, "--no-mirroring", "--estimate"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("head: 2 tiles, about 1 s, ")  # (16, 20, 18) voxels in tiles of (16, 24, 16)
    assert captured.out.count("\n") == 1
    assert "broken: FAILED." in captured.err
    assert "1 of 2 cases failed." in captured.err
    assert sorted(tmp_path.rglob("*")) == before


def test_without_an_output_folder_nothing_is_segmented(model, tmp_path, capsys):
    volume = write_volume(tmp_path / "head.nii.gz")
    assert main(["segment", str(volume), "--model", str(model), "--device", "cpu"]) == 2
    assert "no folder for the results. Name one with --output DIR." in capsys.readouterr().err
