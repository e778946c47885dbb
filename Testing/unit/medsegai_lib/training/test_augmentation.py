"""Augmentation moves image and label together and leaves them alone where it should."""

import numpy as np
import pytest
import torch

from MedSegAILib.training.augmentation import Augmentation, change_intensities, sample_patch

NONE = Augmentation.named("none")


def blob(shape=(20, 24, 28)):
    """An image that equals its own mask, so that any disagreement after a move is an error of the move."""
    k, j, i = np.indices(shape)
    mask = ((k - 9) / 5) ** 2 + ((j - 11) / 7) ** 2 + ((i - 13) / 6) ** 2 <= 1
    target = torch.from_numpy(np.stack([~mask, mask]).astype(np.float32))
    return target[1:].clone(), target


def draw(augmentation, seed=0, patch=(16, 16, 16), center=(9.5, 11.5, 13.5), spacing=(1, 1, 1)):
    return sample_patch(*blob(), center, patch, spacing, augmentation, np.random.default_rng(seed))


def test_without_augmentation_the_patch_is_a_plain_crop():
    image, target = blob()
    patch, patch_target = draw(NONE)
    assert torch.allclose(patch, image[:, 2:18, 4:20, 6:22], atol=1e-5)
    assert torch.allclose(patch_target, target[:, 2:18, 4:20, 6:22], atol=1e-5)


def test_outside_the_volume_the_image_is_zero_and_the_target_background():
    patch, target = draw(NONE, center=(-0.5, 11.5, 13.5))
    assert float(patch[:, :8].abs().max()) == 0
    assert float(target[0, :8].min()) == 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.5, 1, 0.8)])
def test_image_and_label_move_together(seed, spacing):
    moving = Augmentation(
        rotation=1, scaling=1, elastic=1, mirror_axes=(0, 1, 2), noise=0, blur=0, brightness=0, contrast=0,
        low_resolution=0, gamma=0, gamma_inverted=0,
    )  # fmt: skip
    image, target = draw(moving, seed, spacing=spacing)
    plain, _ = draw(NONE, spacing=spacing)
    assert not torch.allclose(image, plain, atol=0.1)
    # Both were interpolated at the same places: thresholding the image must give the label.
    assert torch.equal(image[0] > 0.5, target[1] > 0.5)
    assert torch.equal(target.sum(0), torch.ones_like(target[0]))


def test_scaling_by_half_an_octave_changes_the_volume_by_its_cube():
    zoom = Augmentation(rotation=0, scaling=1, scaling_range=(1.25, 1.25), elastic=0, noise=0, blur=0, brightness=0,
                        contrast=0, low_resolution=0, gamma=0, gamma_inverted=0)  # fmt: skip
    _, bigger = draw(zoom, patch=(18, 22, 26))
    _, same = draw(NONE, patch=(18, 22, 26))
    assert float(bigger[1].sum() / same[1].sum()) == pytest.approx(1.25**3, rel=0.08)


def test_a_slice_is_only_turned_in_its_plane():
    """With a patch one slice thick, a rotation must not reach into other slices."""
    turning = Augmentation(rotation=1, rotation_degrees=45, scaling=0, elastic=1, noise=0, blur=0, brightness=0,
                           contrast=0, low_resolution=0, gamma=0, gamma_inverted=0)  # fmt: skip
    image = torch.arange(20, dtype=torch.float32).view(1, 20, 1, 1).expand(1, 20, 24, 28).contiguous()
    target = torch.stack([torch.ones(20, 24, 28), torch.zeros(20, 24, 28)])
    patch, _ = sample_patch(image, target, (7, 11.5, 13.5), (1, 8, 8), (1, 1, 1), turning, np.random.default_rng(0))
    assert torch.allclose(patch, torch.full_like(patch, 7), atol=1e-4)


def test_intensity_changes_keep_the_shape_and_touch_only_the_image():
    always = Augmentation(noise=1, blur=1, brightness=1, contrast=1, low_resolution=1, gamma=1, gamma_inverted=1)
    image = torch.randn(2, 9, 10, 11)
    changed = change_intensities(image.clone(), always, np.random.default_rng(1))
    assert changed.shape == image.shape
    assert torch.isfinite(changed).all()
    assert not torch.allclose(changed, image)


def test_blur_keeps_a_constant_and_spreads_a_point_with_unit_sum():
    blur = Augmentation(rotation=0, scaling=0, elastic=0, noise=0, blur=1, blur_sigma=(1, 1), brightness=0, contrast=0,
                        low_resolution=0, gamma=0, gamma_inverted=0)  # fmt: skip
    random = np.random.default_rng(0)
    assert torch.allclose(change_intensities(torch.full((1, 9, 9, 9), 3.0), blur, random), torch.tensor(3.0))
    point = torch.zeros(1, 9, 9, 9)
    point[0, 4, 4, 4] = 1
    spread = change_intensities(point, blur, random)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    # Center of a discrete Gaussian of sigma 1, radius 3, cubed
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    assert float(spread[0, 4, 4, 4]) == pytest.approx((weights[3] / weights.sum()) ** 3, rel=1e-5)


def test_gamma_keeps_mean_and_standard_deviation():
    gamma = Augmentation(rotation=0, scaling=0, elastic=0, noise=0, blur=0, brightness=0, contrast=0,
                         low_resolution=0, gamma=1, gamma_inverted=0)  # fmt: skip
    image = torch.randn(1, 12, 12, 12) * 3 + 5
    changed = change_intensities(image, gamma, np.random.default_rng(3))
    assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-3)
    assert float(changed.std()) == pytest.approx(float(image.std()), abs=1e-3)


def test_the_same_seed_gives_the_same_patch():
    first, second = draw(Augmentation(), seed=5), draw(Augmentation(), seed=5)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
