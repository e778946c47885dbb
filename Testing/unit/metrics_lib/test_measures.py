"""The registry of measures: complete, without doubles, and found by every way of naming a measure."""

import math
import re

import numpy as np
import pytest

from MedSegAICore.errors import InputError
from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.measures import FAMILIES, GROUPS, SURFACE_TITLES, select


def names(*wanted: str, **options) -> list[str]:
    return [measure.name for measure in select(list(wanted), **options)]


# The families without their parameter, as one may write them.
FAMILY_NAMES = [family.name.replace("|", "").replace("_{p}mm", "_mm").replace("_{p}", "") for family in FAMILIES]
FAMILY_NAMES = [name.replace("{p}", "") for name in FAMILY_NAMES]
EVERYTHING = [measure for surface in SURFACE_TITLES for measure in select(FAMILY_NAMES, surface=surface)]


def test_every_name_is_unique():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    on_all_surfaces = {measure.name for measure in EVERYTHING}
    per_surface = [measure for measure in EVERYTHING if measure.group == "surface"]
    assert len(on_all_surfaces) == len(per_surface) + len({m.name for m in EVERYTHING if m.group != "surface"})


def test_every_name_is_one_that_csv_and_programs_can_hold():
    assert [m.name for m in EVERYTHING if not re.fullmatch(r"[a-z][a-z0-9_.]*", m.name)] == []


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_measure_is_explained(family):
    assert family.title
    assert family.definition
    assert re.search(r"\d{4}|convention of |definition of this project", family.source), "a source has a year"
    assert family.group in GROUPS
    assert family.unit in ("", "mm", "ml", "%", "voxels", "lesions")
    assert family.better in ("higher", "lower", "zero", "")
    low, high = family.range
    assert low < high


@pytest.mark.parametrize("measure", EVERYTHING, ids=lambda measure: f"{measure.name} {measure.surface}")
def test_the_name_says_the_unit_and_the_surface(measure):
    if measure.unit == "mm":
        assert measure.name.endswith("_mm")
    if measure.unit == "ml":
        assert measure.name.endswith("_ml")
    if measure.unit == "%":
        assert measure.name.endswith("_percent")
    if measure.group == "surface":
        assert (f"_{measure.surface}_" in measure.name) == (measure.surface != "face")
    assert "{" not in measure.name + measure.title
    assert "|" not in measure.name + measure.title


def test_every_value_lies_in_the_range_of_its_measure():
    generator = np.random.default_rng(2)
    reference, test = generator.random((2, 6, 6, 6)) > 0.6
    found = compare(reference, test, (1, 2, 3), measures=FAMILY_NAMES)
    for measure in found.measures:
        low, high = measure.range
        assert low <= found[1][measure.name] <= high, measure.name


def test_without_names_all_measures_are_meant_but_those_on_request():
    assert [m.name for m in select()] == names("counts", "overlap", "volume", "surface")
    assert not any(measure.on_request for measure in select())
    assert {"dice", "hd95_maxdir_mm", "nsd_2mm", "tn", "volume_similarity"} <= {m.name for m in select()}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_its_measures_and_only_lesions_are_all_on_request(group):
    chosen = select([group])
    assert {measure.group for measure in chosen} == {group}
    assert all(measure.on_request == (group == "lesions") for measure in chosen)


