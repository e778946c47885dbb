"""How far observers' surfaces lie apart, on boxes and spheres whose distances are known, on oblique voxels too."""

import math

import numpy as np
import pytest
from scipy import ndimage
from vtk.util.numpy_support import vtk_to_numpy

from fixtures_scene import LPS, make_grid, rotation
from fixtures_shapes import ANISOTROPIC, box, sphere
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib import variability
from MedSegAIMetricsLib.consensus import consensus
from MedSegAIMetricsLib.observer_masks import ObserverMasks
from MedSegAIMetricsLib.surface.signed import signed_distances_at
from MedSegAIMetricsLib.variability import local_variability

SHAPE = (40, 44, 60)
SPACING_IJK = (0.7, 0.9, 1.5)
DIRECTIONS = {
    "axis-aligned": np.eye(3),
    "flipped": np.diag([1.0, -1.0, 1.0]),
    "oblique": rotation(-25, 40, 5) @ LPS,
}
SPHERE_SHAPE, SPHERE_CENTER = (26, 80, 80), (39, 28, 28)


def boxes(*ends: int) -> list[np.ndarray]:
    """Boxes with five common faces; the sixth is where a box ends along I."""
    return [box(SHAPE, (4, 4, 4), (36, 40, end)) for end in ends]


def spheres(*radii: float) -> ObserverMasks:
    masks = [sphere(SPHERE_SHAPE, ANISOTROPIC, SPHERE_CENTER, radius) for radius in radii]
    return ObserverMasks.of(masks, ANISOTROPIC)


def points_of(mesh) -> np.ndarray:
    return vtk_to_numpy(mesh.GetPoints().GetData()).astype(float)


def values_of(mesh, name: str) -> np.ndarray:
    return vtk_to_numpy(mesh.GetPointData().GetArray(name))


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_boxes_differ_by_millimeters_on_the_face_that_is_moved_and_nowhere_else(directions):
    grid = make_grid(SHAPE, DIRECTIONS[directions], SPACING_IJK, (-80, 20, 33))
    found = local_variability(ObserverMasks.of(boxes(40, 41, 45), grid.spacing_kji), grid, distances="face")
    index = grid.ras_to_ijk_points(points_of(found.mesh))
    inner = (np.abs(index[:, 1] - 21.5) < 8) & (np.abs(index[:, 2] - 19.5) < 6)
    moved, left = inner & (index[:, 0] > 30), inner & (index[:, 0] < 10)
    # The ends are 40, 41 and 45 voxels of 0.7 mm, so 2, 1 and 3 voxels from their mean, 42: voxel 41.5 of centers.
    assert index[moved, 0] == pytest.approx(41.5, abs=1e-4)
    assert values_of(found.mesh, "sd_mm")[moved] == pytest.approx(0.7 * math.sqrt((4 + 1 + 9) / 2), abs=1e-4)
    assert values_of(found.mesh, "range_mm")[moved] == pytest.approx(0.7 * 5, abs=1e-4)
    for number, offset in ((1, -2), (2, -1), (3, 3)):
        assert values_of(found.mesh, f"observer_{number}_mm")[moved] == pytest.approx(0.7 * offset, abs=1e-4)
    assert values_of(found.mesh, "sd_mm")[left] == pytest.approx(0, abs=1e-4)
    assert index[left, 0] == pytest.approx(3.5, abs=1e-4)
    assert grid.ras_to_ijk_points([found.summary.most_variable_ras])[0, 0] > 30
    assert found.summary.sd_max_mm == pytest.approx(0.7 * math.sqrt(7), abs=1e-4)


def test_on_the_majority_the_mean_says_which_way_observers_lean():
    grid = make_grid(SHAPE, DIRECTIONS["oblique"], SPACING_IJK)
    observers = ObserverMasks.of(boxes(40, 41, 45), grid.spacing_kji)
    found = local_variability(observers, grid, consensus(observers), "face")
    index = grid.ras_to_ijk_points(points_of(found.mesh))
    moved = (np.abs(index[:, 1] - 21.5) < 8) & (np.abs(index[:, 2] - 19.5) < 6) & (index[:, 0] > 30)
    assert index[moved, 0] == pytest.approx(40.5, abs=1e-4)
    assert values_of(found.mesh, "mean_mm")[moved] == pytest.approx(0.7 * (-1 + 0 + 4) / 3, abs=1e-4)


