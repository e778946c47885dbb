"""A volume in, a label map on exactly its grid out; and every reason to refuse."""

import dataclasses
import json

import numpy as np
import pytest

from fixtures_models import make_model_folder
from MedSegAICore.errors import Cancelled, DeviceError, InputError, ModelError, ProtocolError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAICore.orientation import Turn
from MedSegAILib.inference.devices import choose_device, describe_device, try_convolution
from MedSegAILib.inference.prediction import Predictor, segment_image
from MedSegAILib.inference.provenance import geometry_hash
from MedSegAILib.models import folder
from MedSegAILib.models.folder import ModelFolder

OBLIQUE = np.array([[0.9, 0.2, 0.1, -20], [-0.25, 1.1, 0.2, 30], [0.05, -0.3, 1.4, 5], [0, 0, 0, 1]])


def volume(shape=(20, 30, 26), matrix=OBLIQUE, seed=0, channels=1, **meta):
    array = np.random.default_rng(seed).normal(100, 20, (channels, *shape)).astype(np.float32)
    return Image(array, Grid(shape, matrix), meta)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ModelFolder.open(make_model_folder(tmp_path_factory.mktemp("m") / "random"))


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model, "cpu")


@pytest.mark.parametrize("kind", ["3d", "2d", "residual", "anisotropic", "regions"])
def test_every_kind_of_model_gives_labels_on_the_volumes_grid(tmp_path, kind):
    result = segment_image(volume(), ModelFolder.open(make_model_folder(tmp_path / "m", kind)), device="cpu")
    assert result.label_map.grid is not None
    assert np.array_equal(result.label_map.grid.ijk_to_ras, OBLIQUE)
    assert result.label_map.array.shape == (20, 30, 26)
    assert result.label_map.array.dtype == np.uint8
    assert result.label_map.array.any()


def test_names_and_terminology_come_from_the_card(predictor):
    labels = predictor.segment(volume()).label_map.labels
    assert [(label.value, label.id, label.name) for label in labels] == [
        (1, "front", "Front part"),
        (2, "back", "Back part"),
    ]
    assert "SCT^85151006" in labels[0].terminology


def test_probabilities_have_a_channel_per_segment_and_agree_with_the_labels(predictor):
    result = predictor.segment(volume(), probabilities=True)
    maps = result.probabilities.array
    winner = np.concatenate([1 - maps.sum(0, keepdims=True), maps]).argmax(0)
    assert (winner == result.label_map.array).mean() > 0.9999


def test_two_folds_are_averaged_and_one_can_be_chosen(tmp_path):
    model = ModelFolder.open(make_model_folder(tmp_path / "m", folds=2))
    both, first = (Predictor(model, "cpu", folds=folds).segment(volume()) for folds in (None, ["0"]))
    assert both.provenance["run"]["folds"] == ["0", "1"]
    assert not np.array_equal(both.label_map.array, first.label_map.array)
    with pytest.raises(ModelError, match="no fold '7'.*0, 1"):
        Predictor(model, "cpu", folds=["7"])


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL", "PIR"])
def test_the_same_anatomy_is_segmented_alike_however_it_is_stored(tmp_path, orientation):
    model = ModelFolder.open(make_model_folder(tmp_path / "m", card={"input": {"orientation": "RAS"}}))
    original = volume(matrix=np.diag([1.0, 1, 1, 1]))
    expected = segment_image(original, model, device="cpu").label_map.array
    turn = Turn.between("RAS", orientation)
    stored = Image(np.ascontiguousarray(turn.array(original.array)), turn.grid(original.grid))
    result = segment_image(stored, model, device="cpu")
    assert result.label_map.grid.matches(stored.grid)
    assert np.array_equal(turn.inverse.array(result.label_map.array), expected)


def test_declared_postprocessing_is_done(tmp_path):
    from scipy import ndimage

    card = {"postprocessing": {"largest_component": [[1], [2]], "fill_holes": []}}
    plain, cleaned = (
        segment_image(
            volume(), ModelFolder.open(make_model_folder(tmp_path / name, card=c)), device="cpu"
        ).label_map.array
        for name, c in (("plain", True), ("cleaned", card))
    )

    def components(labels):
        return sum(ndimage.label(labels == value, np.ones((3, 3, 3)))[1] for value in (1, 2))

    assert components(plain) > 2
    assert components(cleaned) == 2
    assert not (cleaned & ~plain).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 2}, r"needs 1 channel\(s\).*has 2"),
        ({"shape": (1, 30, 26)}, "single slice"),
    ],
)
def test_a_volume_of_another_kind_is_refused(predictor, change, message):
    with pytest.raises(InputError, match=message):
        predictor.segment(volume(**change))


