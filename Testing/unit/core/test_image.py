"""Images and label maps: what they refuse, and volumes of segments counted by hand."""

import numpy as np
import pytest

from MedSegAICore.errors import GeometryError, InputError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap, stack_channels

GRID = Grid((2, 3, 4), np.diag([1.0, 2, 5, 1]))  # voxels of 10 mm3


def label_map(array, *labels) -> LabelMap:
    return LabelMap(np.asarray(array, np.uint8), GRID, labels)


def test_an_image_needs_channels_first_and_the_shape_of_its_grid():
    assert Image(np.zeros((2, 2, 3, 4)), GRID).channels == 2
    for shape in [(2, 3, 4), (1, 4, 3, 2)]:
        with pytest.raises(GeometryError, match="needs an array"):
            Image(np.zeros(shape), GRID)


def test_volumes_are_voxel_counts_times_voxel_volume():
    array = np.zeros(GRID.shape)
    array[0, 0, :3] = 1
    array[1, 2, 3] = 5
    found = label_map(array, Label(1, "a", "A"), Label(5, "b", "B"), Label(9, "c", "empty")).volumes_ml()
    assert found == pytest.approx({"a": 0.03, "b": 0.01, "c": 0.0})


def test_volumes_of_overlapping_segments_are_counted_in_their_layers():
    layers = np.zeros((2, *GRID.shape))
    layers[0, 0], layers[1, 0] = 1, 2
    found = label_map(layers, Label(1, "a", "A"), Label(2, "b", "B", layer=1)).volumes_ml()
    assert found == pytest.approx({"a": 0.12, "b": 0.12})


def test_a_value_without_a_label_counts_for_no_segment():
    assert label_map(np.full(GRID.shape, 7), Label(1, "a", "A")).volumes_ml() == {"a": 0.0}


def test_volumes_of_wide_integers_are_counted_without_a_table_of_billions():
    array = np.full(GRID.shape, 300, np.uint64)
    array[0, 0, 0] = 2**40
    assert LabelMap(array, GRID, (Label(300, "a", "A"),)).volumes_ml() == pytest.approx({"a": 0.23})


def test_a_mask_is_taken_from_the_layer_of_its_label():
    layers = np.zeros((2, *GRID.shape))
    layers[1, 1, 1, 1] = 1
    segments = label_map(layers, Label(1, "a", "A"), Label(1, "b", "B", layer=1))
    assert segments.mask(segments.label("a")).sum() == 0
    assert np.argwhere(segments.mask(segments.label("b"))).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    "labels",
    [
        [Label(1, "a", "A"), Label(2, "a", "B")],
        [Label(1, "a", "A"), Label(1, "b", "B")],
        [Label(0, "a", "A")],
        [Label(256, "a", "A")],
        [Label(1, "a", "A", layer=1)],
    ],
)
def test_contradicting_labels_are_refused(labels):
    with pytest.raises(InputError):
        label_map(np.zeros(GRID.shape), *labels)


def test_label_maps_hold_unsigned_integers_on_their_grid():
    with pytest.raises(InputError, match="unsigned"):
        LabelMap(np.zeros(GRID.shape, np.int16), GRID, ())
    with pytest.raises(GeometryError):
        LabelMap(np.zeros((4, 3, 2), np.uint8), GRID, ())


def test_an_unknown_segment_id_is_named_with_those_that_exist():
    with pytest.raises(InputError, match=r"no segment 'x'.*\['a'\]"):
        label_map(np.zeros(GRID.shape), Label(1, "a", "A")).label("x")


def test_channels_of_images_on_one_grid_are_stacked_in_order():
    images = [Image(np.full((1, *GRID.shape), value), GRID, {"source": str(value)}) for value in (1, 2)]
    stacked = stack_channels(images)
    assert stacked.array[:, 0, 0, 0].tolist() == [1, 2]
    assert stacked.meta == {"source": "1"}


def test_channels_on_different_grids_are_refused():
    moved = Grid(GRID.shape, GRID.ijk_to_ras + [[0, 0, 0, 1.0], [0] * 4, [0] * 4, [0] * 4])
    with pytest.raises(GeometryError, match="Channel 2"):
        stack_channels([Image(np.zeros((1, *GRID.shape)), grid) for grid in (GRID, moved)])
