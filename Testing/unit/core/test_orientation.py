"""Turning arrays keeps every voxel at its place in the patient."""

from itertools import permutations, product

import numpy as np
import pytest

from MedSegAICore.errors import GeometryError
from MedSegAICore.grid import Grid
from MedSegAICore.orientation import Turn

CODES = ["".join(letters) for axes in permutations(["LR", "PA", "IS"]) for letters in product(*axes)]


@pytest.mark.parametrize("wanted", CODES)
def test_every_orientation_is_reached_and_left_again(wanted):
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    grid = Grid(array.shape, np.array([[-2.0, 0.1, 0, 5], [0.1, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]]))
    turn = Turn.between(grid.orientation, wanted)
    turned, turned_grid = turn.array(array), turn.grid(grid)
    assert turned_grid.orientation == wanted
    assert turned_grid.shape == turned.shape
    # The voxel that is now at a corner lies where it lay before.
    old = np.argwhere(array == turned[0, -1, 0])[0]
    assert turned_grid.ijk_to_ras_points([[0, turned.shape[1] - 1, 0]]) == pytest.approx(
        grid.ijk_to_ras_points([old[::-1]])
    )
    assert np.array_equal(turn.inverse.array(turned), array)
    assert turn.inverse.grid(turned_grid).matches(grid)


def test_no_turn_is_needed_between_equal_codes():
    assert Turn.between("LPS", "LPS") == Turn((0, 1, 2), ())


def test_channels_in_front_stay_in_front():
    turn = Turn.between("LPS", "SAR")
    assert turn.array(np.zeros((5, 2, 3, 4))).shape == (5, 4, 3, 2)


@pytest.mark.parametrize("code", ["", "RA", "RAX", "RLS", "ras"])
def test_a_code_that_is_no_orientation_is_refused(code):
    with pytest.raises(GeometryError, match="not an orientation"):
        Turn.between("LPS", code)