def test_voxels_without_value_are_counted(predictor):
    image = volume()
    image.array[0, 3, 4, 5] = np.nan
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        predictor.segment(image)
    with pytest.raises(InputError, match="is 7 everywhere"):
        predictor.segment(dataclasses.replace(image, array=np.full(image.array.shape, 7)))


def test_a_volume_off_protocol_is_warned_of_or_refused(tmp_path):
    model = ModelFolder.open(make_model_folder(tmp_path / "m", card={"input": {"modality": ["MR"]}}))
    predictor = Predictor(model, "cpu")
    assert any("The modality is CT" in warning for warning in predictor.segment(volume(modality="CT")).warnings)
    with pytest.raises(ProtocolError, match="The modality is CT"):
        predictor.segment(volume(modality="CT"), strict=True)


def test_a_model_without_card_or_mirroring_says_so(tmp_path):
    model = ModelFolder.open(make_model_folder(tmp_path / "m", card=False, mirror_axes=()))
    warnings = Predictor(model, "cpu", mirroring=True).segment(volume()).warnings
    assert any("no model card" in warning for warning in warnings)
    assert any("nothing is mirrored" in warning for warning in warnings)


def test_cancel_and_progress(predictor):
    seen = []
    with pytest.raises(Cancelled):
        predictor.segment(volume(), progress=lambda f, m: seen.append(f), cancelled=lambda: len(seen) >= 2)
    assert len(seen) == 2
    seen.clear()
    predictor.segment(volume(), progress=lambda f, m: seen.append(f))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_provenance_is_json_names_the_model_and_no_file(predictor):
    image = volume(source="Doe^Jane.nii.gz")
    provenance = json.loads(json.dumps(predictor.segment(image).provenance))
    assert provenance["model"]["id"] == "random"
    assert len(provenance["model"]["sha256"]) == 64
    assert provenance["software"]["torch"]
    assert provenance["input"]["shape_kji"] == [20, 30, 26]
    assert "Doe" not in json.dumps(provenance)


def test_the_geometry_hash_survives_rounding_in_files(predictor):
    moved = OBLIQUE + 1e-6
    moved[3] = OBLIQUE[3]
    assert geometry_hash(volume(matrix=moved)) == geometry_hash(volume())
    moved[0, 3] += 0.01
    assert geometry_hash(volume(matrix=moved)) != geometry_hash(volume())


@pytest.mark.parametrize("name", ["cuda:77", "gpu", "meta", ""])
def test_devices_that_are_not_here_are_refused(name):
    with pytest.raises(DeviceError, match="auto"):
        choose_device(name)


def test_the_cpu_can_run_a_convolution():
    device = choose_device("cpu")
    assert describe_device(device).startswith("cpu (")
    assert try_convolution(device) > 0


@pytest.mark.parametrize(("factor", "dtype"), [(1e36, np.float32), (1e298, np.float64)])
def test_intensities_beyond_float32_are_refused_instead_of_found_empty(predictor, factor, dtype):
    image = volume()
    with pytest.raises(InputError, match="as large as"):
        predictor.segment(dataclasses.replace(image, array=image.array.astype(dtype) * dtype(factor)))


def test_intensities_of_millions_are_segmented_like_their_small_copy(predictor):
    image = volume()
    loud = dataclasses.replace(image, array=image.array * np.float32(1e4))
    agreement = predictor.segment(loud).label_map.array == predictor.segment(image).label_map.array
    assert agreement.mean() > 0.999


@pytest.mark.parametrize(
    "reason",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")],
)
def test_too_little_memory_is_one_sentence_that_names_size_and_spacing(predictor, monkeypatch, reason):
    def fail(*_, **__):
        raise reason

    monkeypatch.setattr(folder, "preprocess", fail)
    with pytest.raises(DeviceError, match=r"not enough memory.*20 x 30 x 26 voxels of 1000 x 1000 x 1000 mm.*spacing"):
        predictor.segment(volume(matrix=np.diag([1000.0, 1000, 1000, 1])))


def test_other_failures_are_not_taken_for_a_lack_of_memory(predictor, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(folder, "preprocess", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        predictor.segment(volume())