# What is asked for, and the columns that it means by default.
NAMES = {
    "dice": ["dice"],
    "hd": ["hd_mm"],
    "hd_mm": ["hd_mm"],
    "hd95": ["hd95_maxdir_mm"],
    "hd95_maxdir": ["hd95_maxdir_mm"],
    "hd95_maxdir_mm": ["hd95_maxdir_mm"],
    "hd99.5": ["hd99.5_maxdir_mm"],
    "hd95_pooled_mm": ["hd95_pooled_mm"],
    "hd50_meandir": ["hd50_meandir_mm"],
    "hd_pooled_mm": ["hd95_pooled_mm"],
    "hd95_voxelcenter_maxdir_mm": ["hd95_voxelcenter_maxdir_mm"],
    "hd95_surfel": ["hd95_surfel_maxdir_mm"],
    "hd_smooth_mm": ["hd_smooth_mm"],
    "assd": ["assd_mm"],
    "assd_voxelcenter_mm": ["assd_voxelcenter_mm"],
    "asd_surfel_reference_to_test_mm": ["asd_surfel_reference_to_test_mm"],
    "nsd": ["nsd_1mm", "nsd_2mm", "nsd_3mm"],
    "nsd_mm": ["nsd_1mm", "nsd_2mm", "nsd_3mm"],
    "nsd_2mm": ["nsd_2mm"],
    "nsd_1.5mm": ["nsd_1.5mm"],
    "nsd_surfel_2mm": ["nsd_surfel_2mm"],
    "nsd_surfel": ["nsd_surfel_1mm", "nsd_surfel_2mm", "nsd_surfel_3mm"],
    "fbeta": ["fbeta_0.5", "fbeta_2"],
    "fbeta_3": ["fbeta_3"],
    "boundary_iou": ["boundary_iou_1mm", "boundary_iou_2mm", "boundary_iou_3mm"],
    "boundary_iou_4mm": ["boundary_iou_4mm"],
    "volume_test": ["volume_test_ml"],
    "center_distance": ["center_distance_mm"],
    "lesion_f1": ["lesion_f1"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_is_found_by_its_name_and_by_short_forms_of_it(name):
    assert names(name) == NAMES[name]


@pytest.mark.parametrize("measure", EVERYTHING, ids=lambda measure: f"{measure.name} {measure.surface}")
def test_every_measure_is_found_by_its_full_name(measure):
    assert select([measure.name]) == [measure]


def test_families_take_all_values_of_their_parameter():
    options = {"percentiles": (50, 99), "tolerances_mm": (0.5, 4), "betas": (1,)}
    assert names("hd_maxdir_mm", **options) == ["hd50_maxdir_mm", "hd99_maxdir_mm"]
    assert names("nsd", **options) == ["nsd_0.5mm", "nsd_4mm"]
    assert names("fbeta", **options) == ["fbeta_1"]
    assert names("hd95", "nsd_1mm", **options) == ["hd95_maxdir_mm", "nsd_1mm"]


def test_the_surface_applies_to_names_that_do_not_say_their_own():
    assert names("dice", "hd95", "assd_surfel", "nsd_2mm", surface="voxelcenter") == [
        "dice",
        "hd95_voxelcenter_maxdir_mm",
        "assd_surfel_mm",
        "nsd_voxelcenter_2mm",
    ]


def test_conventions_can_stand_side_by_side():
    found = select(["hd95", "hd95_surfel", "hd95_voxelcenter_maxdir_mm", "hd95_voxelcenter_pooled_mm"])
    assert [measure.surface for measure in found] == ["face", "surfel", "voxelcenter", "voxelcenter"]
    assert len({measure.title for measure in found}) == 4


def test_what_is_named_twice_is_meant_once():
    assert names("dice", "overlap", "dice").count("dice") == 1
    assert names("hd95", "hd95_maxdir_mm") == ["hd95_maxdir_mm"]


def test_titles_say_the_value_of_the_parameter_and_the_surface():
    (measure,) = select(["hd99_voxelcenter_pooled_mm"])
    assert "99th percentile" in measure.title
    assert "pooled" in measure.title
    assert "centers of boundary voxels" in measure.title


@pytest.mark.parametrize(
    "name",
    ["dise", "", "hd95_mesh_maxdir_mm", "nsd_2cm", "dice_mm", "hd95_maxdir_ml", "Dice ", "nsd_-1mm", "assd95_mm"],
)
def test_an_unknown_name_is_refused_with_the_names_that_there_are(name):
    with pytest.raises(InputError, match=re.escape(repr(name))) as caught:
        select([name])
    assert "hd<n>_maxdir_mm" in str(caught.value)


def test_what_empty_masks_give_is_stated_for_every_distance():
    for measure in EVERYTHING:
        if measure.group == "surface" and measure.unit == "mm":
            assert measure.both_empty == 0
            assert math.isnan(measure.one_empty)
