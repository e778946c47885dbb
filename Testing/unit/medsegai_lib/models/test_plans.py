"""Plans of nnU-Net in every layout, and refusals that name what is not supported."""

import copy
import json

import pytest

from fixtures_models import make_model_folder
from MedSegAICore.errors import ModelError
from MedSegAILib.models.architecture import build_network
from MedSegAILib.models.plans import KEEP, LINEAR, SPLINE, Configuration


@pytest.fixture
def plans(tmp_path):
    return json.loads((make_model_folder(tmp_path / "model") / "plans.json").read_text())


OLD = {
    "patch_size": [16, 16, 16],
    "spacing": [1, 1, 1],
    "normalization_schemes": ["CTNormalization"],
    "use_mask_for_norm": [False],
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 6,
    "unet_max_num_features": 16,
    "n_conv_per_stage_encoder": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "conv_kernel_sizes": [[3, 3, 3]] * 3,
}


def test_the_layout_since_2_4(plans):
    configuration = Configuration.from_plans(plans, "3d_fullres")
    assert configuration.patch_size == (16, 24, 16)
    assert configuration.data_resampling.kind == SPLINE
    assert (configuration.data_resampling.order, configuration.logits_resampling.order) == (3, 1)


def test_the_layout_before_2_4_is_built_with_capped_features():
    torch = pytest.importorskip("torch")
    intensities = {"mean": 5, "std": 2, "percentile_00_5": 0, "percentile_99_5": 9}
    old = {"configurations": {"3d_fullres": OLD}, "foreground_intensity_properties_by_modality": {"0": intensities}}
    configuration = Configuration.from_plans(old, "3d_fullres")
    assert configuration.architecture["arch_kwargs"]["features_per_stage"] == [6, 12, 16]
    assert configuration.intensities["0"]["mean"] == 5
    network = build_network(configuration.architecture, 1, 2)
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_inheritance_is_resolved_over_several_steps(plans):
    plans["configurations"]["a"] = {"inherits_from": "3d_fullres", "spacing": [2, 2, 2]}
    plans["configurations"]["b"] = {"inherits_from": "a", "patch_size": [8, 8, 8]}
    configuration = Configuration.from_plans(plans, "b")
    assert configuration.spacing == (2, 2, 2)
    assert configuration.patch_size == (8, 8, 8)
    assert configuration.architecture["arch_kwargs"]["n_stages"] == 2


@pytest.mark.parametrize(
    ("name", "kind"), [("resample_torch_fornnunet", LINEAR), ("no_resampling_data_or_seg_to_shape", KEEP)]
)
def test_other_resamplers_of_nnunet_are_known(plans, name, kind):
    plans["configurations"]["3d_fullres"]["resampling_fn_data"] = name
    assert Configuration.from_plans(plans, "3d_fullres").data_resampling.kind == kind


def changed(plans, **changes):
    plans = copy.deepcopy(plans)
    plans["configurations"]["3d_fullres"].update(changes)
    return plans


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inherits_from": "3d_fullres"}, "damaged.*inherits"),
        ({"inherits_from": "nowhere"}, "damaged.*nowhere"),
        ({"previous_stage": "3d_fullres"}, "previous_stage of 3d_fullres is '3d_fullres'"),
        ({"preprocessor_name": "MyPreprocessor"}, "MyPreprocessor.*DefaultPreprocessor"),
        ({"resampling_fn_seg": "my_resampling"}, "my_resampling"),
        ({"normalization_schemes": ["MyNormalization"]}, "MyNormalization.*ZScore"),
        ({"resampling_fn_data": "my_resampling"}, "my_resampling"),
        ({"patch_size": None}, "damaged"),
    ],
)
def test_what_is_not_supported_is_named(plans, changes, message):
    with pytest.raises(ModelError, match=message):
        Configuration.from_plans(changed(plans, **changes), "3d_fullres")


def test_an_unknown_configuration_is_answered_with_the_known_ones(plans):
    with pytest.raises(ModelError, match="'2d'.*3d_fullres"):
        Configuration.from_plans(plans, "2d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network_class_name": "dynamic_network_architectures.architectures.primus.Primus"}, "primus.Primus"),
        ({"network_class_name": "os.system"}, "os.system"),
        ({"arch_kwargs": {"norm_op": "torch.nn.GroupNorm"}}, "GroupNorm"),
        ({"arch_kwargs": {"conv_op": "os.system"}}, "os.system"),
        ({"arch_kwargs": {"squeeze_excitation": True}}, "squeeze_excitation"),
        ({"arch_kwargs": {"features_per_stage": None}}, "incomplete"),
    ],
)
def test_networks_and_layers_that_are_unknown_are_refused_by_name(plans, change, message):
    architecture = copy.deepcopy(plans["configurations"]["3d_fullres"]["architecture"])
    if "arch_kwargs" in change:
        architecture["arch_kwargs"].update(change["arch_kwargs"])
    else:
        architecture.update(change)
    with pytest.raises(ModelError, match=message):
        build_network(architecture, 1, 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch_size", []),
        ("patch_size", [8]),
        ("patch_size", [0, 8, 8]),
        ("patch_size", [8, 8, -8]),
        ("spacing", [1, 1]),
        ("spacing", [0, 1, 1]),
        ("spacing", [float("nan"), 1, 1]),
        ("normalization_schemes", []),
        ("normalization_schemes", None),
        ("use_mask_for_norm", []),
        ("resampling_fn_data_kwargs", "x"),
        ("resampling_fn_data_kwargs", {"order": 9}),
        ("architecture", 5),
        ("normalization_schemes", ["CTNormalization"]),  # and nothing says which intensities
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_before_anything_runs(plans, key, value):
    with pytest.raises(ModelError, match="damaged"):
        Configuration.from_plans(changed(plans, **{key: value}), "3d_fullres")


@pytest.mark.parametrize("transpose", [{"transpose_forward": [0, 0, 1]}, {"transpose_backward": [2, 1, 0]}])
def test_transposes_must_be_permutations_that_undo_each_other(plans, transpose):
    with pytest.raises(ModelError, match="damaged"):
        Configuration.from_plans({**plans, **transpose}, "3d_fullres")


@pytest.mark.parametrize("entry", [5, "x", None, [1]])
def test_a_configuration_that_is_no_object_is_refused(plans, entry):
    with pytest.raises(ModelError, match="3d_fullres"):
        Configuration.from_plans({**plans, "configurations": {"3d_fullres": entry}}, "3d_fullres")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("strides", [[1, 1, 1], [0, 2, 2]]),
        ("strides", [[1, 1, 1], [2, 2]]),
        ("kernel_sizes", [[3, 3, 3], [-3, 3, 3]]),
        ("kernel_sizes", None),
        ("features_per_stage", [-1, 12]),
        ("n_conv_per_stage_decoder", []),
        ("norm_op_kwargs", "x"),
    ],
)
def test_a_damaged_description_of_the_network_is_refused(plans, key, value):
    architecture = copy.deepcopy(plans["configurations"]["3d_fullres"]["architecture"])
    architecture["arch_kwargs"][key] = value
    with pytest.raises(ModelError, match="damaged"):
        build_network(architecture, 1, 2)
    with pytest.raises(ModelError):
        build_network({**architecture, "arch_kwargs": 5}, 1, 2)
