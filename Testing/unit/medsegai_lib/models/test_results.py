"""Dataset folders as nnU-Net leaves them: cascades, ensembles, and what says which of several models is the best."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.errors import ModelError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.models.ensemble import Ensemble, open_nnunet
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.library import ModelLibrary
from MedSegAILib.models.opening import address_of, open_address

PREFIX = "nnUNetTrainer__nnUNetPlans__"


@pytest.fixture
def dataset(tmp_path):
    return tmp_path / "Dataset007_Brain"


def add(dataset, *configurations, **options):
    for name in configurations:
        kind = "2d" if name == "2d" else "3d"
        previous = "3d_lowres" if "cascade" in name else None
        make_model_folder(
            dataset / f"{PREFIX}{name}", kind, card=False, configuration=name, previous=previous, **options
        )


def choose(dataset, *configurations, postprocessing="/home/x/results/ensembles/{}/postprocessing.pkl", steps=None):
    """What nnUNetv2_find_best_configuration writes."""
    ensemble = "___".join(["ensemble", *(PREFIX + name for name in configurations), "0_1_2_3_4"])
    models = [
        {"configuration": name, "trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans"}
        for name in configurations
    ]
    best = {"selected_model_or_models": models, "postprocessing_file": postprocessing.format(ensemble)}
    (dataset / "inference_information.json").write_text(json.dumps({"best_model_or_ensemble": best, "folds": [0]}))
    if steps is not None:
        (dataset / "ensembles" / ensemble).mkdir(parents=True)
        (dataset / "ensembles" / ensemble / "postprocessing.json").write_text(json.dumps(steps))
    return dataset / "ensembles" / ensemble


def keep_largest(*labels):
    name = "remove_all_but_largest_component_from_segmentation"
    return {"postprocessing_fns": [name], "postprocessing_kwargs": [{"labels_or_regions": list(labels)}]}


def volume(shape=(20, 28, 24), seed=0):
    array = np.random.default_rng(seed).normal(100, 20, (1, *shape)).astype(np.float32)
    return Image(array, Grid(shape, np.diag([1.3, 1.1, 1.2, 1])), {})


def test_without_a_choice_the_full_resolution_is_taken(dataset):
    add(dataset, "2d", "3d_fullres", "3d_lowres")
    assert open_nnunet(dataset).configuration_name == "3d_fullres"


def test_the_chosen_ensemble_is_opened_with_its_postprocessing(dataset):
    add(dataset, "2d", "3d_fullres")
    choose(dataset, "2d", "3d_fullres", steps=keep_largest(1, 2))
    model = open_nnunet(dataset)
    assert isinstance(model, Ensemble)
    assert (model.id, model.configuration_name) == ("Dataset007_Brain", "2d + 3d_fullres")
    assert model.postprocessing == Postprocessing(((1, 2),))
    assert model.warnings("cpu") == []


def test_a_path_from_windows_names_the_same_postprocessing(dataset):
    add(dataset, "2d", "3d_fullres")
    choose(
        dataset, "2d", "3d_fullres", postprocessing=r"D:\results\ensembles\{}\postprocessing.pkl", steps=keep_largest(2)
    )
    assert open_nnunet(dataset).postprocessing == Postprocessing(((2,),))


class Dangerous:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was opened",))


def test_the_pickle_is_never_opened_and_its_missing_twin_is_told(dataset):
    add(dataset, "2d", "3d_fullres")
    folder = choose(dataset, "2d", "3d_fullres")
    folder.mkdir(parents=True)
    (folder / "postprocessing.pkl").write_bytes(pickle.dumps(Dangerous()))
    model = open_nnunet(dataset)
    assert model.postprocessing == Postprocessing()
    warnings = Predictor(model, "cpu").segment(volume()).warnings
    assert any("postprocessing.json, is missing" in warning for warning in warnings)


def test_postprocessing_for_a_label_that_does_not_exist_is_refused(dataset):
    add(dataset, "2d", "3d_fullres")
    choose(dataset, "2d", "3d_fullres", steps=keep_largest(7))
    with pytest.raises(ModelError, match="label 7"):
        open_nnunet(dataset)


def test_the_chosen_single_model_is_opened_even_if_it_is_not_the_full_resolution(dataset):
    add(dataset, "2d", "3d_fullres")
    choose(dataset, "2d", postprocessing=f"/results/{PREFIX}2d/crossval_results_folds_0/postprocessing.pkl")
    assert open_nnunet(dataset).configuration_name == "2d"


def test_a_chosen_model_that_is_not_there_is_named(dataset):
    add(dataset, "3d_fullres")
    choose(dataset, "2d", "3d_fullres")
    with pytest.raises(ModelError, match=f"{PREFIX}2d.*no such folder"):
        open_nnunet(dataset)


@pytest.mark.parametrize(
    "content",
    ["{", "{}", '{"best_model_or_ensemble": {"selected_model_or_models": []}}',
     '{"best_model_or_ensemble": {"selected_model_or_models": [{"trainer": "../..", "plans_identifier": "x", '
     '"configuration": "y"}]}}'],
)  # fmt: skip
def test_a_damaged_choice_is_refused(dataset, content):
    add(dataset, "3d_fullres")
    (dataset / "inference_information.json").write_text(content)
    with pytest.raises(ModelError):
        open_nnunet(dataset)


def test_configurations_are_chosen_by_name(dataset):
    add(dataset, "2d", "3d_fullres")
    assert open_nnunet(dataset, ["2d"]).configuration_name == "2d"
    assert open_nnunet(dataset, ["3d_fullres", "2d"]).configuration_name == "3d_fullres + 2d"
    with pytest.raises(ModelError, match="3d_lowres"):
        open_nnunet(dataset, ["3d_lowres"])
    with pytest.raises(ModelError, match="once"):
        open_nnunet(dataset, ["2d", "2d"])


def test_an_ensemble_has_members_that_take_and_give_the_same(dataset, tmp_path):
    add(dataset, "2d")
    other = make_model_folder(tmp_path / "other", "regions", card=False)
    with pytest.raises(ModelError, match="cannot be averaged: their outputs"):
        Ensemble.of([dataset / f"{PREFIX}2d", other])
    with pytest.raises(ModelError, match="at least two"):
        Ensemble.of([other])


def test_a_cascade_says_which_folder_it_lacks(dataset):
    add(dataset, "3d_cascade_fullres")
    with pytest.raises(ModelError, match=f"no folder {PREFIX}3d_lowres beside it"):
        open_nnunet(dataset)


def test_a_cascade_is_opened_with_the_stage_before_it(dataset):
    add(dataset, "3d_lowres", "3d_cascade_fullres")
    model = open_nnunet(dataset)
    assert model.configuration_name == "3d_cascade_fullres"
    assert model.previous.configuration_name == "3d_lowres"
    assert len(model.weight_files) == 2
    before = model.checksum
    plans = dataset / f"{PREFIX}3d_lowres/plans.json"
    plans.write_text(plans.read_text() + "\n")
    assert open_nnunet(dataset).checksum != before


def test_a_stage_before_with_other_labels_is_refused(dataset):
    add(dataset, "3d_lowres", "3d_cascade_fullres")
    file = dataset / f"{PREFIX}3d_lowres/dataset.json"
    file.write_text(file.read_text().replace('"back"', '"rear"'))
    with pytest.raises(ModelError, match="labels.*back.*rear"):
        open_nnunet(dataset)


def test_a_cascade_without_end_is_refused(dataset):
    add(dataset, "3d_cascade_fullres")
    file = dataset / f"{PREFIX}3d_cascade_fullres/plans.json"
    file.write_text(file.read_text().replace('"3d_lowres"', '"3d_cascade_fullres"'))
    with pytest.raises(ModelError, match="previous_stage"):
        open_nnunet(dataset)


def test_the_fold_of_all_cases_is_used_alone_or_when_it_is_named(tmp_path):
    path = make_model_folder(tmp_path / "m", folds=2, card=False)
    (path / "fold_1").rename(path / "fold_all")
    assert ModelFolder.open(path).folds == ("0",)
    assert len(ModelFolder.open(path).load_networks("cpu", ["all"])[0]) == 1
    (path / "fold_0").rename(tmp_path / "elsewhere")
    assert ModelFolder.open(path).folds == ("all",)


def test_cascades_and_ensembles_are_added_with_all_their_folders(dataset, tmp_path):
    add(dataset, "2d", "3d_lowres", "3d_cascade_fullres")
    library = ModelLibrary(tmp_path / "bundled", tmp_path / "user")
    library.add(dataset)
    cascade = library.find("Dataset007_Brain")
    assert cascade.previous.configuration_name == "3d_lowres"
    assert not (tmp_path / "user/Dataset007_Brain" / f"{PREFIX}2d").exists()  # what it does not need stays behind
    library.remove("Dataset007_Brain")
    assert list(Path(library.user).iterdir()) == []
    choose(dataset, "2d", "3d_cascade_fullres", steps=keep_largest(1))
    library.add(dataset)
    ensemble = library.verify("Dataset007_Brain")
    assert ensemble.configuration_name == "2d + 3d_cascade_fullres"
    assert ensemble.postprocessing == Postprocessing(((1,),))
    assert library.find("Dataset007_Brain", ["2d"]).configuration_name == "2d"


def test_another_process_opens_the_same_model(dataset):
    add(dataset, "2d", "3d_lowres", "3d_cascade_fullres")
    choose(dataset, "2d", "3d_cascade_fullres", steps=keep_largest(1, 2))
    ensemble = open_nnunet(dataset)
    for model in (ensemble, *ensemble.members):
        again = open_address(json.loads(json.dumps(address_of(model))))
        assert (type(again), again.checksum) == (type(model), model.checksum)


def weights(path, change):
    file = path / "fold_0/checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, file)


def test_a_network_of_the_trainers_own_is_refused_by_the_trainers_name(tmp_path):
    path = make_model_folder(tmp_path / "m", card=False)

    def change(checkpoint):
        checkpoint["trainer_name"] = "STUNetTrainer_base"
        checkpoint["network_weights"] = {"conv_blocks_context.0.0.conv1.weight": torch.zeros(1)}

    weights(path, change)
    with pytest.raises(ModelError, match="do not fit plans.json.*STUNetTrainer_base"):
        ModelFolder.open(path).load_networks("cpu")


def test_a_network_that_is_no_unet_is_refused_by_its_name(tmp_path):
    path = make_model_folder(tmp_path / "m", card=False)
    name = "dynamic_network_architectures.architectures.primus.Primus"
    file = path / "plans.json"
    file.write_text(file.read_text().replace("dynamic_network_architectures.architectures.unet.PlainConvUNet", name))
    with pytest.raises(ModelError, match="primus.Primus.*PlainConvUNet, ResidualEncoderUNet, ResidualUNet only"):
        ModelFolder.open(path)


@pytest.mark.parametrize("reader", ["NaturalImage2DIO", "MyReader"])
def test_a_reader_that_gives_no_volumes_is_refused_by_its_name(tmp_path, reader):
    path = make_model_folder(tmp_path / "m", card=False)
    file = path / "plans.json"
    file.write_text(file.read_text().replace("SimpleITKIO", reader))
    with pytest.raises(ModelError, match=f"{reader}.*SimpleITKIO"):
        ModelFolder.open(path)
