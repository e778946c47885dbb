"""Data sets are found in both layouts, split without leaks, and sampled as asked."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MedSegAICore.errors import TrainingError
from MedSegAILib.training.augmentation import Augmentation
from MedSegAILib.training.dataset import PatchSampler, make_folds, open_dataset, prepare_case


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def volume(seed=0):
    return np.random.default_rng(seed).normal(size=(8, 9, 10)).astype(np.float32)


def labels(*values):
    array = np.zeros((8, 9, 10), np.uint8)
    for number, value in enumerate(values):
        array[2 + number, 3:6, 3:6] = value
    return array


def test_a_plain_folder_of_images_and_labels(tmp_path):
    for case in ("a", "b"):
        write(tmp_path / f"images/{case}.nii.gz", volume())
        write(tmp_path / f"labels/{case}.nii.gz", labels(1, 4))
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert dataset.label_values == {"background": 0, "label_1": 1, "label_4": 4}
    assert dataset.cases[0].read_image().array.shape == (1, 8, 9, 10)
    assert np.array_equal(dataset.cases[0].read_labels(), labels(1, 4))


def test_nnunets_raw_layout_with_two_channels(tmp_path):
    for channel in (0, 1):
        write(tmp_path / f"imagesTr/x_000{channel}.nii.gz", volume(channel))
    write(tmp_path / "labelsTr/x.nii.gz", labels(1))
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "tumor": 1},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path)
    assert dataset.cases[0].id == "x"
    assert np.allclose(dataset.cases[0].read_image().array, [volume(0), volume(1)])


def test_the_decathlons_dataset_json_is_understood(tmp_path):
    write(tmp_path / "imagesTr/hippocampus_001.nii.gz", volume())
    write(tmp_path / "labelsTr/hippocampus_001.nii.gz", labels(1))
    content = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path)
    assert dataset.cases[0].id == "hippocampus_001"
    assert dataset.label_values == {"background": 0, "Anterior": 1, "Posterior": 2}


def test_an_image_without_label_and_an_empty_folder_are_refused(tmp_path):
    write(tmp_path / "images/a.nii.gz", volume())
    (tmp_path / "labels").mkdir()
    with pytest.raises(TrainingError, match="no label.*'a'"):
        open_dataset(tmp_path)
    with pytest.raises(TrainingError, match="not a data set"):
        open_dataset(tmp_path / "labels")


def test_folds_cover_every_case_once_and_never_leak():
    ids = [f"case_{number:02d}" for number in range(23)]
    folds = make_folds(ids, 5)
    assert sorted(id for fold in folds for id in fold["val"]) == ids
    for fold in folds:
        assert not set(fold["train"]) & set(fold["val"])
        assert sorted(fold["train"] + fold["val"]) == ids
    assert folds == make_folds(list(reversed(ids)), 5)
    with pytest.raises(TrainingError, match="23 cases"):
        make_folds(ids, 24)


def sampler(cases, **options):
    settings = {
        "patch_size": (4, 4, 4),
        "spacing": (1, 1, 1),
        "batch_size": 2,
        "augmentation": Augmentation.named("none"),
    }
    return PatchSampler(cases, [(0,), (1,), (2,)], **{**settings, **options})


def test_foreground_oversampling_always_shows_a_label():
    array = np.zeros((30, 30, 30), np.uint8)
    array[20, 21, 22] = 2
    case = prepare_case("x", np.zeros((1, 30, 30, 30), np.float32), array, np.random.default_rng(0))
    draw = sampler([case], foreground_fraction=1.0)
    for _ in range(10):
        _, target, _ = draw.batch()
        assert target[:, 2].flatten(1).sum(1).tolist() == [1, 1]


def test_every_case_is_seen_once_before_any_comes_twice():
    cases = [
        prepare_case(
            str(n), np.full((1, 4, 4, 4), n, np.float32), np.zeros((4, 4, 4), np.uint8), np.random.default_rng(0)
        )
        for n in range(6)
    ]
    draw = sampler(cases, batch_size=3)
    seen = torch.cat([draw.batch()[0][:, 0, 2, 2, 2] for _ in range(2)])
    assert sorted(seen.round().int().tolist()) == [0, 1, 2, 3, 4, 5]


def test_regions_are_multi_hot_and_the_ignore_label_becomes_a_mask():
    array = np.zeros((4, 4, 4), np.uint8)
    array[0], array[1], array[2] = 1, 2, 3
    case = prepare_case("x", np.zeros((1, 4, 4, 4), np.float32), array, np.random.default_rng(0))
    draw = PatchSampler(
        [case], [(1, 2), (2,)], (4, 4, 4), (1, 1, 1), 1, Augmentation.named("none"), regions=True, ignore=3
    )
    _, target, mask = draw.batch()
    assert target[0, 0, :, 0, 0].tolist() == [1, 1, 0, 0]
    assert target[0, 1, :, 0, 0].tolist() == [0, 1, 0, 0]
    assert mask[0, 0, :, 0, 0].tolist() == [1, 1, 0, 1]


def test_labels_outside_a_small_volume_are_background():
    case = prepare_case("x", np.ones((1, 2, 2, 2), np.float32), np.ones((2, 2, 2), np.uint8), np.random.default_rng(0))
    image, target, _ = sampler([case]).batch()
    assert image.sum().item() == pytest.approx(2 * 8, abs=1e-3)
    assert target[:, 1].sum().item() == pytest.approx(2 * 8, abs=1e-3)
    assert torch.allclose(target.sum(1), torch.ones(2, 4, 4, 4))
