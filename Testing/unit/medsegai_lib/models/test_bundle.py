"""MONAI bundles give the labels that MONAI gives, and those that want what is not known are refused by name."""

import json
import sys

import numpy as np
import pytest
from scipy import ndimage

from fixtures_scene import make_grid, rotation
from MedSegAICore.errors import DependencyError, InputError, ModelError
from MedSegAICore.files import read_image, write_image
from MedSegAICore.image import Image

pytest.importorskip("monai")

from fixtures_bundles import POSTPROCESSING, PREPROCESSING, UNET, change_inference, make_bundle, run_with_monai
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.inference.prediction import segment_image
from MedSegAILib.models.bundle import MonaiBundle
from MedSegAILib.models.checksums import file_sha256

# Anterior, left and inferior first, tilted, and thick slices. The slices are an odd number: with an even one, 3 mm to
# 2 mm ends at half a slice, which MONAI rounds up or down with the last digit of the affine.
FLIPPED = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
GRID = make_grid((21, 34, 40), rotation(-25, 15, 5) @ FLIPPED, (0.9, 1.1, 3.0), (-80, 20, 33))
ALIKE = 0.999
SIGMOID = [
    {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
    POSTPROCESSING[1],
    {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.4},
]
REGIONS = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"}  # noqa: E501  # fmt: skip


def step(name, **arguments):
    return {"_target_": name, "keys": "@image_key", **arguments}


def replaced(transforms, **changed):
    """The transforms with others for some of them, by name; None leaves one out, a list stands for several."""
    result = []
    for transform in transforms:
        new = changed.get(transform["_target_"], transform)
        result += new if isinstance(new, list) else [new] if new else []
    return result


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """A file with the volume, for MONAI reads files."""
    pytest.importorskip("nibabel")  # MONAI turns volumes with it
    path = tmp_path_factory.mktemp("volumes") / "case.nii.gz"
    noise = np.random.default_rng(1).normal(size=(3, *GRID.shape))
    smooth = ndimage.gaussian_filter(noise, (0, 1, 3, 3)) * 100 + 20
    smooth[:, :, :6] = -50  # a foreground to crop to
    smooth[:, :, :, 31:] = -50
    write_image(path, Image(smooth[:1].astype(np.float32), GRID))
    return path


VARIANTS = {
    "probabilities, then the largest": {},
    "logits, then softmax": {"postprocessing": [POSTPROCESSING[1], POSTPROCESSING[0], POSTPROCESSING[2]]},
    "labels by the nearest voxel": {
        "postprocessing": [POSTPROCESSING[2], {**POSTPROCESSING[1], "nearest_interp": True}],
        "entries": {"pixdim": [1.33, 1.43, 1.93]},  # with which no voxel is half-way between two others
    },
    "gaussian tiles, repeated border": {
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 48], "overlap": [0.25, 0.25, 0.25],
                    "mode": "gaussian", "padding_mode": "replicate"},
    },
    "cropped to the foreground at the new spacing": {
        "preprocessing": replaced(PREPROCESSING, NormalizeIntensityd=[
            step("CropForegroundd", source_key="@image_key", select_fn="$lambda x: x > -40", margin=1),
            step("ScaleIntensityRanged", a_min=-50, a_max=100, b_min=0.0, b_max=1.0, clip=True),
        ]),
    },
    "cropped, then resampled, then turned, then padded": {
        "preprocessing": replaced(
            PREPROCESSING,
            Orientationd=step("CropForegroundd", source_key="@image_key", select_fn="$lambda x: x > -40"),
            NormalizeIntensityd=[
                step("Orientationd", axcodes="LPS"), step("ScaleIntensityd", minv=-1.0, maxv=1.0),
                step("DivisiblePadd", k=16),
            ],
        ),
    },
    "the whole volume at once": {
        "preprocessing": replaced(PREPROCESSING, EnsureTyped=step("DivisiblePadd", k=4)),
        "inferer": {"_target_": "SimpleInferer"},
    },
    "slices": {
        "network": {**UNET, "spatial_dims": 2},
        "inferer": {"_target_": "SliceInferer", "roi_size": [24, 16], "spatial_dim": 1},
    },
    "one region by sigmoid": {
        "network": {**UNET, "out_channels": 1}, "postprocessing": SIGMOID, "names": ("lesion",),
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_labels_are_those_of_monai_on_an_oblique_flipped_anisotropic_volume(volume, tmp_path, variant):
    bundle = make_bundle(tmp_path / "bundle", **VARIANTS[variant])
    ours = segment_image(read_image(volume), MonaiBundle.open(bundle), device="cpu", quality="best").label_map
    theirs = run_with_monai(bundle, volume)[0].transpose(2, 1, 0)
    assert len(np.unique(theirs)) > 1
    assert np.mean(ours.array == theirs) >= ALIKE
    assert ours.grid.matches(read_image(volume).grid)


def test_the_largest_component_of_each_label_is_kept_where_the_bundle_says_so(volume, tmp_path):
    keep = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1]}
    bundle = make_bundle(tmp_path / "bundle")
    expected = run_with_monai(bundle, volume)[0].transpose(2, 1, 0)
    components, count = ndimage.label(expected == 1, np.ones((3, 3, 3)))
    assert count > 1
    largest = np.bincount(components.ravel())[1:].argmax() + 1
    expected[(expected == 1) & (components != largest)] = 0
    bundle = make_bundle(tmp_path / "largest", postprocessing=[*POSTPROCESSING, keep])
    ours = segment_image(read_image(volume), MonaiBundle.open(bundle), device="cpu", quality="best").label_map.array
    assert np.mean(ours == expected) >= ALIKE


