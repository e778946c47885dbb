"""From a folder of images and labels to a measured model folder that the rest of the program opens."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from MedSegAICore.errors import TrainingError
from MedSegAICore.files import read_image
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.training.run import OutputClasses, PlanOptions, measure_on_held_out, train
from MedSegAILib.training.settings import TrainingSettings

SETTINGS = TrainingSettings(
    iterations=60, optimizer="adamw", learning_rate=5e-3, precision="float32", augmentation="mild", ema_decay=0.9,
    warmup_iterations=5, batch_size=2, device="cpu",
)  # fmt: skip
OPTIONS = {"labels": {"ball": 1}, "plan_options": PlanOptions(base_features=4), "folds": 2, "hold_out": 2}


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """Six volumes with a bright ball, at a spacing of 2 mm."""
    folder = tmp_path_factory.mktemp("balls")
    for number in range(6):
        random = np.random.default_rng(number)
        center = random.uniform(6, 10, 3)[:, None, None, None]
        mask = ((np.indices((16, 16, 16)) - center) ** 2).sum(0) <= 16
        for kind, array in (
            ("images", mask * 300 + random.normal(1000, 50, mask.shape).astype(np.float32)),
            ("labels", mask.astype(np.uint8)),
        ):
            (folder / kind).mkdir(exist_ok=True)
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((2, 2, 2))
            sitk.WriteImage(image, str(folder / kind / f"ball_{number}.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def trained(balls, tmp_path_factory):
    output = tmp_path_factory.mktemp("models") / "Balls"
    train(balls, output, settings=SETTINGS, fold=0, **OPTIONS)
    return output


def test_a_trained_model_segments_a_case_that_it_never_saw(balls, trained):
    summary = measure_on_held_out(balls, trained, device="cpu", labels={"ball": 1})
    assert summary["ball"]["cases"] == 2
    assert summary["ball"]["dice"]["mean"] > 0.8
    low, high = summary["ball"]["dice"]["ci95"]
    assert low <= summary["ball"]["dice"]["mean"] <= high
    assert (trained / "test.csv").is_file()


def test_the_folder_has_nnunets_layout_and_opens(trained):
    model = ModelFolder.open(trained)
    assert model.folds == ("0",)
    assert model.configuration.spacing == (2, 2, 2)
    assert [label.name for label in model.labels] == ["ball"]
    assert json.loads((trained / "dataset.json").read_text())["labels"] == {"background": 0, "ball": 1}
    for name in ("checkpoint_final.pth", "checkpoint_latest.pth", "progress.csv", "validation.json", "settings.json"):
        assert (trained / "fold_0" / name).is_file()


def test_held_out_cases_are_in_no_fold(trained):
    splits = json.loads((trained / "splits.json").read_text())
    for fold in splits["folds"]:
        assert not set(splits["test"]) & set(fold["train"] + fold["val"])
        assert len(fold["train"] + fold["val"]) == 4


def test_a_second_fold_joins_the_same_model(balls, trained):
    plans = (trained / "plans.json").read_text()
    model = train(balls, trained, settings=SETTINGS, fold=1, **OPTIONS)
    assert model.folds == ("0", "1")
    assert (trained / "plans.json").read_text() == plans
    image = read_image(balls / "images/ball_0.nii.gz")
    assert Predictor(model, "cpu").segment(image).label_map.array.any()


def test_other_data_is_not_mixed_into_a_model(balls, trained, tmp_path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for number in range(5):
            (tmp_path / kind / f"ball_{number}.nii.gz").write_bytes(
                (balls / kind / f"ball_{number}.nii.gz").read_bytes()
            )
    with pytest.raises(TrainingError, match="made for other cases"):
        train(tmp_path, trained, settings=SETTINGS, fold=1, **OPTIONS)


def test_cases_of_several_orientations_are_all_turned_to_one(balls, tmp_path):
    shutil.copytree(balls, tmp_path / "data")
    for kind in ("images", "labels"):
        path = str(tmp_path / "data" / kind / "ball_2.nii.gz")
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(path), "SRA"), path)
    model = train(tmp_path / "data", tmp_path / "out", settings=SETTINGS, **{**OPTIONS, "hold_out": 0})
    assert model.configuration.orientation == "RAS"
    scores = []
    for number in (2, 3):
        labels = Predictor(model, "cpu").segment(read_image(tmp_path / f"data/images/ball_{number}.nii.gz")).label_map
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"data/labels/ball_{number}.nii.gz")))
        scores.append(2 * (labels.array & truth).sum() / (labels.array.sum() + truth.sum()))
    assert min(scores) > 0.8


def test_every_unusable_case_is_named_at_once(balls, tmp_path):
    shutil.copytree(balls, tmp_path / "data")
    for number in (1, 4):
        sitk.WriteImage(
            sitk.GetImageFromArray(np.full((16, 16, 16), 7, np.uint8)),
            str(tmp_path / f"data/labels/ball_{number}.nii.gz"),
        )
    with pytest.raises(TrainingError, match=r"2 case.*ball_1: .*holds 7.*ball_4"):
        train(tmp_path / "data", tmp_path / "out", settings=SETTINGS, **{**OPTIONS, "hold_out": 0})


@pytest.mark.parametrize("fold", [7, "none"])
def test_a_fold_that_does_not_exist_is_refused(balls, trained, fold):
    with pytest.raises(TrainingError, match="no fold"):
        train(balls, trained, settings=SETTINGS, fold=fold, **OPTIONS)


def test_labels_become_outputs_in_order_of_their_values():
    classes = OutputClasses.of({"background": 0, "b": 2, "a": 1, "ignore": 3})
    assert classes.values == ((0,), (1,), (2,))
    assert classes.foreground == ("a", "b")
    assert classes.ignore == 3
    assert classes.all_values == (0, 1, 2, 3)


def test_regions_keep_the_order_in_which_they_are_written():
    classes = OutputClasses.of({"background": 0, "whole": [1, 2], "core": [2]}, [1, 2])
    assert classes.regions
    assert classes.values == ((1, 2), (2,))


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [
        ({"a": 1}, None, "background"),
        ({"background": 0, "a": 1, "b": 4}, None, "without gaps"),
        ({"background": 0, "a": [1, 2], "b": [2]}, None, "regions_class_order"),
    ],
)
def test_contradictory_labels_are_refused(labels, order, message):
    with pytest.raises(TrainingError, match=message):
        OutputClasses.of(labels, order)
