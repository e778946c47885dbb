"""Several volume nodes as channels: on the first one's voxels through all transforms, registered, and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

import fixtures_scene
from fixtures_registration import errors_mm, head, motion
from fixtures_scene import bspline_transform, grid_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.mrml_channels import REGISTRATION, channels_from_volumes, transform_node_from_registration
from MedSegAICore.mrml_images import array_from_matrix

scene = fixtures_scene.scene

FIRST = make_grid((8, 14, 15), rotation(5, -8, 20) @ np.diag([-1, -1, 1]), (1.5, 1.4, 4.0), (8, 9, -12))
OTHER = make_grid((22, 18, 20), [[0, 0, 1], [1, 0, 0], [0, -1, 0]], (1.6, 1.9, 1.7), (-20, -19, 17))
NAMES = ("T1", "FLAIR")
SMALL = motion((6, -4, 9), (2, -3, 1))
PARENTS = {
    "none": lambda scene: None,
    "linear": lambda scene: linear_transform(scene, SMALL),
    "grid": lambda scene: grid_transform(scene, amplitude_mm=3.0),
    "bspline": lambda scene: bspline_transform(scene, amplitude_mm=3.0),
}


def volume(scene, grid, name="volume", seed=0, parent=None):
    array = ndimage.gaussian_filter(np.random.default_rng(seed).normal(100, 40, grid.shape), 1.5).astype(np.float32)
    node = make_volume(scene, array, grid, name)
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def looked_up(scene, node, first):
    """Each voxel of the first volume: to the world through its transform, and from there back through the other's."""
    grids = [Grid(array.shape, matrix(n)) for n in (first, node) for array in [scene.util.arrayFromVolume(n)]]
    own, other = grids[1], grids[0]
    expected, covered, outside = np.zeros(other.shape), np.zeros(other.shape, bool), np.zeros(other.shape, bool)
    for k, j, i in np.ndindex(*other.shape):
        point = other.ijk_to_ras_points([[i, j, k]])[0]
        for parent, way in ((first.GetParentTransformNode(), "To"), (node.GetParentTransformNode(), "From")):
            if parent is not None:
                transform = scene.vtkMRMLTransformNode
                between = general(scene)
                world = (parent, None) if way == "To" else (None, parent)
                transform.GetTransformBetweenNodes(*world, between)
                point = between.TransformPoint(point)
        place = own.ras_to_ijk_points([point])[0][::-1]
        beyond = np.maximum(-0.5 - place, place - (np.array(own.shape) - 0.5)).max()
        covered[k, j, i], outside[k, j, i] = beyond < -0.01, beyond > 0.01  # on the very border digits decide
        values = scene.util.arrayFromVolume(node)
        expected[k, j, i] = ndimage.map_coordinates(values, place[:, None], order=1, mode="nearest")[0]
    return expected, covered, outside


def matrix(node):
    import vtk

    result = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(result)
    return array_from_matrix(result)


def general(scene):
    import vtk

    return vtk.vtkGeneralTransform()


@pytest.mark.parametrize("own", PARENTS)
@pytest.mark.parametrize("firsts", PARENTS)
def test_a_volume_is_resampled_through_its_own_and_the_firsts_transform(scene, own, firsts):
    first = volume(scene, FIRST, parent=PARENTS[firsts](scene))
    other = volume(scene, OTHER, seed=1, parent=PARENTS[own](scene))
    image = channels_from_volumes([first, other], NAMES).image
    assert image.grid.matches(FIRST)
    np.testing.assert_array_equal(image.array[0], scene.util.arrayFromVolume(first))
    expected, covered, outside = looked_up(scene, other, first)
    assert covered.mean() > 0.5
    np.testing.assert_allclose(image.array[1][covered], expected[covered], rtol=1e-3)
    assert (image.array[1][outside] == scene.util.arrayFromVolume(other).min()).all()


def test_volumes_on_one_grid_under_one_transform_are_not_resampled(scene):
    parent = bspline_transform(scene)
    nodes = [volume(scene, FIRST, seed=seed, parent=parent) for seed in (0, 1)]
    image = channels_from_volumes(nodes, NAMES).image
    for node, channel in zip(nodes, image.array, strict=True):
        np.testing.assert_array_equal(channel, scene.util.arrayFromVolume(node))
    assert image.meta["warnings"] == ()
    assert image.meta["channels"] == [
        {"channel": "T1", "resampled": False, "covered": 1.0},
        {"channel": "FLAIR", "resampled": False, "covered": 1.0},
    ]


