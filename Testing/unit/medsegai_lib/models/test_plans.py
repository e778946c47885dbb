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
    old = {"configurations": {"3d_fullres": OLD}, "foreground_intensity_properties_by_modality": {"0": {"mean": 5}}}
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
        ({"previous_stage": "3d_lowres"}, "cascade.*3d_lowres"),
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
