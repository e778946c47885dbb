"""Regions of Slicer's markups files: which voxels they hold, and which files are none."""

import json

import numpy as np
import pytest

from fixtures_scene import GRIDS, make_grid, rotation
from MedSegAICore.errors import InputError
from MedSegAICore.roi import Region, read_region


def write(path, **changes):
    entry = {"type": "ROI", "coordinateSystem": "LPS", "coordinateUnits": "mm", "roiType": "Box",
             "center": [-5.0, -6.0, 7.0], "size": [4.0, 6.0, 2.0], "insideOut": False,
             "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1]}  # fmt: skip
    entry = {key: value for key, value in {**entry, **changes}.items() if value is not None}
    path.write_text(json.dumps({"@schema": "markups", "markups": [entry]}))
    return path


def test_a_file_in_lps_and_one_in_ras_hold_the_same_voxels(tmp_path):
    """Center (5, 6, 7) RAS, 4 x 6 x 2 mm: I from 3 to 7, J from 3 to 9, K from 6 to 8 on a grid of 1 mm."""
    grid = make_grid((20, 20, 20))
    expected = (slice(6, 9), slice(3, 10), slice(3, 8))
    assert read_region(write(tmp_path / "a.mrk.json")).box(grid, "v") == expected
    ras = write(
        tmp_path / "b.mrk.json", coordinateSystem="RAS", center=[5, 6, 7], orientation=np.eye(3).ravel().tolist()
    )
    assert read_region(ras).box(grid, "v") == expected
    old = write(tmp_path / "c.mrk.json", coordinateSystem=None, coordinateUnits=["mm", "UCUM", "millimeter"])
    assert read_region(old).box(grid, "v") == expected


@pytest.mark.parametrize("name", GRIDS)
def test_a_turned_region_is_the_smallest_upright_box_around_it(name):
    grid = GRIDS[name]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(20, -30, 40), grid.ijk_to_ras_points([[5, 4.5, 4]])[0]
    region = Region("turned", matrix, (3.0, 4.0, 5.0))
    corners = (np.array(list(np.ndindex(2, 2, 2))) - 0.5) * (3, 4, 5) @ matrix[:3, :3].T + matrix[:3, 3]
    places = grid.ras_to_ijk_points(corners)[:, ::-1]
    low, high = np.ceil(places.min(0)).clip(0), np.minimum(np.floor(places.max(0)), np.array(grid.shape) - 1)
    assert region.box(grid, "v") == tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))


def test_a_region_that_reaches_beyond_the_volume_is_cut_and_one_beside_it_refused():
    grid, half = make_grid((10, 10, 10)), np.eye(4)
    half[:3, 3] = (9, 5, 5)
    assert Region("r", half, (6, 4, 4)).box(grid, "v") == (slice(3, 8), slice(3, 8), slice(6, 10))
    half[:3, 3] = (14, 5, 5)
    with pytest.raises(InputError, match="'r' holds no voxel of the volume 'v'"):
        Region("r", half, (6, 4, 4)).box(grid, "v")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [4.0, 0.0, 2.0]}, "has no size yet"),
        ({"size": [4.0, -3.0, 2.0]}, "has no size yet"),
        ({"size": [4.0, 3.0]}, "has no size yet"),
        ({"size": None}, "damaged"),
        ({"center": ["a", 1, 2]}, "damaged"),
        ({"insideOut": True}, "inside out"),
        ({"insideOut": "false"}, "damaged"),
        ({"coordinateSystem": "IJK"}, "expected LPS or RAS"),
        ({"coordinateUnits": "cm"}, "expected mm"),
        ({"orientation": [1, 0, 0, 0, 1, 0]}, "damaged"),
        ({"orientation": [1, 0, 0, 0, 1, 0, 0, 0, 0]}, "flat"),
        ({"type": "Fiducial"}, "holds 0 regions"),
    ],
    ids=str,
)
def test_a_region_that_cannot_be_used_is_refused_with_a_sentence(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        read_region(write(tmp_path / "bad.mrk.json", **changes))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"markups": 3}', '{"markups": [3]}', "no json", "\x00\xff"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "bad.mrk.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="not a markups file"):
        read_region(tmp_path / "bad.mrk.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_region(tmp_path / "missing.mrk.json")