def test_concentric_spheres_differ_by_their_radii_all_over():
    grid = make_grid(SPHERE_SHAPE, DIRECTIONS["oblique"], ANISOTROPIC[::-1])
    summary = local_variability(spheres(14, 16, 18), grid).summary
    assert summary.sd_mm == pytest.approx(2, rel=0.05)
    assert summary.sd_mean_mm == pytest.approx(2, rel=0.05)
    assert summary.sd_median_mm == pytest.approx(2, rel=0.05)
    assert summary.range_mean_mm == pytest.approx(4, rel=0.05)
    assert summary.bias_mm == pytest.approx((-2, 0, 2), abs=0.1)
    assert summary.area_mm2 == pytest.approx(4 * math.pi * 16**2, rel=0.06)
    assert summary.sd_mean_mm <= summary.sd_mm <= summary.sd_p95_mm <= summary.sd_max_mm


def test_stairs_of_thick_slices_come_too_near_so_faces_are_not_the_default():
    grid = make_grid(SPHERE_SHAPE, DIRECTIONS["oblique"], ANISOTROPIC[::-1])
    by_faces = local_variability(spheres(14, 16, 18), grid, distances="face").summary
    assert (by_faces.distances, local_variability(spheres(14, 16, 18), grid).summary.distances) == ("face", "smooth")
    assert 0.8 * 2 < by_faces.sd_mean_mm < 0.95 * 2


def test_a_mask_too_thin_to_be_smoothed_is_measured_on_its_faces_and_it_is_said():
    grid = make_grid((9, 20, 20))
    sheets = [box((9, 20, 20), (4, 2, 2), (5, 18, end)) for end in (17, 18)]
    found = local_variability(ObserverMasks.of(sheets, (1, 1, 1)), grid)
    assert found.summary.distances == "face"
    assert "faces of voxels" in found.summary.notes[0]
    assert found.summary.range_max_mm == pytest.approx(1)


def test_a_speck_far_away_does_not_make_the_smoothing_fill_the_memory(monkeypatch):
    """Boxes have about 11 x 46 x 46 voxels, 19 x 63 x 63 with the speck."""
    monkeypatch.setattr(variability, "MOST_SMOOTHED", 40_000)
    grid = make_grid(SPHERE_SHAPE, spacing_ijk=ANISOTROPIC[::-1])
    masks = spheres_on_image(14, 16)
    assert local_variability(ObserverMasks.of(masks, ANISOTROPIC), grid).summary.distances == "smooth"
    masks[0][0, 0, 0] = True
    found = local_variability(ObserverMasks.of(masks, ANISOTROPIC), grid).summary
    assert found.distances == "face"
    assert "far specks" in found.notes[0]


def test_observers_who_agree_do_not_vary():
    grid = make_grid(SPHERE_SHAPE, spacing_ijk=ANISOTROPIC[::-1])
    summary = local_variability(spheres(14, 14), grid).summary
    assert (summary.sd_max_mm, summary.range_max_mm) == (0, 0)
    assert summary.bias_mm == pytest.approx((0, 0), abs=0.1)  # the consensus has the stairs of voxels


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_the_model_is_closed_its_normals_point_outward_and_it_is_colored_by_the_deviation(directions):
    grid = make_grid(SPHERE_SHAPE, DIRECTIONS[directions], ANISOTROPIC[::-1], (-80, 20, 33))
    mesh = local_variability(spheres(14, 16), grid).mesh
    center = grid.ijk_to_ras_points([[39.5, 39.5, 12.5]])[0]
    normals = vtk_to_numpy(mesh.GetPointData().GetNormals())
    assert (((points_of(mesh) - center) * normals).sum(1) > 0).mean() > 0.99
    assert mesh.GetPointData().GetScalars().GetName() == "sd_mm"
    import vtk

    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(mesh)
    edges.FeatureEdgesOff()
    edges.Update()
    assert edges.GetOutput().GetNumberOfCells() == 0


def test_masks_at_the_rim_of_the_image_are_closed_there():
    grid = make_grid((6, 7, 8), spacing_ijk=(1, 1, 2))
    full = np.ones((6, 7, 8), bool)
    mesh = local_variability(ObserverMasks.of([full, full], grid.spacing_kji), grid, distances="face").mesh
    index = grid.ras_to_ijk_points(points_of(mesh))
    assert index.min(0) == pytest.approx((-0.5, -0.5, -0.5))
    assert index.max(0) == pytest.approx((7.5, 6.5, 5.5))


def test_who_marked_nothing_is_left_out_and_it_is_said():
    grid = make_grid(SPHERE_SHAPE, spacing_ijk=ANISOTROPIC[::-1])
    masks = [*spheres_on_image(14, 18), np.zeros(SPHERE_SHAPE, bool)]
    found = local_variability(ObserverMasks.of(masks, ANISOTROPIC), grid)
    assert found.summary.sd_mm == pytest.approx(math.sqrt(8), rel=0.05)
    assert math.isnan(found.summary.bias_mm[2])
    assert found.mesh.GetPointData().GetArray("observer_3_mm") is None
    assert found.summary.notes == ("1 of 3 observers marked nothing and are left out.",)


