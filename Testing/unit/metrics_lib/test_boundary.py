"""Boundary IoU, against shells that are counted by hand; depths run from center to center."""

import math

import numpy as np
import pytest

from MedSegAIMetricsLib import compare


def boundary_iou(reference: np.ndarray, test: np.ndarray, spacing_mm, *distances: float) -> list[float]:
    measures = [f"boundary_iou_{distance:g}mm" for distance in distances]
    found = compare(reference, test, spacing_mm, labels=[1], measures=measures)[1]
    return [found[measure] for measure in measures]


def line(text: str) -> np.ndarray:
    """A row of voxels, so thick in the other axes that only the row's ends count."""
    row = np.array([letter != "." for letter in text])
    return np.broadcast_to(row, (9, 9, len(text)))


WIDE = (50, 50, 1)  # mm: the border of the image is far but along the row


def test_shells_of_one_and_two_millimeters_of_two_rows():
    reference, test = line("..aaaaaaaa.."), line("...aaaaaaaa.")
    # 1 mm: voxels 2, 9 and 3, 10: nothing in common. 2 mm: 2, 3, 8, 9 and 3, 4, 9, 10: 3 and 9 of six in all.
    assert boundary_iou(reference, test, WIDE, 1, 2) == [0, 2 / 6]


def test_a_shell_as_deep_as_the_mask_is_the_jaccard():
    reference, test = line("..aaaaaaaa.."), line("...aaaaaaaa.")
    assert boundary_iou(reference, test, WIDE, 100) == [7 / 9]


def test_the_shells_of_a_cube_and_of_the_cube_inside_it():
    reference, test = np.zeros((2, 7, 7, 7), bool)
    reference[1:6, 1:6, 1:6] = True
    test[2:5, 2:5, 2:5] = True
    # 1 mm: 125 - 27 = 98 and 27 - 1 = 26 voxels, nothing in common. 2 mm: 125 - 1 and 27 with the center: 26 in common.
    assert boundary_iou(reference, test, (1, 1, 1), 1, 2, 3) == [0, 26 / 125, 27 / 125]


def test_depth_is_in_millimeters_along_each_axis():
    mask = np.zeros((7, 9, 9), bool)
    mask[1:6, 2:7, 2:7] = True
    smaller = mask.copy()
    smaller[1] = False
    # Within 1 mm, slices of 5 mm have only their rim in the shell: 25 - 9 = 16 voxels, in 5 slices and in 4.
    # Within 5 mm the 9 inside belong to it if they are in an outer slice; but with rows of 1 mm all are within 3 mm.
    assert boundary_iou(mask, smaller, (5, 1, 1), 1) == [4 * 16 / (5 * 16)]
    assert boundary_iou(mask, smaller, (5, 1, 1), 5) == [4 * 25 / (5 * 25)]


def test_what_lies_outside_the_image_is_outside_the_mask():
    full = np.ones((5, 5, 5), bool)
    hollow = full.copy()
    hollow[2, 2, 2] = False
    # Full: 125 - 27 = 98 voxels within 1 mm. Hollow: these and the 6 around the hole.
    assert boundary_iou(full, hollow, (1, 1, 1), 1) == [98 / 104]


def test_a_tolerance_that_equals_a_depth_includes_it():
    reference, test = line("..aaaaaaaa.."), line("...aaaaaaaa.")
    assert boundary_iou(reference, test, (50, 50, 0.7), 1.4) == [2 / 6]


def test_no_voxel_near_its_surface_gives_no_value_and_a_reason():
    mask = line("..aaaa..")
    found = compare(mask, mask, (5, 5, 5), measures=["boundary_iou_2mm"])
    assert math.isnan(found[1]["boundary_iou_2mm"])
    assert found.reasons[1] == {"boundary_iou_2mm": "no voxel is within the distance of its mask's surface"}


def test_empty_masks_follow_the_convention():
    mask = line("..aa..")
    assert boundary_iou(mask & False, mask & False, (1, 1, 1), 1) == [1]
    assert boundary_iou(mask & False, mask, (1, 1, 1), 1) == [0]
    assert boundary_iou(mask, mask & False, (1, 1, 1), 1) == [0]


def test_it_is_only_computed_on_request_for_every_tolerance():
    mask = line("..aaaa..")
    assert not [name for name in compare(mask, mask, WIDE, measures=["overlap"])[1] if "boundary" in name]
    found = compare(mask, mask, WIDE, measures=["boundary_iou"], tolerances_mm=(1, 1.5))[1]
    assert found == pytest.approx({"boundary_iou_1mm": 1, "boundary_iou_1.5mm": 1})
