"""Normalization and cropping, worked out by hand, and the way back."""

import json

import numpy as np
import pytest

from fixtures_models import make_model_folder
from MedSegAICore.errors import InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference.preprocessing import prepare_labels, preprocess
from MedSegAILib.models.plans import Configuration


@pytest.fixture
def configure(tmp_path):
    plans = json.loads((make_model_folder(tmp_path / "model") / "plans.json").read_text())

    def make(top=None, **changes):
        plans["configurations"]["3d_fullres"].update(changes)
        return Configuration.from_plans({**plans, **(top or {})}, "3d_fullres")

    return make


def image(array, spacing=(1, 1, 1)):
    return Image(array, Grid(array.shape[1:], np.diag([*spacing[::-1], 1])))


BLOCK = np.zeros((1, 6, 7, 8), np.int16)
BLOCK[0, 1:4, 2:6, 3:8] = np.random.default_rng(0).integers(50, 100, (3, 4, 5))
BLOCK[0, 2, 4, 5] = 0  # a hole inside
CONTENT = BLOCK[0, 1:4, 2:6, 3:8]


def test_the_crop_is_the_nonzero_box_and_restoring_puts_it_back(configure):
    array, placement = preprocess(image(BLOCK), configure(normalization_schemes=["NoNormalization"]))
    assert array.numpy()[0] == pytest.approx(CONTENT)
    assert np.array_equal(placement.restore(array.numpy())[0], BLOCK[0])


def test_z_score_of_the_crop_with_the_population_deviation(configure):
    array, _ = preprocess(image(BLOCK), configure())
    assert array.numpy()[0] == pytest.approx((CONTENT - CONTENT.mean()) / CONTENT.std(), abs=1e-5)


def test_z_score_within_the_mask_fills_its_holes_and_leaves_the_outside(configure):
    corner = BLOCK.copy()
    corner[0, 1, 2, 3:6] = 0  # outside of the mask, but inside its box
    array, _ = preprocess(image(corner), configure(use_mask_for_norm=[True]))
    inside = np.ones(CONTENT.shape, bool)
    inside[0, 0, :3] = False
    values = corner[0, 1:4, 2:6, 3:8][inside]
    assert array.numpy()[0][inside] == pytest.approx((values - values.mean()) / values.std(), abs=1e-5)
    assert not array.numpy()[0][~inside].any()


def test_ct_is_clipped_and_scaled_by_the_training_data(configure):
    known = {"0": {"mean": 70.0, "std": 10.0, "percentile_00_5": 60.0, "percentile_99_5": 80.0}}
    configuration = configure(
        {"foreground_intensity_properties_per_channel": known}, normalization_schemes=["CTNormalization"]
    )
    array, _ = preprocess(image(BLOCK), configuration)
    assert array.numpy()[0] == pytest.approx((CONTENT.clip(60, 80) - 70) / 10)


def test_rescaling_to_0_1_and_rgb(configure):
    array, _ = preprocess(image(BLOCK), configure(normalization_schemes=["RescaleTo01Normalization"]))
    assert array.numpy()[0] == pytest.approx(CONTENT / CONTENT.max(), abs=1e-6)
    array, _ = preprocess(image(BLOCK), configure(normalization_schemes=["RGBTo01Normalization"]))
    assert array.numpy()[0] == pytest.approx(CONTENT / 255, abs=1e-6)


def test_spacing_decides_the_prepared_shape(configure):
    array, placement = preprocess(image(BLOCK, (2, 1, 1)), configure())
    assert placement.cropped == (3, 4, 5)
    assert tuple(array.shape) == (1, 6, 4, 5)


def test_a_transposed_plan_turns_the_axes_and_restores_them(configure):
    configuration = configure(
        {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}, normalization_schemes=["NoNormalization"]
    )
    array, placement = preprocess(image(BLOCK), configuration)
    assert array.shape[1:] == (5, 3, 4)
    assert np.array_equal(placement.restore(array.numpy())[0], BLOCK[0])


def test_labels_follow_the_image_to_the_prepared_grid(configure):
    labels = (BLOCK[0] > 0).astype(np.uint8) * 2
    _, placement = preprocess(image(BLOCK, (2, 1, 1)), configure())
    prepared = prepare_labels(labels, placement, (0, 2))
    assert prepared.shape == (6, 4, 5)
    assert set(np.unique(prepared)) <= {0, 2}
    assert np.array_equal(prepared[0], prepared[1])  # both halves of the first slice, far from the hole
    _, same = preprocess(image(BLOCK), configure())
    assert np.array_equal(prepare_labels(labels, same, (0, 2)), labels[1:4, 2:6, 3:8])


def test_a_volume_of_zeros_is_refused(configure):
    with pytest.raises(InputError, match="zero everywhere"):
        preprocess(image(np.zeros((1, 4, 4, 4))), configure())


def test_the_volume_itself_is_left_as_it_was(configure):
    volume = image(np.random.default_rng(0).normal(100, 20, (1, 6, 7, 8)).astype(np.float32))
    before = volume.array.copy()
    preprocess(volume, configure())
    assert np.array_equal(volume.array, before)
