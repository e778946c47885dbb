"""The mean of members' probabilities in blocks, beside the same computed at once on the whole native grid."""

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.errors import Cancelled
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference import ensemble
from MedSegAILib.inference.ensemble import Kept, Mean
from MedSegAILib.inference.export import Outputs
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.inference.preprocessing import Placement
from MedSegAILib.inference.resampling import resize
from MedSegAILib.models.ensemble import Ensemble
from MedSegAILib.models.plans import SPLINE, Resampling

SHAPE = (11, 13, 12)
CPU = torch.device("cpu")
CLASSES, REGIONS = Outputs((0, 1, 2, 3, 4), False), Outputs((1, 3, 2, 4, 300), True)


def placement(prepared, forward=(0, 1, 2), start=(0, 0, 0), cropped=None, order=1):
    """``start``, ``cropped`` and ``prepared`` in the transposed axes."""
    shape = tuple(SHAPE[axis] for axis in forward)
    cropped = cropped or tuple(n - a for n, a in zip(shape, start, strict=True))
    new_spacing = tuple(n / m for n, m in zip(cropped, prepared, strict=True))
    backward = tuple(int(axis) for axis in np.argsort(forward))
    resampling = Resampling(SPLINE, order, 0, None)
    return Placement(shape, start, cropped, prepared, (1, 1, 1), new_spacing, forward, backward, resampling)


def at_once(place, logits, outputs):
    """Probabilities on the whole native grid, as nnU-Net writes them for every member."""
    native = logits.half().float()
    if place.logits_resampling.order == 1:
        native = resize(native, place.cropped, 1)
    else:  # beyond linear, skimage would clip to the range of the whole volume, which blocks do not know
        for dim, axis in enumerate(place.axes):
            native = axis.apply(native, dim + 1, slice(0, axis.length))
    probabilities = (native.sigmoid() if outputs.regions else native.softmax(0)).numpy()
    full = place.restore(probabilities)
    if not outputs.regions:
        full[0] = place.restore(probabilities[:1], fill=1)[0]
    return full


def members(outputs, order=1, scale=8.0):
    torch.manual_seed(0)
    places = [
        placement((7, 16, 9), order=order),
        placement((10, 9, 13), (2, 0, 1), start=(1, 2, 0), order=order),
        placement((6, 8, 8), (1, 0, 2), cropped=(9, 8, 10), order=order),
    ]
    return [(place, torch.randn(len(outputs.values), *place.prepared) * scale) for place in places]


def kept(place, logits, outputs, rows=3):
    target = Kept(place, outputs)
    for first in range(0, logits.shape[1], rows):
        weights = torch.rand(logits[0, first : first + rows].shape) + 1
        target.add(first, logits[:, first : first + rows] * weights, weights)
    return target