def test_regions_that_overlap_are_kept_in_layers_as_monai_keeps_them_in_channels(volume, tmp_path):
    names = ("core", "whole", "rim")
    bundle = make_bundle(tmp_path / "bundle", postprocessing=SIGMOID, names=names)
    ours = segment_image(read_image(volume), MonaiBundle.open(bundle), device="cpu", quality="best", probabilities=True)
    theirs = run_with_monai(bundle, volume).transpose(0, 3, 2, 1)
    assert [label.name for label in ours.label_map.labels] == list(names)
    assert ((theirs > 0).sum(0) > 1).any()  # they do overlap
    for label, mask in zip(ours.label_map.labels, theirs, strict=True):
        assert np.mean(ours.label_map.mask(label) == (mask > 0)) >= ALIKE
    maps = ours.probabilities.array
    assert 0 <= maps.min() <= maps.max() <= 1
    assert np.mean((maps > 0.4) == (theirs > 0)) >= ALIKE


def test_regions_that_the_bundle_makes_labels_of_are_written_as_it_says(volume, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", postprocessing=[*SIGMOID, REGIONS], names=("core", "whole", "rim"))
    model = MonaiBundle.open(bundle)
    assert {label.value: label.name for label in model.labels} == {2: "whole", 1: "core", 4: "rim"}
    ours = segment_image(read_image(volume), model, device="cpu", quality="best").label_map.array
    theirs = run_with_monai(bundle, volume)[0].transpose(2, 1, 0)
    assert set(np.unique(theirs)) == {0, 1, 2, 4}
    assert np.mean(ours == theirs) >= ALIKE


def test_a_background_among_regions_is_no_segment(volume, tmp_path):
    names = ("background", "artery", "vein")
    model = MonaiBundle.open(make_bundle(tmp_path / "bundle", postprocessing=SIGMOID, names=names))
    result = segment_image(
        read_image(volume), model, device="cpu", quality="best", probabilities=True, uncertainty=True
    )
    theirs = run_with_monai(model.path, volume).transpose(0, 3, 2, 1)
    assert [(label.id, label.value) for label in result.label_map.labels] == [("artery", 2), ("vein", 3)]
    for label, mask in zip(result.label_map.labels, theirs[1:], strict=True):
        assert np.mean(result.label_map.mask(label) == (mask > 0)) >= ALIKE
    assert result.probabilities.channels == 2
    assert 0 <= result.uncertainty.array.min() < result.uncertainty.array.max() <= 1


NETWORKS = {
    "AttentionUnet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]},
    "HighResNet": {"spatial_dims": 3, "in_channels": 1, "out_channels": 3},
    "SegResNet": {"in_channels": 1, "out_channels": 3, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "SegResNetVAE": {
        "in_channels": 1, "out_channels": 3, "init_filters": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1],
        "input_image_size": [16, 16, 16],
    },
    "DynUNet": {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8], "deep_supervision": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_labels_that_they_give_in_monai(volume, tmp_path, name):
    bundle = make_bundle(tmp_path / "bundle", network={"_target_": name, **NETWORKS[name]})
    model = MonaiBundle.open(bundle)
    model.check_weights()
    ours = segment_image(read_image(volume), model, device="cpu", quality="best").label_map.array
    theirs = run_with_monai(bundle, volume)[0].transpose(2, 1, 0)
    assert len(np.unique(theirs)) > 1
    assert np.mean(ours == theirs) >= ALIKE


def test_a_network_that_is_not_known_runs_as_torchscript_where_the_bundle_has_it(volume, tmp_path):
    import torch

    bundle = make_bundle(tmp_path / "bundle")
    expected = segment_image(read_image(volume), MonaiBundle.open(bundle), device="cpu", quality="best").label_map.array
    network = MonaiBundle.open(bundle).load_networks("cpu")[0][0]._network
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, 16, 16, 16)), bundle / "models/model.ts")
    change_inference(bundle, network_def={"_target_": "scripts.net.TheirNetwork"})
    model = MonaiBundle.open(bundle)
    assert model.weights.name == "model.ts"
    assert np.array_equal(
        segment_image(read_image(volume), model, device="cpu", quality="best").label_map.array, expected
    )


