"""The plan follows nnU-Net's rules for small and large, isotropic and anisotropic data."""

import numpy as np
import pytest

from MedSegAICore.errors import TrainingError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.training.planning import Fingerprint, initial_patch, make_plans, plan_pooling, target_spacing

DESCRIPTION = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1}}


def case(shape, spacing, nonzero_fraction=1.0):
    return Fingerprint(shape, spacing, nonzero_fraction, (np.array([1.0, 2.0, 3.0]),))


def test_hippocampus_gets_nnunets_own_patch_and_depth():
    """nnU-Net's plan for Task04: patch 40 x 56 x 40, pooled 3 times along each axis."""
    plans = make_plans("Hippocampus", [case((36, 50, 35), (1, 1, 1))] * 200, DESCRIPTION)
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == [40, 56, 40]
    assert np.prod(configuration["architecture"]["arch_kwargs"]["strides"], axis=0).tolist() == [8, 8, 8]
    assert configuration["architecture"]["arch_kwargs"]["features_per_stage"] == [32, 64, 128, 256]


def test_a_large_ct_is_cut_into_patches_within_the_bound():
    plans = make_plans("CT", [case((400, 512, 512), (1.5, 0.8, 0.8))] * 10, DESCRIPTION)
    patch = plans["configurations"]["3d_fullres"]["patch_size"]
    assert np.prod(patch) <= 1.35 * 128**3  # rounding up to the strides may add some
    assert min(patch) >= 64
    # nearly isotropic in mm: no axis covers more than twice another
    extent = np.array(patch) * plans["configurations"]["3d_fullres"]["spacing"]
    assert extent.max() / extent.min() < 2


def test_a_coarse_axis_is_neither_pooled_nor_convolved_until_the_others_caught_up():
    strides, kernels, patch = plan_pooling((20, 256, 256), (6.0, 1.0, 1.0))
    assert strides[1] == [1, 2, 2]
    assert kernels[0] == [1, 3, 3]
    assert kernels[-1] == [3, 3, 3]
    assert all(n % d == 0 for n, d in zip(patch, np.prod(strides, axis=0), strict=True))


def test_target_spacing_is_the_median_but_finer_along_a_coarse_axis():
    mixed = [case((20, 300, 300), (z, 0.7, 0.7)) for z in (3.0, 5.0, 6.0, 6.0, 6.5)]
    assert target_spacing(mixed)[1:] == pytest.approx([0.7, 0.7])
    assert target_spacing(mixed)[0] == pytest.approx(np.percentile([3.0, 5.0, 6.0, 6.0, 6.5], 10))
    assert target_spacing([case((100, 100, 100), (1, 1, 1)), case((50, 50, 50), (2, 2, 2))]) == pytest.approx([1.5] * 3)


def test_patch_never_exceeds_the_median_case():
    assert initial_patch((36, 50, 35), (1, 1, 1), 128**3).tolist() == [36, 50, 35]
    assert initial_patch((500, 20, 500), (1, 1, 1), 64**3)[1] == 20


def test_normalization_follows_the_channel_name():
    description = {"channel_names": {"0": "CT", "1": "T2"}, "labels": {"background": 0, "organ": 1}}
    two = Fingerprint((50, 50, 50), (1, 1, 1), 1.0, (np.arange(100.0), np.arange(100.0)))
    configuration = make_plans("Both", [two], description)["configurations"]["3d_fullres"]
    assert configuration["normalization_schemes"] == ["CTNormalization", "ZScoreNormalization"]


def test_brain_extracted_images_are_normalized_within_their_mask():
    configuration = make_plans("Brain", [case((90, 90, 90), (1, 1, 1), 0.5)], DESCRIPTION)["configurations"]
    assert configuration["3d_fullres"]["use_mask_for_norm"] == [True]


def test_a_2d_plan_has_the_in_plane_axes_only():
    configuration = make_plans("Slices", [case((22, 320, 280), (6.5, 0.7, 0.7))], DESCRIPTION, dimensions=2)
    plan = configuration["configurations"]["2d"]
    assert len(plan["patch_size"]) == len(plan["spacing"]) == 2
    assert plan["architecture"]["arch_kwargs"]["conv_op"].endswith("Conv2d")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_plan_can_be_built_and_run(residual, dimensions):
    import torch

    from MedSegAILib.models.architecture import build_network

    plans = make_plans(
        "Any", [case((17, 60, 44), (3.5, 1, 1))], DESCRIPTION,
        dimensions=dimensions, base_features=4, residual=residual,
    )  # fmt: skip
    plan = next(iter(plans["configurations"].values()))
    network = build_network(plan["architecture"], 1, 2)
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *plan["patch_size"])).shape == (1, 2, *plan["patch_size"])


def test_fingerprint_measures_the_nonzero_box_and_the_foreground():
    array = np.zeros((1, 10, 12, 14), np.float32)
    array[0, 2:8, 3:9, 4:10] = 5
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[4:6, 4:6, 4:6] = 1
    fingerprint = Fingerprint.of(Image(array, Grid((10, 12, 14), np.eye(4))), labels, np.random.default_rng(0))
    assert fingerprint.shape == (6, 6, 6)
    assert fingerprint.nonzero_fraction == pytest.approx(216 / 1680)
    assert fingerprint.foreground[0].tolist() == [5] * 8


def test_an_empty_data_set_and_a_wrong_patch_are_refused():
    with pytest.raises(TrainingError, match="without cases"):
        make_plans("None", [], DESCRIPTION)
    with pytest.raises(TrainingError, match="3 extents"):
        make_plans("Any", [case((9, 9, 9), (1, 1, 1))], DESCRIPTION, patch_size=(8, 8))
