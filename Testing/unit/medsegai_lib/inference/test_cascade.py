"""The second stage sees the first one's labels, resampled label by label; the user sees one run."""

import dataclasses

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from MedSegAICore.errors import Cancelled
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAILib.inference.cascade import resample_labels, with_earlier_labels
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.inference.preprocessing import Placement
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.plans import KEEP, LINEAR, SPLINE, Resampling

PREFIX = "nnUNetTrainer__nnUNetPlans__"
NNUNET = Resampling(SPLINE, 1, 0, None)
TORCH = Resampling(LINEAR, 1, 0, None)


def placement(cropped, prepared, spacing=(1.0, 1.0, 1.0), start=(0, 0, 0), shape=None, forward=(0, 1, 2)):
    new_spacing = tuple(s * n / m for s, n, m in zip(spacing, cropped, prepared, strict=True))
    backward = tuple(int(axis) for axis in np.argsort(forward))
    return Placement(shape or cropped, start, cropped, prepared, spacing, new_spacing, forward, backward, NNUNET)


def along_i(labels, length, how):
    """Resample a row of labels along I."""
    row = torch.tensor(labels, dtype=torch.int32).reshape(1, 1, -1)
    return resample_labels(row, placement((1, 1, len(labels)), (1, 1, length)), how)[0, 0].tolist()


@pytest.mark.parametrize("how", [NNUNET, TORCH])
def test_the_label_with_the_largest_share_wins(how):
    # Six voxels for four: centers at 0.17-, 0.5, 1.17, 1.83, 2.5, 3.17+ of the old ones; no label 1 between 0 and 2.
    assert along_i([0, 0, 2, 2], 6, how)[1:3] == [0, 0]
    assert along_i([0, 0, 2, 2], 6, how)[3:] == [2, 2, 2]


def test_of_equal_shares_the_nearest_voxels_label_wins_in_splines_and_the_smaller_one_in_torch():
    # Half as many voxels: every new center lies exactly between two old ones; the nearest of both is the second.
    assert along_i([1, 3, 3, 1], 2, NNUNET) == [3, 1]
    assert along_i([1, 3, 3, 1], 2, TORCH) == [1, 1]


def test_by_half_nothing_is_left_where_no_label_has_more():
    assert along_i([1, 3, 3, 3], 2, dataclasses.replace(TORCH, by_half=True)) == [0, 3]


def test_a_coarse_axis_takes_the_nearest_slice():
    labels = torch.zeros((2, 4, 4), dtype=torch.int32)
    labels[1] = 1
    place = placement((2, 4, 4), (5, 4, 4), spacing=(10.0, 1.0, 1.0))
    # Centers at 0.2-, 0.1, 0.5, 0.9, 1.3-: of five new slices the last two or three are nearer to the second.
    assert resample_labels(labels, place, NNUNET)[:, 0, 0].tolist() == [0, 0, 1, 1, 1]


def test_nothing_is_resampled_where_the_plan_says_so():
    labels = torch.ones((2, 3, 4), dtype=torch.int32)
    assert resample_labels(labels, placement((2, 3, 4), (4, 3, 4)), Resampling(KEEP, 1, 0, None)) is labels


def test_every_label_becomes_a_channel_in_the_transposed_cropped_place():
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 2, 3], labels[2, 2, 2] = 2, 1
    place = placement((4, 3, 2), (4, 3, 2), start=(0, 0, 2), shape=(4, 3, 5), forward=(1, 0, 2))
    image = Image(np.ones((1, 3, 4, 5), np.float32), Grid((3, 4, 5), np.eye(4)), {})
    result = with_earlier_labels(torch.full((1, 4, 3, 2), 7.0), place, image, labels, (1, 2), NNUNET)
    assert result.shape == (3, 4, 3, 2)
    assert (result[0] == 7).all()
    assert result[1].nonzero().tolist() == [[2, 2, 0]]
    assert result[2].nonzero().tolist() == [[2, 1, 1]]


def test_what_lies_outside_the_nonzero_region_is_no_background():
    # Of four voxels half are label 1, one is background, one is outside: 1 has the largest share. With three kinds made
    # two it would be a tie, which the nearest voxel, background, would win.
    labels = np.array([[[1, 0], [1, 0]]], np.uint8)
    image = Image(np.array([[[[5, 0], [5, 5]]]], np.float32), Grid((1, 2, 2), np.eye(4)), {})
    result = with_earlier_labels(torch.zeros(1, 1, 1, 1), placement((1, 2, 2), (1, 1, 1)), image, labels, (1,), NNUNET)
    assert result[1].item() == 1


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    dataset = tmp_path_factory.mktemp("m") / "Dataset007_Brain"
    options = {"card": False, "mirror_axes": (0,)}
    make_model_folder(
        dataset / f"{PREFIX}3d_lowres", configuration="3d_lowres", spacing=(2.0, 2.0, 2.0), folds=2, **options
    )
    path = dataset / f"{PREFIX}3d_cascade_fullres"
    make_model_folder(path, configuration="3d_cascade_fullres", previous="3d_lowres", **options)
    return Predictor(ModelFolder.open(path), "cpu")


def volume(shape=(24, 40, 30)):
    array = np.random.default_rng(0).normal(100, 20, (1, *shape)).astype(np.float32)
    return Image(array, Grid(shape, np.diag([1.2, 1.0, 0.9, 1])), {})


def test_progress_goes_through_both_stages_and_names_them(cascade):
    seen = []
    cascade.segment(volume(), progress=lambda fraction, message: seen.append((fraction, message.split(":")[0])))
    fractions, names = zip(*seen, strict=True)
    assert list(fractions) == sorted(fractions)
    assert fractions[-1] == 1
    assert list(dict.fromkeys(names)) == ["3d_lowres", "3d_cascade_fullres"]


@pytest.mark.parametrize("stage", ["3d_lowres", "3d_cascade_fullres"])
def test_it_can_be_cancelled_in_either_stage(cascade, stage):
    seen = []

    def progress(_, message):
        seen.append(message.split(":")[0])

    with pytest.raises(Cancelled):
        cascade.segment(volume(), progress=progress, cancelled=lambda: bool(seen) and seen[-1] == stage)
    assert seen.count(stage) == 1


def test_the_record_names_both_stages_with_their_folds_and_sums(cascade):
    record = cascade.segment(volume()).provenance
    stages = record["run"]["parts"]
    assert [(part["configuration"], part["folds"]) for part in stages] == [
        ("3d_lowres", ["0", "1"]),
        ("3d_cascade_fullres", ["0"]),
    ]
    assert stages[0]["sha256"] == cascade.model.previous.checksum != record["model"]["sha256"]


def test_the_second_stage_depends_on_the_first(cascade):
    before = cascade.segment(volume()).label_map.array
    networks = cascade.previous.networks
    cascade.previous.networks = [torch.nn.Sequential(network, Inverted()) for network in networks]
    try:
        assert (cascade.segment(volume()).label_map.array != before).any()
    finally:
        cascade.previous.networks = networks


class Inverted(torch.nn.Module):
    def forward(self, logits):
        return -logits