def test_a_bundle_says_what_it_is(tmp_path):
    model = MonaiBundle.open(make_bundle(tmp_path / "spleen_ct", channels=("CT",)))
    assert (model.id, model.title, model.version, model.format) == ("spleen_ct", "Tiny bundle", "0.1.0", "MONAI bundle")
    assert (model.channel_names, model.spacing, model.tile) == (("CT",), (1.5, 1.5, 2.0), (16, 16, 16))
    assert [(label.value, label.id) for label in model.labels] == [(1, "front"), (2, "back")]


def test_the_checksum_depends_on_the_weights_and_on_the_configuration(tmp_path):
    sums = [MonaiBundle.open(make_bundle(tmp_path / str(seed), seed=seed)).checksum for seed in (0, 1)]
    same = MonaiBundle.open(make_bundle(tmp_path / "same"))
    assert same.checksum == sums[0] != sums[1]
    changed = MonaiBundle.open(change_inference(same.path, pixdim=[1.0, 1.0, 1.0]))
    assert changed.checksum != sums[0]


def test_a_card_beside_the_bundle_names_segments_and_sums(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    card = {
        "schema_version": 1, "id": "front-and-back", "title": "Front and back", "version": "3.0", "license": "MIT",
        "intended_use": "Tests", "postprocessing": {"largest_component": [[2]]},
        "structures": [{"label": 1, "id": "f", "name": "Front part"}, {"label": 2, "id": "b", "name": "Back part"}],
        "weights_sha256": {"models/model.pt": file_sha256(bundle / "models/model.pt")},
    }  # fmt: skip
    (bundle / "model_card.json").write_text(json.dumps(card))
    model = MonaiBundle.open(bundle)
    assert (model.id, model.version, [label.id for label in model.labels]) == ("front-and-back", "3.0", ["f", "b"])
    assert model.postprocessing == Postprocessing(((2,),))
    model.check_weights()
    (bundle / "models/model.pt").write_bytes(b"other")
    with pytest.raises(ModelError, match="was changed or damaged"):
        MonaiBundle.open(bundle).check_weights()
    (bundle / "model_card.json").write_text(json.dumps({**card, "structures": card["structures"][:1]}))
    with pytest.raises(ModelError, match="no structure for label 2"):
        MonaiBundle.open(bundle)


def test_without_monai_a_bundle_is_listed_and_running_it_says_what_to_install(tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundle")
    for name in [name for name in sys.modules if name.partition(".")[0] == "monai"]:
        monkeypatch.setitem(sys.modules, name, None)
    model = MonaiBundle.open(bundle)
    assert model.title == "Tiny bundle"
    with pytest.raises(DependencyError, match="pip install --no-deps monai"):
        model.load_networks("cpu")


REFUSED = {
    "transforms.Their": {"preprocessing": [step("scripts.transforms.Theird")]},
    "RandFlipd": {"preprocessing": [*PREPROCESSING, step("RandFlipd")]},
    "posix.system": {"postprocessing": [{"_target_": "posix.system", "command": "true"}]},
    "x.clip": {"postprocessing": [{"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x.clip(0)"}]},
    "DenseNet121": {"entries": {"network_def": {"_target_": "DenseNet121"}}},
    "subprocess.run": {"entries": {"network_def": {"_target_": "subprocess.run", "args": ["true"]}}},
    "PatchInferer": {"inferer": {"_target_": "PatchInferer"}},
    "'roi'": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@roi", "overlap": 0.5},
              "entries": {"roi": "'roi'"}},
    "@nowhere": {"inferer": "@nowhere"},
    "in a circle": {"entries": {"inferer": "@a", "a": "@b", "b": "@a"}},
    "outside its own folder": {"entries": {"checkpointloader": {
        "_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/../../secret.pt'"}}},
    "several images": {"preprocessing": [{"_target_": "LoadImaged", "keys": ["t1", "t2"]}]},
    "softmax probabilities with a threshold": {"postprocessing": [POSTPROCESSING[0], SIGMOID[2]]},
    "mode 'bicubic'": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "mode": "bicubic"}},
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_a_bundle_that_wants_what_is_not_known_is_refused_by_name(tmp_path, words):
    with pytest.raises(ModelError, match=r"^[^\n]*$") as refused:
        MonaiBundle.open(make_bundle(tmp_path / "bundle", **REFUSED[words]))
    assert words in str(refused.value)


