"""Pictures of errors: the right slice, the right way up, both outlines."""

import numpy as np
import pytest
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedSegAICore.grid import Grid
from MedSegAIMetricsLib.overlays import REFERENCE_COLOR, TEST_COLOR, overlay_png


def decoded(png, tmp_path):
    (tmp_path / "x.png").write_bytes(png)
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(tmp_path / "x.png"))
    reader.Update()
    image = reader.GetOutput()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(*image.GetDimensions()[1::-1], 3)[::-1]


def places(picture, color):
    return np.argwhere((picture == color).all(-1))


@pytest.mark.parametrize(("j_sign", "i_sign"), [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_anterior_is_at_the_top_and_the_patients_right_is_on_the_left(tmp_path, j_sign, i_sign):
    grid = Grid((5, 20, 20), np.diag([i_sign, j_sign, 2.0, 1.0]))
    reference, test = np.zeros((2, 5, 20, 20), bool)
    reference[2, 4:16, 4:16] = True
    # The test lies in the anterior right quarter: J grows to A and I to R if their signs are positive.
    test[2, slice(10, 16) if j_sign > 0 else slice(4, 10), slice(10, 16) if i_sign > 0 else slice(4, 10)] = True
    png, caption = overlay_png(reference, test, grid, size=200)
    picture = decoded(png, tmp_path)
    rows, columns = places(picture, TEST_COLOR).mean(0)
    assert rows < 100 > columns  # top left is anterior right
    assert len(places(picture, REFERENCE_COLOR)) > 100
    assert caption == "Slice 2, left is R, top is A, 108 wrong pixels; blue: reference, orange: test."


def test_the_slice_with_most_wrong_voxels_is_shown_and_images_are_drawn_behind():
    grid = Grid((4, 12, 12), np.diag([-1.0, -1.0, 3.0, 1.0]))
    reference, test = np.zeros((2, 4, 12, 12), bool)
    reference[1, 2:10, 2:10] = test[1, 2:10, 2:10] = True
    test[3, 5, 5] = True
    assert overlay_png(reference, test, grid)[1].startswith("Slice 3,")
    assert overlay_png(reference, reference, grid)[1].startswith("Slice 1,")
    image = np.random.default_rng(0).normal(size=grid.shape)
    assert overlay_png(reference, test, grid, image)[0] != overlay_png(reference, test, grid)[0]
    with pytest.raises(ValueError, match="nothing to show"):
        overlay_png(~reference & reference, test & ~test, grid)
