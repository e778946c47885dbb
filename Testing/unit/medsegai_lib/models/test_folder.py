"""Model folders as they come: nested, several, incomplete, changed; with a card or without."""

import json
import shutil

import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.errors import ModelError
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.models.folder import ModelFolder

NESTED = "Dataset007_Brain/nnUNetTrainer__nnUNetPlans__3d_fullres"


def test_a_results_folder_with_one_model_inside_is_opened(tmp_path):
    make_model_folder(tmp_path / NESTED, card=False)
    model = ModelFolder.open(tmp_path)
    assert model.path == tmp_path / NESTED
    assert model.id == "Dataset007_Brain"
    assert model.configuration.name == "3d_fullres"


def test_of_several_configurations_the_full_resolution_is_taken(tmp_path):
    make_model_folder(tmp_path / NESTED)
    make_model_folder(tmp_path / NESTED.replace("3d_fullres", "2d"), "2d")
    assert ModelFolder.open(tmp_path).configuration.name == "3d_fullres"


def test_two_models_must_be_told_apart_by_the_caller(tmp_path):
    make_model_folder(tmp_path / "one")
    make_model_folder(tmp_path / "two")
    with pytest.raises(ModelError, match="contains 2 such folders"):
        ModelFolder.open(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: shutil.rmtree(m), "no model folder"),
        (lambda m: shutil.rmtree(m / "fold_0"), "no fold"),
        (lambda m: (m / "plans.json").unlink(), "not a trained model"),
        (lambda m: (m / "plans.json").write_text("{"), "plans.json .* cannot be read"),
        (lambda m: (m / "plans.json").write_text("[]"), "not a JSON object"),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(tmp_path, damage, message):
    model = make_model_folder(tmp_path / "m")
    damage(model)
    with pytest.raises(ModelError, match=message):
        ModelFolder.open(model)