@pytest.mark.parametrize("weights", [b"damaged", None, "pickle", "another network"])
def test_weights_that_cannot_be_used_are_named(tmp_path, weights, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    bundle = make_bundle(tmp_path / "bundle")
    file = bundle / "models/model.pt"
    if weights is None:
        file.unlink()
    elif weights == "pickle":
        torch.save({"model": Evil()}, file)
    elif weights == "another network":
        torch.save({"layer.weight": torch.zeros(3)}, file)
    else:
        file.write_bytes(weights)
    with pytest.raises(ModelError, match=r"model\.pt"):
        MonaiBundle.open(bundle).check_weights()
    assert not (tmp_path / "ran").exists()


class Evil:
    def __reduce__(self):
        import os

        return os.mkdir, ("ran",)


def test_outputs_that_metadata_does_not_know_are_found_before_a_volume_is_run(tmp_path):
    bundle = make_bundle(tmp_path / "bundle", names=("background", "front"))
    with pytest.raises(ModelError, match=r"answers \(1, 3, 16, 16, 16\).*expected|says \(1, 2, 16, 16, 16\)"):
        MonaiBundle.open(bundle).check_weights()


def test_a_volume_of_which_the_crop_leaves_nothing_is_an_input_error(tmp_path):
    crop = step("CropForegroundd", source_key="image", select_fn="$lambda x: x > 1000000")
    bundle = make_bundle(tmp_path / "bundle", preprocessing=[*PREPROCESSING, crop])
    array = np.random.default_rng(0).normal(size=(1, *GRID.shape)).astype(np.float32)
    with pytest.raises(InputError, match="CropForegroundd"):
        segment_image(Image(array, GRID), MonaiBundle.open(bundle), device="cpu", quality="best")


def test_missing_files_are_named(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "configs/metadata.json").unlink()
    with pytest.raises(ModelError, match=r"configs/metadata\.json"):
        MonaiBundle.open(bundle)


def test_a_yaml_configuration_is_read_like_json(tmp_path):
    yaml = pytest.importorskip("yaml")
    bundle = make_bundle(tmp_path / "bundle")
    file = bundle / "configs/inference.json"
    (bundle / "configs/inference.yaml").write_text(yaml.safe_dump(json.loads(file.read_text())))
    file.unlink()
    assert MonaiBundle.open(bundle).tile == (16, 16, 16)
