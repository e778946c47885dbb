"""Model folders as they come: nested, several, incomplete, changed; with a card or without."""

import json
import shutil

import pytest

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
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"] * 2,
        "postprocessing_kwargs": [{"labels_or_regions": [1, 2]}, {"labels_or_regions": [[1, 2]]}],
    }
    (path / "crossval_results_folds_0").mkdir()
    (path / "crossval_results_folds_0/postprocessing.json").write_text(json.dumps(content))
    assert ModelFolder.open(path).postprocessing == Postprocessing(((1,), (2,), (1, 2)))
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
