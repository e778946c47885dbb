"""What goes through files and JSON comes back as it was, bit for bit."""

import dataclasses
import errno
import json

import numpy as np
import pytest

from fixtures_worker import OBLIQUE
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAILib.inference.result import Result
from MedSegAILib.worker.exchange import PIECE_BYTES, pack, plan, unpack, write

SHAPE = (5, 6, 7)


def through(value, folder, mapped=False):
    return unpack(json.loads(json.dumps(pack(value, folder))), folder, mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("dtype", ["f4", ">f4", "f2", "f8", "i2", ">i2", "u1", "u8", "?"])
def test_arrays_keep_type_shape_and_bits(tmp_path, dtype, mapped):
    array = (np.random.default_rng(0).normal(0, 50, (2, *SHAPE))).astype(dtype)
    read = through(array, tmp_path, mapped)
    assert read.dtype == array.dtype
    assert read.tobytes() == array.tobytes()
    assert read.shape == array.shape


@pytest.mark.parametrize("mapped", [False, True])
def test_views_of_any_order_and_small_arrays_come_back(tmp_path, mapped):
    base = np.arange(2 * 8 * 9 * 10).reshape(2, 8, 9, 10)
    for view in (base[:, ::-1, ::2], base.transpose(3, 1, 0, 2), np.asfortranarray(base), base[0, 0, 0], base[0, 0],
                 base[:0], np.array(5.5), np.arange(1000.0)[::3], np.array([np.nan, np.inf, -np.inf])):  # fmt: skip
        np.testing.assert_array_equal(through(view, tmp_path, mapped), view)


def test_a_mapped_array_can_be_changed_and_the_file_stays_as_it_is(tmp_path):
    array = np.ones((1, *SHAPE), np.float32)
    packed = pack(array, tmp_path)
    read = unpack(packed, tmp_path, mapped=True)
    read += 1
    np.testing.assert_array_equal(unpack(packed, tmp_path, mapped=True), array)


def test_a_result_comes_back_with_every_field(tmp_path):
    grid = Grid(SHAPE, OBLIQUE)
    terminology = "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^85151006^海馬~^^~~^^~^^"
    labels = (
        Label(1, "a", "海馬 (left)", (0.1, 0.2, 1 / 3), terminology, 0, (("Segmentation.Status", "inprogress"),)),
        Label(1, "b", "empty", layer=1),
    )
    array = np.random.default_rng(0).integers(0, 2, (2, *SHAPE)).astype(np.uint16)
    maps = Image(np.random.default_rng(1).random((2, *SHAPE), np.float32), grid, {"channels": ["a", "b"]})
    provenance = {"model": {"id": "m", "n": 3}, "none": None, "yes": True, "list": [1, 2.5, "三"], "pair": (1, 2)}
    unsure = Image(np.random.default_rng(2).random((1, *SHAPE), np.float32), grid)
    result = Result(LabelMap(array, grid, labels), maps, unsure, provenance, ["Nothing was found of 海馬."], 1.25)
    read = through(result, tmp_path)
    assert read.label_map.array.tobytes() == array.tobytes()
    assert read.label_map.array.dtype == np.uint16
    assert read.label_map.labels == labels
    assert isinstance(read.label_map.labels[0].tags[0], tuple)
    assert read.probabilities.array.tobytes() == maps.array.tobytes()
    assert read.probabilities.meta == maps.meta
    assert read.uncertainty.array.tobytes() == unsure.array.tobytes()
    for one in (read.label_map.grid, read.probabilities.grid, read.uncertainty.grid):
        assert one.shape == SHAPE
        assert one.ijk_to_ras.tobytes() == grid.ijk_to_ras.tobytes()
    assert (read.provenance, read.warnings, read.seconds) == (provenance, result.warnings, 1.25)
    assert {field.name for field in dataclasses.fields(Result)} == set(vars(read))


def test_any_dictionary_and_numpys_numbers_come_back(tmp_path):
    value = {"$": "tuple", 3: {"": []}, "n": np.float64(0.1), "i": np.int64(-5), "b": np.bool_(True), "t": ((), (1,))}
    assert through(value, tmp_path) == value


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", np.array(["text"]), np.array([None]), np.zeros(3, "c16")]
)
def test_what_is_not_known_is_refused_by_its_type(tmp_path, value):
    with pytest.raises(TypeError, match=r"A (object|set|bytes)|An array of (<U4|object|complex128)"):
        pack(value, tmp_path)


def test_a_file_that_may_not_grow_is_an_error_and_not_a_crash(tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit for the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            pack(np.zeros((30, 100, 100)), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG


def test_a_file_is_written_in_pieces_that_a_window_has_time_for(tmp_path):
    array = np.arange(3 * 40 * 128 * 128, dtype=np.float32).reshape(3, 40, 128, 128)[:, ::2]  # not one block of memory
    packed, files = plan({"volume": array, "name": "x"}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    steps = sum(1 for _ in write(files))
    assert steps >= array.nbytes / PIECE_BYTES
    np.testing.assert_array_equal(unpack(packed, tmp_path, mapped=False)["volume"], array)
