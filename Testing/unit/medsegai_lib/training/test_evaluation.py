"""Scores and their summary, against numbers worked out by hand."""

import csv
import math

import numpy as np
import pytest

from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAILib.training.evaluation import Score, compare, summarize, write_evaluation


def test_two_overlapping_boxes_have_known_dice_distance_and_volume():
    ours = np.zeros((10, 10, 10), np.uint8)
    theirs = ours.copy()
    ours[2:6, 2:6, 2:6] = 1
    theirs[4:8, 2:6, 2:6] = 1
    grid = Grid((10, 10, 10), np.diag([1, 1, 3, 1]))
    (score,) = compare("case", LabelMap(ours, grid, [Label(1, "box", "Box")]), theirs)
    assert score.dice == 0.5
    # The faces that do not coincide are two slices of 3 mm apart, and more than 5 % of the boundary lies there.
    assert score.hd95_voxelcenter_maxdir_mm == 6
    assert score.reference_volume_ml == score.test_volume_ml == pytest.approx(0.192)


def test_empty_masks_follow_the_convention():
    empty, full = np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8)
    grid = Grid((4, 4, 4), np.eye(4))
    (both,) = compare("a", LabelMap(empty, grid, [Label(1, "x", "x")]), empty)
    (one,) = compare("a", LabelMap(empty, grid, [Label(1, "x", "x")]), full)
    assert (both.dice, both.hd95_voxelcenter_maxdir_mm) == (1, 0)
    assert one.dice == 0
    assert math.isnan(one.hd95_voxelcenter_maxdir_mm)


def test_ignored_voxels_count_for_nothing():
    ours, theirs = np.zeros((1, 1, 4), np.uint8), np.zeros((1, 1, 4), np.uint8)
    ours[0, 0], theirs[0, 0] = [1, 1, 1, 0], [1, 9, 9, 0]
    label_map = LabelMap(ours, Grid((1, 1, 4), np.eye(4)), [Label(1, "x", "x")])
    assert compare("a", label_map, theirs)[0].dice == 0.5
    assert compare("a", label_map, theirs, ignore=9)[0].dice == 1


def scores(*dice, distances=None):
    distances = distances or [1.0] * len(dice)
    return [Score(str(n), "x", d, h, 1, 1) for n, (d, h) in enumerate(zip(dice, distances, strict=True))]


def test_summary_names_the_worst_case_and_counts_undefined_distances():
    summary = summarize(scores(0.9, 0.5, 0.7, distances=[1.0, math.nan, 3.0]))["x"]
    assert summary["cases"] == 3
    assert summary["dice"]["mean"] == pytest.approx(0.7)
    assert summary["dice"]["sd"] == pytest.approx(0.2)
    assert (summary["dice"]["worst"], summary["dice"]["worst_case"]) == (0.5, "1")
    assert summary["hd95_voxelcenter_maxdir_mm"]["undefined"] == 1
    assert summary["hd95_voxelcenter_maxdir_mm"]["mean"] == 2
    assert summary["hd95_voxelcenter_maxdir_mm"]["worst"] == 3


def test_files_hold_one_line_per_case_and_structure(tmp_path):
    write_evaluation(tmp_path, "test", scores(0.9, 0.8))
    with open(tmp_path / "test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["dice"] for row in rows] == ["0.9", "0.8"]
    assert (tmp_path / "test.json").is_file()
