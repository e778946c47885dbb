"""The overview picture: what is where, and that drawing changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import bspline_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore import headless_views, mrml
from MedSegAICore.errors import DependencyError, InputError, OutputError
from MedSegAICore.headless_stage import gray_range
from MedSegAICore.image import Label, LabelMap

scene = fixtures_scene.scene

GRID = make_grid((60, 60, 60), np.diag([-1.0, -1.0, 1.0]), origin_ras=(30, 30, -30))
SIZE = (800, 860)


@pytest.fixture(autouse=True)
def rendering(scene):
    try:
        headless_views.require_rendering()
    except DependencyError as error:
        pytest.skip(str(error))


def _phantom(scene, filled=True):
    """A gray volume with a red box in its middle and a blue one behind it (posterior: larger j in an LPS grid)."""
    volume = make_volume(
        scene, np.random.default_rng(0).integers(90, 110, GRID.shape).astype(np.int16), GRID, "phantom"
    )
    array = np.zeros(GRID.shape, np.uint8)
    if filled:
        array[22:38, 20:30, 22:38] = 1
        array[22:38, 30:40, 22:38] = 2
    labels = (Label(1, "front", "Front", (1.0, 0.1, 0.1)), Label(2, "back", "Back", (0.1, 0.1, 1.0)))
    return volume, mrml.segmentation_from_label_map(LabelMap(array, GRID, labels), volume)


def _overview(tmp_path, volume, segmentation, **options) -> np.ndarray:
    path = tmp_path / "overview.png"
    headless_views.save_overview_png(path, volume, segmentation, size=SIZE, **options)
    return _read_png(path)


def _read_png(path) -> np.ndarray:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    width, height, _ = reader.GetOutput().GetDimensions()
    return vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1].astype(int)


def _is_red(pixel) -> bool:
    return pixel[0] > pixel[2] + 40


def _is_blue(pixel) -> bool:
    return pixel[2] > pixel[0] + 40


def test_every_slice_view_shows_the_segments_where_they_are(scene, tmp_path):
    picture = _overview(tmp_path, *_phantom(scene))
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    axial, coronal, sagittal = picture[190, 200], picture[590, 200], picture[590, 600]
    assert _is_red(picture[160, 200])
    assert _is_blue(picture[225, 200])
    assert _is_red(coronal) or _is_blue(coronal)
    assert _is_red(picture[600, 560])
    assert _is_blue(picture[600, 640])
    assert not _is_red(picture[330, 60])
    assert not _is_blue(picture[330, 60])
    assert len({tuple(axial), tuple(coronal), tuple(sagittal)}) == 3


def test_the_3d_view_shows_both_surfaces(scene, tmp_path):
    picture = _overview(tmp_path, *_phantom(scene))[:390, 410:]
    red, blue = picture[..., 0] > picture[..., 2] + 60, picture[..., 2] > picture[..., 0] + 60
    assert red.mean() > 0.03
    assert blue.mean() > 0.03


def test_the_legend_has_a_square_in_each_color(scene, tmp_path):
    legend = _overview(tmp_path, *_phantom(scene))[812:]
    for color in ((255, 26, 26), (26, 26, 255)):
        assert (np.abs(legend - color).max(axis=-1) <= 2).sum() >= 100


def test_a_transformed_pair_looks_the_same_as_the_untransformed(scene, tmp_path):
    volume, segmentation = _phantom(scene)
    before = _overview(tmp_path, volume, segmentation)
    parent = linear_transform(scene, [[1, 0, 0, 40], [0, 1, 0, -25], [0, 0, 1, 10], [0, 0, 0, 1]])
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(parent.GetID())
    after = _overview(tmp_path, volume, segmentation)
    for rows, columns in ((slice(60, 330), slice(40, 360)), (slice(470, 720), slice(440, 760))):
        assert np.abs(before[rows, columns] - after[rows, columns]).mean() < 1


@pytest.mark.parametrize("transform", ["oblique", "bspline"])
def test_outline_and_image_move_together_under_a_transform(scene, tmp_path, transform):
    volume, segmentation = _phantom(scene)
    scene.util.arrayFromVolume(volume)[:] = 20
    scene.util.arrayFromVolume(volume)[22:38, 20:40, 22:38] = 200  # bright exactly where the segments are
    scene.util.arrayFromVolumeModified(volume)
    tilt = np.eye(4)
    tilt[:3, :3] = rotation(10, 15, 20)
    parent = linear_transform(scene, tilt) if transform == "oblique" else bspline_transform(scene)
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(parent.GetID())
    axial = _overview(tmp_path, volume, segmentation)[40:350, 30:370]
    colored = np.abs(axial[..., 0] - axial[..., 2]) > 40
    bright_gray = (axial.min(axis=-1) > 150) & ~colored
    assert colored.mean() > 0.05
    assert bright_gray.mean() < 0.02  # hardly any of the bright box is left uncovered


def test_drawing_changes_nothing_in_the_scene(scene, tmp_path):
    volume, segmentation = _phantom(scene)
    segmentation.GetDisplayNode().SetVisibility(False)
    times = [node.GetMTime() for node in (volume, segmentation, segmentation.GetSegmentation())]
    nodes = scene.mrmlScene.GetNumberOfNodes()
    _overview(tmp_path, volume, segmentation)
    assert scene.mrmlScene.GetNumberOfNodes() == nodes
    assert [node.GetMTime() for node in (volume, segmentation, segmentation.GetSegmentation())] == times
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_hidden_segments_are_in_the_picture(scene, tmp_path):
    volume, segmentation = _phantom(scene)
    visible = _overview(tmp_path, volume, segmentation)
    segmentation.GetDisplayNode().SetSegmentVisibility("front", False)
    np.testing.assert_array_equal(_overview(tmp_path, volume, segmentation), visible)


def test_a_segmentation_without_voxels_is_drawn_without_segments(scene, tmp_path):
    picture = _overview(tmp_path, *_phantom(scene, filled=False))
    assert not _is_red(picture[190, 200])
    assert not _is_blue(picture[225, 200])


def test_a_tiny_picture_is_refused(scene, tmp_path):
    with pytest.raises(InputError, match="480 x 480"):
        headless_views.save_overview_png(tmp_path / "x.png", *_phantom(scene), size=(100, 100))


def test_a_missing_folder_is_an_output_error(scene, tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"):
        headless_views.save_overview_png(tmp_path / "none" / "x.png", *_phantom(scene), size=SIZE)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL is what Linux draws with")
def test_without_graphics_drivers_the_error_names_the_packages():
    code = (
        "from MedSegAICore import headless, headless_views, errors\n"
        "headless.start()\n"
        "try: headless_views.require_rendering()\n"
        "except errors.DependencyError as error: print(error)\n"
    )
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("DISPLAY", "VTK_DEFAULT_OPENGL_WINDOW")},
        "PYTHONPATH": headless_views.__file__.rsplit("MedSegAICore", 1)[0],
        "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent",
    }
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if "OSMesa" not in process.stdout and not process.stdout:
        pytest.skip("OSMesa draws here")
    assert "apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri" in process.stdout
    assert process.stderr == ""


def test_ct_is_shown_in_the_window_that_suits_the_segments():
    array = np.full((4, 4, 4), -1000.0)
    array[1] = 60
    inside = array > 0
    assert gray_range(array, inside) == (-160, 240)
    assert gray_range(np.where(inside, -700, array), inside) == (-1350, 150)
    assert gray_range(np.where(inside, 700, array), inside) == (-450, 1050)


def test_other_images_are_shown_between_percentiles_whatever_their_outliers():
    array = np.arange(1000.0).reshape(10, 10, 10)
    array[0, 0, 0], array[-1, -1, -1] = 1e9, np.nan
    low, high = gray_range(array, array > 500)
    assert 0 < low < 20
    assert 980 < high < 1000


def test_a_constant_image_has_a_window():
    assert gray_range(np.full((2, 2, 2), 7), np.zeros((2, 2, 2), bool)) == (7, 8)