@pytest.mark.parametrize("distances", ["smooth", "face"])
def test_two_of_five_observers_who_drew_have_a_surface_though_most_say_there_is_none(distances):
    grid = make_grid(SPHERE_SHAPE, spacing_ijk=ANISOTROPIC[::-1])
    masks = [np.zeros(SPHERE_SHAPE, bool)] * 3 + spheres_on_image(14, 18)
    summary = local_variability(ObserverMasks.of(masks, ANISOTROPIC), grid, distances=distances).summary
    assert summary.range_mean_mm == pytest.approx(4, rel=0.2)
    assert summary.bias_mm[3] < 0 < summary.bias_mm[4]


def spheres_on_image(*radii: float) -> list[np.ndarray]:
    return [sphere(SPHERE_SHAPE, ANISOTROPIC, SPHERE_CENTER, radius) for radius in radii]


@pytest.mark.parametrize("case", ["nodule_02", "nodule_07", "nodule_24"])
def test_offsets_of_radiologists_are_those_of_their_whole_distance_maps(shared_data, case):
    maps = [read_label_map(shared_data(f"lidc_observers/{case}") / f"observer_{n}.nrrd") for n in range(1, 5)]
    grid = maps[0].grid
    observers = ObserverMasks.of([label_map.array > 0 for label_map in maps], grid.spacing_kji)
    found = local_variability(observers, grid, distances="face")
    index = grid.ras_to_ijk_points(points_of(found.mesh)) - observers.start[::-1] + 1
    for number, mask in enumerate(observers.masks, start=1):
        padded = np.pad(mask, 1)
        level = signed_distances_at(padded, np.arange(padded.size), grid.spacing_kji).reshape(padded.shape)
        expected = -ndimage.map_coordinates(level, index.T[::-1], order=1)
        assert values_of(found.mesh, f"observer_{number}_mm") == pytest.approx(expected, abs=1e-3)
    assert values_of(found.mesh, "mean_mm") == pytest.approx(0, abs=1e-4)
    assert 0 < found.summary.sd_mm < found.summary.range_max_mm


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (boxes(40, 4), "there are 1"),
        (boxes(4, 4), "there are 0"),
    ],
)
def test_fewer_than_two_surfaces_do_not_vary(masks, message):
    grid = make_grid(SHAPE)
    with pytest.raises(InputError, match=message):
        local_variability(ObserverMasks.of(masks, grid.spacing_kji), grid)


def test_masks_far_apart_have_no_mean_shape():
    masks = [box((5, 5, 60), (1, 1, 2), (4, 4, 5)), box((5, 5, 60), (1, 1, 50), (4, 4, 53))]
    with pytest.raises(InputError, match="too far apart"):
        local_variability(ObserverMasks.of(masks, (1, 1, 1)), make_grid((5, 5, 60)))


def test_a_consensus_of_others_and_an_empty_one_are_refused():
    grid = make_grid(SHAPE)
    observers = ObserverMasks.of(boxes(40, 41), grid.spacing_kji)
    with pytest.raises(InputError, match="not of these observers"):
        local_variability(observers, grid, consensus(ObserverMasks.of(boxes(40, 41), grid.spacing_kji)))
    apart = ObserverMasks.of([box(SHAPE, (4, 4, 4), (9, 9, 9)), box(SHAPE, (20, 20, 20), (25, 25, 25))], (1, 1, 1))
    with pytest.raises(InputError, match="consensus is empty"):
        local_variability(apart, grid, consensus(apart))


@pytest.mark.parametrize("grid", [make_grid((40, 44, 61)), make_grid(SHAPE, spacing_ijk=(1, 1, 2))])
def test_the_grid_of_another_image_is_refused(grid):
    with pytest.raises(GeometryError, match="grid of that image"):
        local_variability(ObserverMasks.of(boxes(40, 41), (1, 1, 1)), grid)


def test_distances_of_another_kind_are_refused():
    with pytest.raises(InputError, match="smooth or face"):
        local_variability(ObserverMasks.of(boxes(40, 41), (1, 1, 1)), make_grid(SHAPE), distances="edt")


def test_a_sheared_grid_is_refused():
    sheared = make_grid(SHAPE, np.array([[1, 0.5, 0], [0, math.sqrt(0.75), 0], [0, 0, 1]]))
    with pytest.raises(GeometryError, match="right angles"):
        local_variability(ObserverMasks.of(boxes(40, 41), sheared.spacing_kji), sheared)