def test_a_changed_checkpoint_is_found_before_its_weights_are_used(tmp_path):
    path = make_model_folder(tmp_path / "m")
    ModelFolder.open(path).verify()
    with open(path / "fold_0/checkpoint_final.pth", "ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match=r"fold_0/checkpoint_final.pth .*changed or damaged"):
        ModelFolder.open(path).load_networks("cpu")


def test_segments_of_a_model_without_card_come_from_the_data_set(tmp_path):
    labels = ModelFolder.open(make_model_folder(tmp_path / "m", card=False)).labels
    assert [(label.value, label.id, label.name) for label in labels] == [(1, "front", "front"), (2, "back", "back")]
    assert labels[0].color != labels[1].color


def test_a_card_that_forgets_a_label_is_refused(tmp_path):
    structures = [{"label": 1, "id": "front", "name": "Front"}]
    with pytest.raises(ModelError, match="no structure for label 2"):
        _ = ModelFolder.open(make_model_folder(tmp_path / "m", card={"structures": structures})).labels


def test_regions_are_written_in_their_class_order(tmp_path):
    model = ModelFolder.open(make_model_folder(tmp_path / "m", "regions", card=False))
    assert model.outputs == Outputs((1, 2), regions=True)
    assert [label.name for label in model.labels] == ["whole", "back"]


def test_nnunets_postprocessing_is_read_where_the_card_says_nothing(tmp_path):
    path = make_model_folder(tmp_path / "m", card=False)
    content = {
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"] * 3,
        "postprocessing_kwargs": [{"labels_or_regions": t} for t in ([1, 2], [[1, 2]], 1)],
    }
    (path / "crossval_results_folds_0").mkdir()
    (path / "crossval_results_folds_0/postprocessing.json").write_text(json.dumps(content))
    assert ModelFolder.open(path).postprocessing == Postprocessing(((1, 2), (1, 2), (1,)))
    content["postprocessing_fns"][0] = "something_else"
    (path / "postprocessing.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="something_else"):
        _ = ModelFolder.open(path).postprocessing


def test_mirroring_axes_are_those_that_every_fold_allows(tmp_path):
    model = ModelFolder.open(make_model_folder(tmp_path / "m", mirror_axes=(0, 2)))
    assert model.load_networks("cpu")[1] == (0, 2)
    assert ModelFolder.open(make_model_folder(tmp_path / "n", mirror_axes=())).load_networks("cpu")[1] == ()


def test_the_checksum_of_a_model_changes_with_its_weights(tmp_path):
    one, same, other = (
        ModelFolder.open(make_model_folder(tmp_path / name, seed=seed)).checksum
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == same != other


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "labels", [None, 5, [], {}, {"background": 0}, {"background": None, "a": 1}, {"background": 0, "a": "x"},
               {"background": 0, "a": []}, {"background": 0, "a": 2}]
)  # fmt: skip
def test_labels_that_make_no_sense_are_refused_when_the_folder_is_opened(tmp_path, labels):
    path = make_model_folder(tmp_path / "m", card=False)
    edit(path / "dataset.json", labels=labels)
    with pytest.raises(ModelError, match=r"dataset\.json"):
        ModelFolder.open(path)


@pytest.mark.parametrize("names", [{}, 5, {"zero": "MR"}, {"0": "MR", "1": "CT"}])
def test_channels_that_do_not_fit_the_plan_are_refused_when_the_folder_is_opened(tmp_path, names):
    path = make_model_folder(tmp_path / "m", card=False)
    edit(path / "dataset.json", channel_names=names)
    with pytest.raises(ModelError, match=r"dataset\.json"):
        ModelFolder.open(path)


def test_names_that_differ_only_in_signs_get_ids_of_their_own(tmp_path):
    path = make_model_folder(tmp_path / "m", card=False)
    edit(path / "dataset.json", labels={"background": 0, "Left-Hip": 1, "left hip": 2})
    assert [label.id for label in ModelFolder.open(path).labels] == ["left_hip", "left_hip_2"]


def test_a_checkpoint_that_the_card_does_not_list_is_not_used(tmp_path):
    path = make_model_folder(tmp_path / "m")
    shutil.copytree(path / "fold_0", path / "fold_1")
    with pytest.raises(ModelError, match=r"fold_1/checkpoint_final.pth .*does not list"):
        ModelFolder.open(path).load_networks("cpu")
    assert len(ModelFolder.open(path).load_networks("cpu", ["0"])[0]) == 1


@pytest.mark.parametrize(
    "order", [None, [], [1], [1, 1], [0, 1], [1, 2, 3], ["x", 1], [1.5, 1], 5, {"1": 2}, [1, 70000]]
)
def test_an_order_of_regions_that_makes_no_sense_is_refused_when_the_folder_is_opened(tmp_path, order):
    path = make_model_folder(tmp_path / "m", "regions", card=False)
    edit(path / "dataset.json", regions_class_order=order)
    with pytest.raises(ModelError, match=r"dataset\.json.*regions_class_order"):
        ModelFolder.open(path)


@pytest.mark.parametrize(
    "steps", [{"largest_component": [[1], [3]]}, {"fill_holes": [3]}, {"largest_component": [[1, 3]], "fill_holes": []}]
)
def test_postprocessing_of_a_label_that_does_not_exist_is_refused_when_the_folder_is_opened(tmp_path, steps):
    path = make_model_folder(tmp_path / "m")
    edit(path / "model_card.json", postprocessing=steps)
    with pytest.raises(ModelError, match=r"model_card\.json.*label 3"):
        ModelFolder.open(path)


@pytest.mark.parametrize(
    "arguments",
    [[], [{}], [{"labels_or_regions": "x"}], [{"labels_or_regions": [[None]]}], [{"labels_or_regions": 3}], 5],
)
def test_a_damaged_postprocessing_file_is_refused_when_the_folder_is_opened(tmp_path, arguments):
    path = make_model_folder(tmp_path / "m", card=False)
    names = ["remove_all_but_largest_component_from_segmentation"]
    content = {"postprocessing_fns": names, "postprocessing_kwargs": arguments}
    (path / "postprocessing.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"postprocessing\.json"):
        ModelFolder.open(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused_when_they_are_loaded(tmp_path, value):
    path = make_model_folder(tmp_path / "m", card=False)
    checkpoint = torch.load(path / "fold_0/checkpoint_final.pth")
    checkpoint["network_weights"]["decoder.seg_layers.0.bias"][1] = value
    torch.save(checkpoint, path / "fold_0/checkpoint_final.pth")
    with pytest.raises(ModelError, match=r"decoder\.seg_layers\.0\.bias holds NaN or infinite"):
        ModelFolder.open(path).load_networks("cpu")


def test_a_patch_that_the_strides_cannot_halve_is_refused(tmp_path):
    path = make_model_folder(tmp_path / "m", card=False)
    plans = json.loads((path / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["patch_size"] = [15, 24, 16]
    (path / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(ModelError, match="15 x 24 x 16.*multiple of 2 x 2 x 2"):
        ModelFolder.open(path).load_networks("cpu")


def test_only_a_fold_that_was_found_can_be_asked_for(tmp_path):
    with pytest.raises(ModelError, match="no fold"):
        ModelFolder.open(make_model_folder(tmp_path / "m")).checkpoint_path("0/../fold_0")
