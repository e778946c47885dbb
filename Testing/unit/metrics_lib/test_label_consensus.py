"""The consensus of label maps with several segments, some of which overlap."""

import numpy as np
import pytest

from fixtures_scene import GRIDS
from fixtures_shapes import box
from MedSegAICore.errors import InputError
from MedSegAICore.image import Label, LabelMap
from MedSegAIMetricsLib.consensus import METHODS
from MedSegAIMetricsLib.label_consensus import consensus_of_labels
from MedSegAIMetricsLib.observers import Observers

GRID = GRIDS["oblique anisotropic"]
SHAPE = GRID.shape  # 9 x 10 x 11
LIVER = Label(1, "liver", "Liver", (0.8, 0.4, 0.2))
TUMOR = Label(2, "tumor", "Tumor")


def along_i(first: int, end: int) -> np.ndarray:
    return box(SHAPE, (2, 2, first), (7, 8, end))


def label_map(*segments: tuple[Label, np.ndarray]) -> LabelMap:
    """Each segment in a layer of its own."""
    layers = np.stack([mask * np.uint8(label.value) for label, mask in segments])
    labels = [Label(s.value, s.id, s.name, s.color, layer=n) for n, (s, _) in enumerate(segments)]
    return LabelMap(layers, GRID, tuple(labels))


def observers(*label_maps: LabelMap) -> Observers:
    return Observers.of({f"r{number:02}": one for number, one in enumerate(label_maps, start=1)})


def overlapping() -> Observers:
    """Liver 1-5, 1-6, 1-7 and tumor 4-9, 5-9, 5-9: by majority 1-6 and 5-9, both in 5."""
    return observers(
        *(
            label_map((LIVER, along_i(1, liver)), (TUMOR, along_i(tumor, 9)))
            for liver, tumor in ((5, 4), (6, 5), (7, 5))
        )
    )


def test_each_segment_has_its_own_consensus_and_overlaps_stay_in_layers():
    found = consensus_of_labels(overlapping())
    liver, tumor = found.label_map.labels
    assert (found.label_map.mask(liver) == along_i(1, 6)).all()
    assert (found.label_map.mask(tumor) == along_i(5, 9)).all()
    assert (liver.layer, tumor.layer, found.overlapping) == (0, 1, 5 * 6)
    assert (liver.value, liver.name, liver.color) == (1, "Liver", (0.8, 0.4, 0.2))
    assert found.label_map.grid is overlapping().grid or found.label_map.grid.matches(GRID)


def test_overlaps_go_to_the_segment_with_most_votes():
    found = consensus_of_labels(overlapping(), overlaps="most_votes")
    liver, tumor = found.label_map.labels
    assert found.label_map.array.ndim == 3
    # In 5 two marked the liver and all three the tumor.
    assert (found.label_map.mask(liver) == along_i(1, 5)).all()
    assert (found.label_map.mask(tumor) == along_i(5, 9)).all()
    assert found.overlapping == 5 * 6


def test_overlaps_with_equally_many_votes_go_to_the_first():
    same = label_map((LIVER, along_i(1, 6)), (TUMOR, along_i(4, 9)))
    found = consensus_of_labels(observers(same, same), overlaps="most_votes")
    liver, tumor = found.label_map.labels
    assert (found.label_map.mask(liver) == along_i(1, 6)).all()
    assert (found.label_map.mask(tumor) == along_i(6, 9)).all()


def test_segments_that_do_not_overlap_share_a_layer():
    same = label_map((LIVER, along_i(1, 4)), (TUMOR, along_i(5, 9)))
    assert consensus_of_labels(observers(same, same, same)).label_map.array.ndim == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_segment_that_most_observers_do_not_have_is_there_but_empty(method):
    only_liver = label_map((LIVER, along_i(1, 6)))
    both = label_map((LIVER, along_i(1, 6)), (TUMOR, along_i(7, 9)))
    found = consensus_of_labels(observers(only_liver, only_liver, both), method)
    volumes = found.label_map.volumes_ml()
    assert volumes["liver"] == pytest.approx(5 * 5 * 6 * GRID.voxel_volume_ml)
    if method != "staple":  # which may believe one observer more than two
        assert volumes["tumor"] == 0
    assert list(found.segments) == ["liver", "tumor"]


def test_values_that_two_segments_share_are_told_apart():
    other = Label(1, "tumor", "Tumor")
    same = label_map((LIVER, along_i(1, 4)), (other, along_i(5, 9)))
    labels = consensus_of_labels(observers(same, same)).label_map.labels
    assert [label.value for label in labels] == [1, 2]


def test_nothing_at_all_is_an_empty_label_map():
    empty = label_map((LIVER, along_i(0, 0)))
    found = consensus_of_labels(observers(empty, empty))
    assert not found.label_map.array.any()
    assert found.overlapping == 0


def test_a_rule_for_overlaps_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="most_votes"):
        consensus_of_labels(overlapping(), overlaps="last")
