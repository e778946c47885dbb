"""What cannot be compared is refused with one sentence that names the value."""

import math

import numpy as np
import pytest

from MedSegAICore.errors import GeometryError, InputError
from MedSegAIMetricsLib import compare

UNIT = (1.0, 1.0, 1.0)


def mask(dtype=bool, shape=(3, 4, 5)) -> np.ndarray:
    array = np.zeros(shape, dtype)
    array[(1,) * len(shape)] = 1
    return array


def with_value(value, dtype) -> np.ndarray:
    array = mask(dtype)
    array[2, 2, 2] = value
    return array


def refusal(error: type, *arguments, **options) -> str:
    """The message; of this very error and no other of its kind."""
    with pytest.raises(error) as caught:
        compare(*arguments, **options)
    assert caught.type is error
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


# What is wrong with a spacing, and what the message says of it.
SPACINGS = {
    "negative": ((1, -0.5, 1), "-0.5"),
    "zero": ((0, 1, 1), "(0.0, 1.0, 1.0)"),
    "NaN": ((1, 1, math.nan), "nan"),
    "infinite": ((1, math.inf, 1), "inf"),
    "of two axes": ((0.7, 0.8), "(0.7, 0.8)"),
    "of four axes": ((1, 1, 1, 9), "9.0"),
    "a single number": (0.7, "(0.7,)"),
    "none at all": ((), "()"),
}


@pytest.mark.parametrize("which", SPACINGS)
def test_a_spacing_that_is_not_three_positive_numbers_is_refused(which):
    spacing, part = SPACINGS[which]
    message = refusal(GeometryError, mask(), mask(), spacing)
    assert "three positive numbers" in message
    assert part in message


def test_different_shapes_are_refused():
    message = refusal(GeometryError, mask(), mask(shape=(3, 5, 4)), UNIT)
    assert "(3, 4, 5)" in message
    assert "(3, 5, 4)" in message


# An array that is no label map, and what the message says of it.
ARRAYS = {
    "probabilities": (with_value(0.25, float), "0.25"),
    "probabilities of half precision": (with_value(0.25, np.float16), "0.25"),
    "whole numbers as floats": (mask(np.float32), "float32"),
    "NaN": (with_value(math.nan, float), "NaN"),
    "infinity": (with_value(math.inf, float), "infinity"),
    "complex numbers": (mask(complex), "complex"),
    "texts": (np.full((3, 4, 5), "liver"), "type"),
    "objects": (mask().astype(object), "object"),
    "four axes": (mask(np.uint8, (2, 3, 4, 5)), "(2, 3, 4, 5)"),
    "two axes": (mask(np.uint8, (4, 5)), "(4, 5)"),
    "one axis": (mask(np.uint8, (4,)), "(4,)"),
    "a single number": (np.uint8(1), "()"),
    "no voxels": (np.zeros((0, 4, 5), np.uint8), "(0, 4, 5)"),
    "a label above 65535": (with_value(65536, np.int32), "65536"),
    "a label far above 65535": (with_value(2**40, np.uint64), str(2**40)),
    "a negative label": (with_value(-3, np.int16), "-3"),
    "Hounsfield units": (with_value(-1024, np.int16), "-1024"),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_an_array_that_is_no_label_map_is_refused(what):
    array, part = ARRAYS[what]
    message = refusal(InputError, array, array, UNIT)
    assert "reference" in message
    assert part in message


@pytest.mark.parametrize("what", ARRAYS)
def test_the_message_says_that_the_test_is_no_label_map(what):
    array, part = ARRAYS[what]
    message = refusal(InputError, mask(), array, UNIT)
    assert "test" in message
    assert part in message


def test_the_highest_label_is_not_refused():
    array = with_value(65535, np.uint16)
    assert compare(array, array, UNIT, measures=["tp"]) == {1: {"tp": 1}, 65535: {"tp": 1}}
    array = array.astype(np.int64)
    assert compare(array, array, UNIT, measures=["tp"]) == {1: {"tp": 1}, 65535: {"tp": 1}}


# Options that mean nothing, and what the message says of each.
OPTIONS = {
    "label 0": ({"labels": [1, 0]}, "0 is background"),
    "a negative label": ({"labels": [-2]}, "-2"),
    "a label above 65535": ({"labels": [70000]}, "70000"),
    "half a label": ({"labels": [1.5]}, "1.5"),
    "a label that is NaN": ({"labels": [math.nan]}, "nan"),
    "a label that is infinite": ({"labels": [math.inf]}, "inf"),
    "a label by name": ({"labels": ["liver"]}, "liver"),
    "an unknown measure": ({"measures": ["dise"]}, "'dise'"),
    "a measure that is empty": ({"measures": [""]}, "''"),
    "one measure instead of a list": ({"measures": "dice"}, "'d'"),
    "an unknown surface": ({"surface": "mesh"}, "'mesh'"),
    "a region without a unit": ({"region": "union+10"}, "'union+10'"),
    "a region of negative margin": ({"region": "union+-3mm"}, "'union+-3mm'"),
    "an unknown region": ({"region": "brain"}, "'brain'"),
    "a percentile of 0": ({"percentiles": [95, 0]}, "it is 0"),
    "a percentile of 101": ({"percentiles": [101]}, "it is 101"),
    "a percentile that is NaN": ({"percentiles": [math.nan]}, "nan"),
    "a negative tolerance": ({"tolerances_mm": [-1]}, "it is -1"),
    "an infinite tolerance": ({"tolerances_mm": [math.inf]}, "inf"),
    "a beta of 0": ({"betas": [0]}, "it is 0"),
    "a percentile of 0 in a name": ({"measures": ["hd0_maxdir_mm"]}, "0"),
    "a percentile of 101 in a name": ({"measures": ["hd101_maxdir_mm"]}, "101"),
    "a beta of 0 in a name": ({"measures": ["fbeta_0"]}, "0"),
    "a negative lesion threshold": ({"lesion_threshold": -0.1, "measures": ["lesions"]}, "-0.1"),
    "a lesion threshold in percent": ({"lesion_threshold": 50, "measures": ["lesions"]}, "50"),
    "a lesion threshold that is NaN": ({"lesion_threshold": math.nan, "measures": ["lesions"]}, "nan"),
}


@pytest.mark.parametrize("what", OPTIONS)
def test_an_option_that_means_nothing_is_refused(what):
    options, part = OPTIONS[what]
    assert part in refusal(InputError, mask(), mask(), UNIT, **options)
