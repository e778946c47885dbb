"""STAPLE against expectation maximization voxel by voxel, as Warfield et al. 2004 write it, and against SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_shapes import box, sphere
from MedSegAICore.errors import InputError
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib.consensus import consensus
from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.staple import staple

SPACING = (3.0, 0.7, 0.7)


def noisy_spheres(n: int = 5, seed: int = 0) -> list[np.ndarray]:
    """Spheres of several sizes and places, with voxels of both kinds flipped at random."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(n):
        mask = sphere((14, 50, 60), SPACING, (21, 17, 21) + rng.normal(0, 1, 3), 11 + rng.normal(0, 1.5))
        masks.append(mask ^ (rng.random(mask.shape) < 0.01))
    return masks


def by_voxel(masks: list[np.ndarray], prior: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability of each voxel, sensitivities, specificities: plain products over observers until nothing moves."""
    marked = np.stack([mask.ravel() for mask in masks]).astype(float)
    prior = marked.mean() if prior is None else prior
    p = q = np.full((len(masks), 1), 0.99999)
    while True:
        inside = prior * (p**marked * (1 - p) ** (1 - marked)).prod(0)
        outside = (1 - prior) * (q ** (1 - marked) * (1 - q) ** marked).prod(0)
        w = inside / (inside + outside)
        before = p, q
        p = (marked @ w / w.sum())[:, None]
        q = ((1 - marked) @ (1 - w) / (1 - w).sum())[:, None]
        if max(np.abs(p - before[0]).max(), np.abs(q - before[1]).max()) < 1e-13:
            return w.reshape(masks[0].shape), p.ravel(), q.ravel()


def probability_of_voxels(observers, estimate) -> np.ndarray:
    full = np.zeros(observers.image_shape)
    box_values = np.vectorize(estimate.probability.get, otypes=[float])(observers.patterns)
    full[:] = estimate.probability.get(0, 0.0)
    full[observers.box] = box_values
    return full


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("prior", [None, 0.2])
def test_staple_equals_expectation_maximization_voxel_by_voxel(n, prior):
    masks = noisy_spheres(n)
    observers = ObserverMasks.of(masks, SPACING)
    found = staple(observers, "image", prior)
    probability, sensitivity, specificity = by_voxel(masks, prior)
    assert found.converged
    assert found.sensitivity == pytest.approx(sensitivity, abs=1e-9)
    assert found.specificity == pytest.approx(specificity, abs=1e-9)
    assert np.abs(probability_of_voxels(observers, found) - probability).max() < 1e-6
    assert (consensus(observers, "staple", region="image", prior=prior).full_mask() == (probability > 0.5)).all()


def test_staple_equals_simpleitk():
    masks = noisy_spheres()
    filter_ = sitk.STAPLEImageFilter()
    probability = sitk.GetArrayFromImage(filter_.Execute([sitk.GetImageFromArray(m.view(np.uint8)) for m in masks]))
    observers = ObserverMasks.of(masks, SPACING)
    found = staple(observers, "image")
    assert found.sensitivity == pytest.approx(filter_.GetSensitivity(), abs=1e-6)
    assert found.specificity == pytest.approx(filter_.GetSpecificity(), abs=1e-6)
    assert np.abs(probability_of_voxels(observers, found) - probability).max() < 1e-6


@pytest.mark.parametrize("case", ["nodule_02", "nodule_07", "nodule_24"])
def test_staple_of_four_radiologists_equals_simpleitk(shared_data, case):
    folder = shared_data(f"lidc_observers/{case}")
    maps = [read_label_map(folder / f"observer_{n}.nrrd") for n in range(1, 5)]
    masks = [label_map.array > 0 for label_map in maps]
    filter_ = sitk.STAPLEImageFilter()
    filter_.Execute([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks])
    found = staple(ObserverMasks.of(masks, maps[0].grid.spacing_kji), "image")
    assert found.sensitivity == pytest.approx(filter_.GetSensitivity(), abs=1e-6)
    assert found.specificity == pytest.approx(filter_.GetSpecificity(), abs=1e-6)


def test_the_region_is_the_box_of_all_masks_and_its_margin():
    masks = [np.pad(mask[:, 15:25, 20:35], ((6, 6), (17, 17), (17, 17))) for mask in noisy_spheres(3)]
    observers = ObserverMasks.of(masks, SPACING)
    first = observers.start
    near = [mask[tuple(slice(f, f + n) for f, n in zip(first, observers.shape, strict=True))] for mask in masks]
    # 10 mm are 4 voxels of 3 mm and 15 of 0.7 mm.
    grown = [
        mask[tuple(slice(f - m, f + n + m) for f, n, m in zip(first, observers.shape, (4, 15, 15), strict=True))]
        for mask in masks
    ]
    for region, cropped in (("union+0mm", near), ("union+10mm", grown), ("image", masks)):
        found = staple(observers, region)
        assert found.sensitivity == pytest.approx(by_voxel(cropped)[1], abs=1e-9)
        assert found.region == region


def test_it_is_said_when_the_region_decides_about_the_volume():
    """Five observers, of whom the boldest marks three times what the most careful does."""
    radii = (10, 11, 12, 13, 14.5)
    masks = [sphere((40, 40, 40), (1, 1, 1), (20, 20, 20), radius) for radius in radii]
    observers = ObserverMasks.of([np.pad(mask, 40) for mask in masks], (1, 1, 1))
    volumes = {region: consensus(observers, "staple", region=region).volume_ml for region in ("union+0mm", "image")}
    assert volumes["image"] > 1.1 * volumes["union+0mm"]
    notes = staple(observers, "union+0mm").notes
    assert any("depends on the region" in note and "in the region image" in note for note in notes)


def test_observers_who_agree_in_all_are_right_in_all():
    mask = sphere((20, 20, 20), (1, 1, 1), (10, 10, 10), 6)
    found = consensus(ObserverMasks.of([mask] * 3, (1, 1, 1)), "staple")
    assert (found.full_mask() == mask).all()
    assert found.staple.sensitivity == pytest.approx((1, 1, 1))
    assert found.staple.specificity == pytest.approx((1, 1, 1))


def test_if_nobody_marked_anything_the_estimate_is_empty_and_nobody_has_a_sensitivity():
    empty = np.zeros((5, 6, 7), bool)
    for region in ("union+10mm", "image"):
        found = consensus(ObserverMasks.of([empty] * 3, (1, 1, 1)), "staple", region=region)
        assert not found.full_mask().any()
        assert all(math.isnan(value) for value in found.staple.sensitivity)


def test_if_all_fill_the_region_so_does_the_estimate_and_nobody_has_a_specificity():
    mask = box((5, 6, 7), (1, 1, 1), (4, 4, 4))
    found = consensus(ObserverMasks.of([mask] * 3, (1, 1, 1)), "staple", region="union+0mm")
    assert (found.full_mask() == mask).all()
    assert found.staple.sensitivity == (1, 1, 1)
    assert all(math.isnan(value) for value in found.staple.specificity)


def test_an_observer_who_marks_nothing_has_no_sensitivity_but_is_specific():
    mask = sphere((20, 20, 20), (1, 1, 1), (10, 10, 10), 6)
    found = consensus(ObserverMasks.of([mask, mask, mask, np.zeros_like(mask)], (1, 1, 1)), "staple", region="image")
    assert (found.full_mask() == mask).all()
    assert found.staple.sensitivity == pytest.approx((1, 1, 1, 0), abs=1e-6)
    assert found.staple.specificity == pytest.approx((1, 1, 1, 1), abs=1e-6)
    assert any("observer 4 did no better than chance" in note for note in found.notes)


def test_two_observers_do_not_determine_the_estimate_and_it_is_said():
    masks = [sphere((20, 20, 20), (1, 1, 1), (10, 10, 10), radius) for radius in (6, 8)]
    assert any("Two observers" in note for note in staple(ObserverMasks.of(masks, (1, 1, 1))).notes)


def test_it_is_said_if_the_iterations_did_not_suffice():
    found = staple(ObserverMasks.of(noisy_spheres(), SPACING), max_iterations=2)
    assert (found.iterations, found.converged) == (2, False)
    assert any("2 iterations" in note for note in found.notes)


def test_a_prior_that_makes_everything_foreground_fills_no_image():
    masks = noisy_spheres(2)
    observers = ObserverMasks.of(masks, SPACING)
    found = consensus(observers, "staple", prior=1 - 1e-12)
    assert not (found.mask & (observers.votes == 0)).any()


@pytest.mark.parametrize("settings", [{"prior": 0.0}, {"prior": 1.5}, {"max_iterations": 0}, {"region": "all"}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(InputError):
        staple(ObserverMasks.of(noisy_spheres(2), SPACING), **settings)
