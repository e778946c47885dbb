"""Which segment is compared with which: by id, terminology, name, value, or with none."""

import itertools

import pytest

from MedSegAICore.errors import InputError
from MedSegAICore.image import Label
from MedSegAIMetricsLib.matching import match_labels

CONTEXTS = "Segmentation category and type - 3D Slicer General Anatomy list", "Anatomic codes - DICOM master list"


def terminology(type_code: str, meaning: str, modifier: str = "^^", region: str = "^^") -> str:
    """Slicer's seven parts: context, category, type, its modifier, context, region, its modifier."""
    category = "SCT^123037004^Anatomical Structure"
    parts = (CONTEXTS[0], category, f"SCT^{type_code}^{meaning}", modifier, CONTEXTS[1], region, "^^")
    return "~".join(parts)


SPLEEN, KIDNEY = terminology("78961009", "Spleen"), terminology("64033007", "Kidney")
RIGHT, LEFT = "SCT^24028007^Right", "SCT^7771000^Left"


def matched(reference: list[Label], test: list[Label]) -> list[tuple]:
    """Ids of both sides and why, for each match."""
    matches = match_labels(reference, test)
    return [(m.reference and m.reference.id, m.test and m.test.id, m.by) for m in matches]


def test_the_same_id_matches_whatever_the_names_and_values_are():
    assert matched([Label(1, "spleen", "Spleen")], [Label(7, "spleen", "Milz")]) == [("spleen", "spleen", "same id")]


def test_an_id_goes_before_terminology_and_terminology_before_a_name():
    reference = [Label(1, "a", "Liver", terminology=SPLEEN), Label(2, "b", "Kidney", terminology=KIDNEY)]
    test = [Label(1, "c", "Liver", terminology=KIDNEY), Label(2, "a", "Kidney", terminology=KIDNEY)]
    assert matched(reference, test) == [("a", "a", "same id"), ("b", "c", "same terminology")]


def test_terminology_is_compared_by_its_codes_and_not_by_their_wording():
    german = SPLEEN.replace("^Spleen", "^Milz").replace(CONTEXTS[0], "Meine Liste")
    reference, test = [Label(1, "a", "One", terminology=SPLEEN)], [Label(1, "b", "Two", terminology=german)]
    assert matched(reference, test) == [("a", "b", "same terminology")]


def test_left_and_right_are_not_the_same_terminology():
    kidneys = {side: terminology("64033007", "Kidney", side) for side in (RIGHT, LEFT)}
    reference = [Label(1, "a", "One", terminology=kidneys[RIGHT]), Label(2, "b", "Two", terminology=kidneys[LEFT])]
    test = [Label(1, "c", "Three", terminology=kidneys[LEFT]), Label(2, "d", "Four", terminology=kidneys[RIGHT])]
    assert matched(reference, test) == [("a", "d", "same terminology"), ("b", "c", "same terminology")]


def test_several_segments_of_one_terminology_are_told_apart_by_their_names():
    reference = [Label(1, "a", "Right", terminology=KIDNEY), Label(2, "b", "Left", terminology=KIDNEY)]
    test = [Label(1, "c", "Left", terminology=KIDNEY), Label(2, "d", "Right", terminology=KIDNEY)]
    assert matched(reference, test) == [("a", "d", "same name"), ("b", "c", "same name")]


@pytest.mark.parametrize("text", ["", "~~~~~~", "Spleen", "SCT^78961009^Spleen"])
def test_terminology_without_codes_says_nothing(text):
    reference, test = [Label(1, "a", "Liver", terminology=text)], [Label(1, "b", "Spleen", terminology=text)]
    assert matched(reference, test) == [("a", None, "only in the reference"), (None, "b", "only in the test")]


def test_the_terminology_that_slicer_gives_to_every_new_segment_says_nothing():
    tissue = terminology("85756007", "Tissue").replace("123037004^Anatomical Structure", "85756007^Tissue")
    reference, test = [Label(1, "a", "Liver", terminology=tissue)], [Label(1, "b", "Spleen", terminology=tissue)]
    assert matched(reference, test) == [("a", None, "only in the reference"), (None, "b", "only in the test")]


def test_names_match_whatever_their_case_and_the_spaces_around_them():
    assert matched([Label(1, "a", " Left Kidney")], [Label(5, "b", "left kidney ")]) == [("a", "b", "same name")]


def test_generic_ids_do_not_match_segments_with_names_of_their_own():
    reference = [Label(1, "Segment_1", "Liver"), Label(2, "Segment_2", "Spleen")]
    test = [Label(1, "Segment_1", "Spleen"), Label(2, "Segment_2", "Liver")]
    assert matched(reference, test) == [
        ("Segment_1", "Segment_2", "same name"),
        ("Segment_2", "Segment_1", "same name"),
    ]


