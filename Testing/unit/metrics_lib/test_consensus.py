"""The consensus of observers on boxes whose votes and distances are known, and of radiologists against SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from fixtures_shapes import ANISOTROPIC, box, sphere
from MedSegAICore.errors import InputError
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib.consensus import METHODS, consensus, leave_one_out
from MedSegAIMetricsLib.observer_masks import ObserverMasks

SHAPE = (12, 14, 40)
NODULES = ["nodule_02", "nodule_07", "nodule_24"]


def slab(end: int, first: int = 4) -> np.ndarray:
    """Fills the image across K and J, from ``first`` to just before ``end`` along I."""
    return box(SHAPE, (0, 0, first), (12, 14, end))


def of_slabs(*ends: int, spacing_mm=(1.0, 1.0, 1.0)) -> ObserverMasks:
    return ObserverMasks.of([slab(end) for end in ends], spacing_mm)


def radiologists(shared_data, case: str) -> ObserverMasks:
    maps = [read_label_map(shared_data(f"lidc_observers/{case}") / f"observer_{n}.nrrd") for n in range(1, 5)]
    return ObserverMasks.of([label_map.array > 0 for label_map in maps], maps[0].grid.spacing_kji)


def test_majority_of_three_is_what_two_marked():
    found = consensus(of_slabs(8, 10, 15))
    assert (found.full_mask() == slab(10)).all()
    assert (found.tied, found.volume_ml) == (0, pytest.approx(12 * 14 * 6 / 1000))


def test_half_of_the_votes_go_where_the_rule_says():
    background, foreground = (consensus(of_slabs(8, 9, 12, 15), ties=ties) for ties in ("background", "foreground"))
    assert (background.full_mask() == slab(9)).all()
    assert (foreground.full_mask() == slab(12)).all()
    assert background.tied == foreground.tied == 12 * 14 * 3


@pytest.mark.parametrize("case", NODULES)
def test_majority_of_four_radiologists_is_that_of_simpleitk(shared_data, case):
    observers = radiologists(shared_data, case)
    voting = sitk.LabelVotingImageFilter()
    voting.SetLabelForUndecidedPixels(9)
    images = [sitk.GetImageFromArray(observers.on_image(mask).astype(np.uint8)) for mask in observers.masks]
    expected = sitk.GetArrayFromImage(voting.Execute(images))
    assert (consensus(observers).full_mask() == (expected == 1)).all()
    assert consensus(observers).tied == np.count_nonzero(expected == 9)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 0.7, 2.5)])
def test_mean_shape_of_slabs_ends_at_the_mean_of_their_ends(spacing_mm):
    """In the middle of the faces: distances are linear there, as long as the sides and the near face are farther."""
    wide = [np.pad(slab(end, first=0), ((12, 12), (14, 14), (20, 1)), mode="edge") for end in (18, 19, 20, 27)]
    found = consensus(ObserverMasks.of(wide, spacing_mm), "shape")
    assert np.flatnonzero(found.full_mask()[18, 21])[-1] == 20 + 21 - 1  # the mean is 21; majority would end at 19


def test_mean_distance_0_goes_where_the_rule_says():
    """Two slabs that end an odd number of voxels apart: the middle voxel's center is as far outside as inside."""
    wide = [np.pad(slab(end, first=0), ((12, 12), (14, 14), (20, 1)), mode="edge") for end in (18, 21)]
    observers = ObserverMasks.of(wide, (1.0, 1.0, 0.7))
    ends = [
        np.flatnonzero(consensus(observers, "shape", ties=ties).full_mask()[18, 21])[-1] + 1 - 20
        for ties in ("background", "foreground")
    ]
    assert ends == [19, 20]
    assert consensus(observers, "shape").tied > 0