def test_what_a_volume_does_not_cover_is_said(scene):
    first = volume(scene, make_grid((10, 10, 10)), "first")
    half = volume(scene, make_grid((10, 10, 10), origin_ras=(5, 0, 0)), "patient name", seed=1)
    image = channels_from_volumes([first, half], NAMES).image
    (warning,) = image.meta["warnings"]
    assert warning.startswith("FLAIR does not cover 50.0 % of the voxels of T1")
    np.testing.assert_allclose(image.array[1][:, :, 5:], scene.util.arrayFromVolume(half)[:, :, :5], rtol=1e-5)
    assert image.meta["channels"][1] == {"channel": "FLAIR", "resampled": True, "covered": 0.5}


def test_volumes_that_do_not_overlap_are_refused(scene):
    first = volume(scene, make_grid((10, 10, 10)))
    far = volume(scene, make_grid((10, 10, 10)), parent=linear_transform(scene, motion(shift=(40, 0, 0))))
    with pytest.raises(GeometryError, match=r"FLAIR and T1 do not overlap in space.*44 x 4 x 4 and 4 x 4 x 4 mm"):
        channels_from_volumes([first, far], NAMES)


# ---- registration --------------------------------------------------------------------------------------------------

THICK = make_grid((24, 80, 66), rotation(8, -4, 3) @ np.diag([-1, -1, 1]), (2.6, 2.6, 6.5), (84, 100, -75))
SIDE = make_grid((60, 70, 66), [[0, 0, 1], [1, 0, 0], [0, 1, 0]], (3.0, 2.8, 2.9), (-85, -100, -82))


@pytest.mark.parametrize("parents", [("none", "none"), ("linear", "grid"), ("none", "linear")])
def test_under_the_transform_node_the_volume_lies_on_the_first(scene, parents):
    """The first volume under any transform, the other moved and perhaps under a linear one: (other's, first's)."""
    step = motion((5, -6, 4), (6, -5, 8))
    first = make_volume(scene, head("T1", THICK).array[0], THICK, "first")
    other = make_volume(scene, head("T2", SIDE, step).array[0], SIDE, "other")
    common = PARENTS[parents[1]](scene)
    if common is not None:
        first.SetAndObserveTransformNodeID(common.GetID())
    if parents[0] == "linear":
        own = linear_transform(scene, SMALL)
        own.SetAndObserveTransformNodeID(common.GetID() if common else None)
        other.SetAndObserveTransformNodeID(own.GetID())
    nodes = scene.mrmlScene.GetNumberOfNodes()
    aligned = channels_from_volumes([first, other], NAMES, registration="rigid")
    assert scene.mrmlScene.GetNumberOfNodes() == nodes
    parent_before = other.GetTransformNodeID()
    node = transform_node_from_registration(aligned.registrations[1], other, first)
    assert other.GetTransformNodeID() == parent_before  # the user's volume stays where it is
    assert node.GetClassName() == "vtkMRMLLinearTransformNode"
    assert node.GetParentTransformNode() is first.GetParentTransformNode()
    to_parent = scene.util.arrayFromTransformMatrix(node)
    assert errors_mm(to_parent, np.linalg.inv(step), THICK).max() < 3.0  # the patient moved by ``step``
    quality = json.loads(node.GetAttribute(REGISTRATION))
    assert quality["mutual_information_after"] > quality["mutual_information_before"]
    other.SetAndObserveTransformNodeID(node.GetID())
    again = channels_from_volumes([first, other], NAMES).image
    np.testing.assert_allclose(again.array[1], aligned.image.array[1], atol=0.5)
    unmoved = head("T2", THICK).array[0]
    correlations = [np.corrcoef(image.ravel(), unmoved.ravel())[0, 1] for image in (again.array[1],)]
    assert correlations[0] > 0.93


def test_slicer_loads_the_written_file_as_the_same_transform(scene, tmp_path):
    from MedSegAICore.registration import write_transform

    expected = motion((10, 20, -30), (4, 5, -6))
    write_transform(tmp_path / "case_0001_to_first.tfm", expected)
    node = scene.util.loadTransform(str(tmp_path / "case_0001_to_first.tfm"))
    np.testing.assert_allclose(scene.util.arrayFromTransformMatrix(node), expected, atol=1e-9)


def test_a_volume_under_its_own_bent_transform_is_not_registered(scene):
    first = volume(scene, FIRST)
    other = volume(scene, OTHER, parent=grid_transform(scene))
    with pytest.raises(InputError, match="FLAIR is under a non-linear transform"):
        channels_from_volumes([first, other], NAMES, registration="rigid")