def test_generic_ids_match_if_the_names_are_the_same():
    reference, test = [Label(1, "Segment_1", "Liver")], [Label(4, "Segment_1", "liver")]
    assert matched(reference, test) == [("Segment_1", "Segment_1", "same id")]


def test_a_generic_id_and_name_on_both_sides_match():
    reference = [Label(1, "Segment_1", "Segment_1"), Label(2, "Segment_2", "Segment_2")]
    test = [Label(2, "Segment_2", "Segment_2"), Label(1, "Segment_1", "Segment_1")]
    assert [(one, other) for one, other, _ in matched(reference, test)] == [
        ("Segment_1", "Segment_1"),
        ("Segment_2", "Segment_2"),
    ]


def test_generic_names_are_no_names():
    reference, test = [Label(1, "a", "Segment 1")], [Label(2, "b", "Segment 1")]
    assert matched(reference, test) == [("a", None, "only in the reference"), (None, "b", "only in the test")]


def test_segments_without_names_match_by_value_as_files_without_names_have_them():
    reference = [Label(1, "Segment_1", "Segment_1"), Label(3, "Segment_3", "Segment_3")]
    test = [Label(3, "liver", "Liver"), Label(2, "spleen", "Spleen")]
    assert matched(reference, test) == [
        ("Segment_1", None, "only in the reference"),
        ("Segment_3", "liver", "same value"),
        (None, "spleen", "only in the test"),
    ]


def test_segments_with_names_do_not_match_by_value():
    reference, test = [Label(1, "liver", "Liver")], [Label(1, "spleen", "Spleen")]
    assert matched(reference, test) == [("liver", None, "only in the reference"), (None, "spleen", "only in the test")]


def test_a_value_in_another_layer_is_another_value():
    reference, test = [Label(1, "Segment_1", "Segment_1")], [Label(1, "liver", "Liver", layer=1)]
    assert len(matched(reference, test)) == 2


@pytest.mark.parametrize("side", ["reference", "test"])
def test_a_name_that_decides_but_occurs_twice_is_refused(side):
    twice, once = [Label(1, "a", "Lesion"), Label(2, "b", "lesion")], [Label(1, "c", "LESION")]
    sides = (twice, once) if side == "reference" else (once, twice)
    with pytest.raises(InputError, match=f"(?i)'lesion' occurs more than once in the {side}"):
        match_labels(*sides)


def test_a_name_that_occurs_twice_is_no_matter_if_the_ids_decide():
    reference = [Label(1, "a", "Lesion"), Label(2, "b", "Lesion")]
    test = [Label(1, "b", "Lesion"), Label(2, "a", "Lesion")]
    assert matched(reference, test) == [("a", "a", "same id"), ("b", "b", "same id")]


def test_a_name_that_occurs_twice_on_one_side_only_is_left_alone():
    reference = [Label(1, "a", "Lesion"), Label(2, "b", "Lesion")]
    assert matched(reference, []) == [("a", None, "only in the reference"), ("b", None, "only in the reference")]


def test_leftovers_keep_their_order_behind_the_reference():
    reference = [Label(n, name, name) for n, name in enumerate(("d", "a", "c"), start=1)]
    test = [Label(n, name, name) for n, name in enumerate(("z", "c", "y", "d"), start=1)]
    assert matched(reference, test) == [
        ("d", "d", "same id"),
        ("a", None, "only in the reference"),
        ("c", "c", "same id"),
        (None, "z", "only in the test"),
        (None, "y", "only in the test"),
    ]


def test_every_segment_of_both_sides_occurs_exactly_once():
    choices = [
        Label(1, "Segment_1", "Segment_1"),
        Label(2, "Segment_2", "Liver"),
        Label(3, "liver", "Liver 2", terminology=SPLEEN),
        Label(4, "x", "Spleen", terminology=SPLEEN),
        Label(5, "Segment_5", "Segment 5", terminology=KIDNEY),
    ]
    renumbered = [Label(6 - label.value, *list(vars(label).values())[1:]) for label in choices]
    for reference in itertools.permutations(choices, 3):
        for test in itertools.permutations(renumbered, 3):
            matches = match_labels(reference, test)
            assert sorted(m.reference.id for m in matches if m.reference) == sorted(label.id for label in reference)
            assert sorted(m.test.id for m in matches if m.test) == sorted(label.id for label in test)


def test_a_match_reads_as_a_sentence_and_is_named_after_the_reference():
    (both,) = match_labels([Label(1, "a", "Spleen")], [Label(1, "a", "Milz")])
    (alone,) = match_labels([], [Label(1, "a", "Milz")])
    assert str(both) == "'Spleen' with 'Milz' (same id)"
    assert both.label.name == "Spleen"
    assert str(alone) == "'Milz' is only in the test"
    assert alone.label.name == "Milz"
