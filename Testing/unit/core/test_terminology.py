"""Slicer's seven-part string and the codes in it."""

import pytest

from MedSegAICore.terminology import TISSUE, Code, Terms

TEXT = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney"
    "~SCT^7771000^Left~Anatomic codes - DICOM master list~SCT^818983003^Abdomen~SCT^24028007^Right"
)


def test_all_seven_parts_are_read_and_written():
    terms = Terms.parse(TEXT)
    assert terms.category == Code("SCT", "123037004", "Anatomical Structure")
    assert terms.type == Code("SCT", "64033007", "Kidney")
    assert terms.type_modifier == Code("SCT", "7771000", "Left")
    assert (terms.region.meaning, terms.region_modifier.meaning) == ("Abdomen", "Right")
    assert str(terms) == TEXT


def test_a_segment_without_codes_is_tissue_as_in_slicer():
    assert Terms.parse("") == Terms(TISSUE, TISSUE)
    assert str(Terms.parse("")) == ""


@pytest.mark.parametrize("text", ["nonsense", "a~b~c~d~e~f~g", "~~~~~~", "x~^^~^^~^^~y~^^~^^", "a~b^c~d^e^f^g"])
def test_a_damaged_string_says_nothing(text):
    assert Terms.parse(text) == Terms()


def test_a_category_without_a_type_is_its_own_type():
    terms = Terms.parse("list~SCT^123037004^Anatomical Structure~^^~^^~codes~^^~^^")
    assert terms.type == terms.category == Code("SCT", "123037004", "Anatomical Structure")


def test_separators_in_a_meaning_do_not_break_the_string():
    terms = Terms(TISSUE, Code("99X", "1", "a~b^c"))
    assert Terms.parse(str(terms)).type == Code("99X", "1", "a b c")