def test_mean_shape_of_concentric_spheres_has_the_mean_radius():
    masks = [sphere((30, 90, 90), ANISOTROPIC, (45, 31.5, 31.5), radius) for radius in (14, 16, 18, 24)]
    found = consensus(ObserverMasks.of(masks, ANISOTROPIC), "shape")
    radius = (found.volume_ml * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    assert radius == pytest.approx(18, abs=0.15)  # majority has 16, or 18 if ties are foreground
    center = ndimage.center_of_mass(found.full_mask())
    assert (np.array(center) + 0.5) * ANISOTROPIC == pytest.approx([45, 31.5, 31.5], abs=0.05)


@pytest.mark.parametrize("case", NODULES)
def test_mean_shape_of_radiologists_is_that_of_their_whole_distance_maps(shared_data, case):
    observers = radiologists(shared_data, case)
    total = 0
    for mask in observers.masks:
        padded = np.pad(mask, 1)
        total = total + _to_boxes(~padded, observers.spacing_mm) - _to_boxes(padded, observers.spacing_mm)
    level = total[1:-1, 1:-1, 1:-1] / 4
    found = consensus(observers, "shape")
    clear = np.abs(level) > 1e-4
    assert (found.mask == (level < 0))[clear].all()
    assert found.tied == np.count_nonzero(~clear)
    assert (consensus(observers, "shape", ties="foreground").mask == (level < 1e-4)).all()


def _to_boxes(mask: np.ndarray, spacing_mm) -> np.ndarray:
    """From each voxel of the mask to the nearest box of a voxel outside it, by looking at all of them."""
    result = np.zeros(mask.shape)
    near = np.argwhere(~mask & ndimage.binary_dilation(mask, np.ones((3, 3, 3))))
    for voxel in np.argwhere(mask):
        gaps = np.maximum(np.abs(near - voxel) - 0.5, 0) * spacing_mm
        result[tuple(voxel)] = np.sqrt((gaps**2).sum(1).min())
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", ["background", "foreground"])
def test_observers_who_agree_are_their_own_consensus(method, ties):
    mask = sphere((16, 20, 22), (2, 1, 1), (16, 10, 11), 8)
    assert (consensus(ObserverMasks.of([mask, mask], (2, 1, 1)), method, ties).full_mask() == mask).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ties", ["background", "foreground"])
def test_if_nobody_marked_anything_the_consensus_is_empty(method, ties):
    empty = np.zeros((4, 5, 6), bool)
    found = consensus(ObserverMasks.of([empty, empty], (1, 1, 1)), method, ties)
    assert found.full_mask().shape == (4, 5, 6)
    assert not found.full_mask().any()
    assert (found.volume_ml, found.tied) == (0, 0)


@pytest.mark.parametrize(
    ("n_empty", "ties", "expected"),
    [(1, "background", 9), (2, "foreground", 9), (2, "background", 0), (3, "foreground", 0)],
)
def test_the_mean_shape_is_there_if_more_than_half_drew_one(n_empty, ties, expected):
    drawn = [slab(9)] * (4 - n_empty)
    found = consensus(ObserverMasks.of([*drawn, *[slab(4)] * n_empty], (1, 1, 1)), "shape", ties)
    assert (found.full_mask() == slab(expected or 4)).all()
    assert f"{n_empty} of 4 observers marked nothing" in found.notes[0]


@pytest.mark.parametrize("method", METHODS)
def test_each_observer_is_left_out_of_the_consensus_of_the_others(method):
    observers = of_slabs(8, 10, 15, 16)
    found = list(leave_one_out(observers, method))
    for number, others in enumerate(found):
        alone = [slab(end) for n, end in enumerate((8, 10, 15, 16)) if n != number]
        expected = consensus(ObserverMasks.of(alone, (1, 1, 1)), method)
        assert (others.full_mask() == expected.full_mask()).all()
    if method == "majority":
        assert [np.count_nonzero(other.full_mask()[0, 0]) + 4 for other in found] == [15, 15, 10, 10]


def test_two_observers_have_no_consensus_of_the_others():
    with pytest.raises(InputError, match="at least three"):
        leave_one_out(of_slabs(8, 10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "mean"}, "majority, staple, shape"),
        ({"ties": "random"}, "background or the foreground"),
        ({"method": "shape", "prior": 0.5}, "no settings"),
    ],
)
def test_rules_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        consensus(of_slabs(8, 10), **arguments)