@pytest.mark.parametrize("outputs", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_blocks_transposes_and_crops_change_nothing(monkeypatch, outputs, order, scale):
    monkeypatch.setattr(ensemble, "BLOCK", (4, 5, 3))
    parts = members(outputs, order, scale)
    mean = Mean([kept(*part, outputs) for part in parts], outputs, CPU, probabilities=True)
    expected = np.mean([at_once(*part, outputs) for part in parts], axis=0)
    segments = expected if outputs.regions else expected[1:]
    # A weighted sum that is divided again can round to the half-precision number beside.
    assert mean.probabilities() == pytest.approx(segments, abs=2e-2)
    assert np.abs(mean.probabilities() - segments).mean() < 1e-4
    if outputs.regions:
        labels = np.zeros(SHAPE, int)
        for value, probability in zip(outputs.values, expected, strict=True):
            labels[probability > 0.5] = value
    else:
        labels = expected.argmax(0)
    assert (mean.labels() == labels).mean() > 0.998
    assert mean.labels().dtype == (np.uint16 if outputs.regions else np.uint8)
    assert mean.uncertainty() is None


@pytest.mark.parametrize("outputs", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_blocks_of_which_all_members_are_certain_are_not_computed_and_stay_the_same(monkeypatch, outputs):
    monkeypatch.setattr(ensemble, "BLOCK", (3, 3, 3))
    torch.manual_seed(1)
    coarse, places = torch.randn(1, len(outputs.values), 2, 2, 2) * 6, [place for place, _ in members(outputs)][:2]
    all_kept = []
    for place in places:  # the same smooth answer on both grids, so that they agree in most places
        native = torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear")[0]
        native = native.permute(0, *(axis + 1 for axis in place.transpose_forward))[(slice(None), *place.crop)]
        all_kept.append(kept(place, resize(native, place.prepared, 1), outputs))
    several, asked = Mean(all_kept, outputs, CPU, True), []
    block = Kept.block
    monkeypatch.setattr(Kept, "block", lambda *arguments: asked.append(1) or block(*arguments))
    alone = Mean(all_kept, outputs, CPU)
    assert np.array_equal(several.labels(), alone.labels())
    assert alone.probabilities() is None
    assert len(np.unique(alone.labels())) > 2
    assert 0 < len(asked) / 2 < 4 * 5 * 4


def constant(*logits):
    place = placement(SHAPE)
    return kept(place, torch.tensor(logits).reshape(-1, 1, 1, 1).expand(-1, *SHAPE), CLASSES)


def test_a_less_sure_majority_outvotes_one_that_is_sure():
    # softmax of (0, 4, 3): 0.26 and 0.72 for the last two; the mean of three logits would be the first one's.
    sure, unsure = constant(0.0, 9.0, 0, 0, 0), constant(0.0, 0, 3.0, 0, 0)
    mean = Mean([sure, unsure, unsure], CLASSES, CPU, probabilities=True)
    third = np.exp(3) / (np.exp(3) + 4)
    assert mean.probabilities()[1] == pytest.approx((np.exp(0) / (np.exp(9) + 4) + 2 * third) / 3, abs=1e-4)
    assert (mean.labels() == 2).all()


def test_of_members_that_are_equally_sure_the_smaller_label_wins():
    mean = Mean([constant(0.0, 0, 0, 50.0, 0), constant(0.0, 50.0, 0, 0, 0)], CLASSES, CPU, True, uncertainty=True)
    assert (mean.labels() == 1).all()
    assert mean.probabilities()[[0, 2]] == pytest.approx(0.5)
    assert mean.uncertainty() == pytest.approx(np.log(2) / np.log(5))  # one bit of log2(5)
    assert Mean([constant(0.0, 50.0, 0, 0, 0)] * 2, CLASSES, CPU, uncertainty=True).uncertainty().max() == 0


def test_logits_too_large_for_half_precision_are_kept_as_they_are():
    assert (Mean([constant(0.0, 7e4, 6.9e4, 0, 0)] * 2, CLASSES, CPU).labels() == 1).all()
    assert (Mean([constant(0.0, 7e4, 7.1e4, 0, 0)] * 2, CLASSES, CPU).labels() == 2).all()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m") / "Dataset007_Brain"
    options = {"card": False, "mirror_axes": (0,), "channels": 1}
    flat = make_model_folder(folder / "nnUNetTrainer__nnUNetPlans__2d", "2d", spacing=(1.4, 1.2), **options)
    deep = make_model_folder(folder / "nnUNetTrainer__nnUNetPlans__3d_fullres", seed=5, folds=2, **options)
    return Predictor(Ensemble.of([flat, deep]), "cpu", quality="best")


def volume(shape=(20, 30, 26)):
    array = np.random.default_rng(0).normal(100, 20, (1, *shape)).astype(np.float32)
    matrix = np.array([[0.9, 0.2, 0.1, -20], [-0.25, 1.1, 0.2, 30], [0.05, -0.3, 1.4, 5], [0, 0, 0, 1]])
    return Image(array, Grid(shape, matrix), {})


def test_two_and_three_dimensions_are_averaged_on_an_oblique_volume(predictor):
    image = volume()
    result = predictor.segment(image, probabilities=True, uncertainty=True)
    alone = [member.segment(image, probabilities=True).probabilities.array for member in predictor.members]
    assert np.array_equal(result.label_map.grid.ijk_to_ras, image.grid.ijk_to_ras)
    assert result.probabilities.array == pytest.approx((alone[0] + alone[1]) / 2, abs=2e-2)
    mean = np.concatenate([1 - result.probabilities.array.sum(0, keepdims=True), result.probabilities.array])
    assert (mean.argmax(0) == result.label_map.array).mean() > 0.999
    assert 0 < result.uncertainty.array.max() <= 1
    parts = result.provenance["run"]["parts"]
    assert [(part["configuration"], part["folds"], part["mirror_axes"]) for part in parts] == [
        ("2d", ["0"], [0]),
        ("3d_fullres", ["0", "1"], [0]),
    ]


def test_progress_and_cancel_cover_all_members(predictor):
    seen = []
    predictor.segment(volume(), progress=lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    asked = []
    with pytest.raises(Cancelled):  # after the last tile, while the answers are averaged
        predictor.segment(volume(), cancelled=lambda: asked.append(1) or len(asked) > len(seen))
