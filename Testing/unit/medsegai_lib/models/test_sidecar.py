"""TorchScript and ONNX networks with a sidecar: prepared as the sidecar says, and refused where it does not fit."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
import torch

from fixtures_models import make_model_folder
from fixtures_scene import LPS, make_grid
from fixtures_sidecars import SIDECAR, Following, TwoRegions, make_onnx, make_torchscript, write_sidecar
from MedSegAICore.errors import DependencyError, ModelError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAICore.resources import resource
from MedSegAILib.inference.prediction import Predictor, segment_image
from MedSegAILib.inference.tiling import Tiling
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.onnx_file import external_files
from MedSegAILib.models.sidecar import SidecarModel

GRID = make_grid((9, 11, 13))


@pytest.fixture(params=["ts", "onnx"])
def make(request):
    if request.param == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
        return lambda folder, **changes: make_onnx(folder / "bright.onnx", **changes)
    return lambda folder, **changes: make_torchscript(folder / "bright.ts", **changes)


def volume(grid: Grid = GRID, channels: int = 1) -> Image:
    """Whole numbers from 0 to 10, of which 5 is not above the network's threshold."""
    return Image(np.random.default_rng(0).integers(0, 11, (channels, *grid.shape)).astype(np.float32), grid)


def segment(path, image):
    return segment_image(image, SidecarModel.open(path), device="cpu", quality="best").label_map


@pytest.mark.parametrize(("order", "axis"), [("KJI", 0), ("IJK", 2)])
def test_the_network_sees_axes_in_the_order_of_the_sidecar(make, tmp_path, order, axis):
    # One tile, as a tile's last voxel is not followed by another; the whole volume fits in.
    patch = [9, 11, 13] if order == "KJI" else [13, 11, 9]
    labels = segment(make(tmp_path, axis_order=order, patch_size=patch), volume())
    inside = [slice(0, -1) if n == axis else slice(None) for n in range(3)]
    expected = np.roll(volume().array[0] > 5, -1, axis)
    assert np.array_equal(labels.array[tuple(inside)], expected[tuple(inside)])
    assert labels.labels[0].name == "Bright part"


def test_volumes_are_turned_to_the_orientation_of_the_sidecar(make, tmp_path):
    """K of the volume grows toward superior; in an LPI volume the voxel that follows is the one before."""
    path = make(tmp_path, orientation="LPI", patch_size=[9, 11, 13])
    image = volume(make_grid((9, 11, 13), LPS))
    assert np.array_equal(segment(path, image).array[1:], image.array[0][:-1] > 5)


NORMALIZATIONS = [  # each makes the network's threshold, 0.5, of this intensity
    ({"scheme": "NoNormalization"}, 0.5),
    ({"scheme": "FixedMeanStd", "mean": 2.0, "std": 4.0}, 4.0),
    ({"scheme": "IntensityRange", "from": [2, 6], "to": [-1, 1]}, 5.0),
    ({"scheme": "CTNormalization", "percentile_00_5": 1, "percentile_99_5": 9, "mean": 3, "std": 8}, 7.0),
    ({"scheme": "RescaleTo01Normalization"}, 5.0),
    ({"scheme": "RGBTo01Normalization"}, 127.5),
]


@pytest.mark.parametrize(
    ("normalization", "limit"), NORMALIZATIONS, ids=lambda v: v["scheme"] if type(v) is dict else ""
)
def test_intensities_are_normalized_by_the_scheme_of_the_sidecar(tmp_path, normalization, limit):
    channels = [{"name": "MR", "normalization": normalization}]
    path = make_torchscript(tmp_path / "m.ts", channels=channels, patch_size=[9, 11, 13])
    labels = segment(path, volume()).array
    assert np.array_equal(labels[:-1], volume().array[0][1:] > limit)


def test_zeros_are_left_out_of_the_mean_where_the_sidecar_says_so(tmp_path):
    image = volume()
    image.array[image.array == 0] = 1
    image.array[0, :5] = 0
    channels = [{"name": "MR", "normalization": {"scheme": "ZScoreNormalization", "nonzero_only": True}}]
    path = make_torchscript(tmp_path / "m.ts", channels=channels, patch_size=[9, 11, 13])
    inside = image.array[0][5:]
    limit = inside.mean() + 0.5 * inside.std()
    assert np.array_equal(segment(path, image).array[5:-1], image.array[0][6:] > limit)


@pytest.mark.parametrize(("activation", "kind"), [("softmax", "labels"), ("sigmoid", "regions")])
def test_probabilities_come_out_as_the_network_gave_them(tmp_path, activation, kind):
    output = {"activation": activation, "kind": kind}
    path = make_torchscript(tmp_path / "m.ts", Following(activation), output=output, patch_size=[9, 11, 13])
    result = segment_image(volume(), SidecarModel.open(path), device="cpu", quality="best", probabilities=True)
    expected = 1 / (1 + np.exp(-(volume().array[0][1:] / 10 - 0.5)))
    assert np.abs(result.probabilities.array[0][:-1] - expected).max() < 2e-3  # sums have half precision
    assert np.array_equal(result.label_map.array[:-1], volume().array[0][1:] > 5)


def test_regions_that_overlap_are_kept_in_layers(tmp_path):
    labels = [{"value": 3, "name": "Low", "color": [0, 1, 0]}, {"value": 1, "name": "High", "id": "top"}]
    output = {"activation": "logits", "kind": "overlapping"}
    result = segment(make_torchscript(tmp_path / "m.ts", TwoRegions(), labels=labels, output=output), volume())
    assert [(label.id, label.value, label.layer) for label in result.labels] == [("low", 3, 0), ("top", 1, 1)]
    assert result.labels[0].color == (0, 1, 0)
    for label, limit in zip(result.labels, (2.5, 7.5), strict=True):
        assert np.array_equal(result.mask(label), volume().array[0] > limit)


def test_a_network_of_nnunet_gives_the_same_labels_as_torchscript(tmp_path, monkeypatch):
    monkeypatch.setattr(ModelFolder, "tiling", Tiling(blending="centered gaussian"))
    folder = ModelFolder.open(make_model_folder(tmp_path / "folder", mirror_axes=(0, 2)))
    network = folder.load_networks("cpu")[0][0]
    file = tmp_path / "same.pt"
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, *folder.tile)), str(file))
    write_sidecar(
        file, patch_size=list(folder.tile), mirror_axes=[0, 2], crop_to_nonzero=True,
        channels=[{"name": "MR", "normalization": {"scheme": "ZScoreNormalization"}}],
        labels=[{"value": 1, "name": "front"}, {"value": 2, "name": "back"}],
    )  # fmt: skip
    image = volume(make_grid((20, 31, 25), spacing_ijk=(0.8, 1.2, 1.1)))
    image.array[:, :3] = 0
    ours, theirs = (
        Predictor(model, "cpu", quality="best").segment(image).label_map.array
        for model in (SidecarModel.open(file), folder)
    )
    assert len(np.unique(theirs)) == 3
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("order", ["KJI", "IJK"])
def test_a_network_of_slices_sees_them_one_after_the_other(make, tmp_path, order):
    shape = {"shape": ("n", 1, "j", "i")} if make(tmp_path).suffix == ".onnx" else {}
    patch = [11, 13] if order == "KJI" else [13, 11]
    path = make(tmp_path, patch_size=patch, spacing_mm=[1.0, 1.0], axis_order=order, **shape)
    labels, bright = segment(path, volume()).array, volume().array[0] > 5
    if order == "KJI":
        assert np.array_equal(labels[:, :-1], bright[:, 1:])
    else:
        assert np.array_equal(labels[:, :, :-1], bright[:, :, 1:])


# ---- what does not fit ---------------------------------------------------------------------------------------------

BAD_SIDECARS = {
    "'spacing_mm' is missing": {"spacing_mm": None},
    "spacing_mm is": {"spacing_mm": [1.0, 1.0]},
    "'patch_size[0]' is 0": {"patch_size": [0, 6, 8]},
    "scheme is 'MinMax'": {"channels": [{"name": "MR", "normalization": {"scheme": "MinMax"}}]},
    "normalization.to is missing": {"channels": [
        {"name": "MR", "normalization": {"scheme": "IntensityRange", "from": [0, 1]}}]},
    "[smaller, larger]": {"channels": [
        {"name": "MR", "normalization": {"scheme": "IntensityRange", "from": [1, 0], "to": [0, 1]}}]},
    "each value once": {"labels": [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]},
    "softmax of regions": {"output": {"activation": "softmax", "kind": "regions"}},
    "mirror_axes has axis 2": {"mirror_axes": [2], "patch_size": [4, 4], "spacing_mm": [1, 1]},
    "postprocessing is for label 7": {"postprocessing": {"fill_holes": [7]}},
    "'axis_order'": {"axis_order": "JIK"},
    "'pathc_size' is unknown": {"pathc_size": [1, 1, 1]},
    "'version'": {"card": {"schema_version": 1, "id": "x", "title": "X"}},
}  # fmt: skip


@pytest.mark.parametrize("words", BAD_SIDECARS)
def test_a_sidecar_that_is_wrong_is_refused_with_the_place(tmp_path, words):
    path = make_torchscript(tmp_path / "m.ts", **BAD_SIDECARS[words])
    with pytest.raises(ModelError, match=r"^[^\n]*$") as refused:
        SidecarModel.open(path)
    assert words in str(refused.value)


def test_the_schema_and_our_reading_of_it_accept_the_same_sidecar():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(resource("Models", "sidecar.schema.json").read_text())
    jsonschema.validate(SIDECAR, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**SIDECAR, "patch_size": [0, 1, 1]}, schema)


def test_a_missing_sidecar_is_asked_for(tmp_path):
    path = make_torchscript(tmp_path / "m.ts")
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"m\.json beside it"):
        SidecarModel.open(path)


def test_another_file_under_the_name_of_the_network_is_refused_by_its_sum(make, tmp_path):
    path = make(tmp_path)
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    write_sidecar(path, weights_sha256=good)
    SidecarModel.open(path).check_weights()
    write_sidecar(path, weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="was changed or damaged"):
        SidecarModel.open(path).load_networks("cpu")


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"text", lambda raw: b""])
def test_a_damaged_network_is_named(make, tmp_path, damage):
    path = make(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"^[^\n]*bright\.(ts|onnx)[^\n]*$"):
        SidecarModel.open(path).check_weights()


def test_a_checkpoint_without_a_network_is_not_torchscript(tmp_path):
    path = make_torchscript(tmp_path / "m.pt")
    torch.save(torch.nn.Conv3d(1, 2, 1).state_dict(), path)
    with pytest.raises(ModelError, match="weights without a network"):
        SidecarModel.open(path).load_networks("cpu")


def test_a_network_that_does_not_fit_its_sidecar_is_found_by_verifying(make, tmp_path):
    labels = [{"value": 1, "name": "a"}, {"value": 2, "name": "b"}]
    with pytest.raises(ModelError, match=r"answers \(1, 2, .*says \(1, 3, "):
        SidecarModel.open(make(tmp_path, labels=labels)).check_weights()


def test_torchscript_of_other_dimensions_is_named(tmp_path):
    network = torch.nn.Conv2d(1, 2, 1)
    with pytest.raises(ModelError, match=r"m\.ts cannot take a tile of shape \(1, 1, 4, 6, 8\)"):
        SidecarModel.open(make_torchscript(tmp_path / "m.ts", network)).check_weights()


class Writing(torch.nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        torch.save(batch, "ran")
        return batch


class Reading(torch.nn.Module):
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return batch + torch.from_file("ran", False, 1).sum()


@pytest.mark.parametrize("network", [Writing(), Reading()])
def test_torchscript_that_reaches_files_is_refused_before_it_runs(tmp_path, monkeypatch, network):
    monkeypatch.chdir(tmp_path)
    path = make_torchscript(tmp_path / "m.ts", network)
    with pytest.raises(ModelError, match=r"its code calls (save|from_file)"):
        SidecarModel.open(path).check_weights()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "call", ["torch . save (x, 'ran')", "torch.save \\\n (x)", "ops.evil.run(x)", "ops.prim.rpc_sync(x)"]
)
def test_other_spellings_of_such_calls_are_found(tmp_path, call):
    path = make_torchscript(tmp_path / "m.ts")
    changed = tmp_path / "changed.ts"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            is_code = entry.filename.endswith(".py")
            copy.writestr(entry.filename, content + f"\n  {call}\n".encode() if is_code else content)
    write_sidecar(changed)
    with pytest.raises(ModelError, match="its code calls"):
        SidecarModel.open(changed).check_weights()


# ---- ONNX ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (("n", 1, "j", "i"), r"is n x 1 x j x i \(2D\).*batch x 1 x 4 x 6 x 8 \(3D\)"),
        ((1, 1, 4, 6, 16), r"is 1 x 1 x 4 x 6 x 16"),
    ],
)
def test_an_input_of_another_rank_or_size_is_named(onnx, tmp_path, shape, words):
    with pytest.raises(ModelError, match=words):
        SidecarModel.open(make_onnx(tmp_path / "m.onnx", shape=shape)).load_networks("cpu")


def test_a_channel_count_that_differs_is_named(onnx, tmp_path):
    channels = [{"name": name, "normalization": {"scheme": "NoNormalization"}} for name in ("T1", "T2")]
    with pytest.raises(ModelError, match=r"is n x 1 x k x j x i .*batch x 2 x 4 x 6 x 8"):
        SidecarModel.open(make_onnx(tmp_path / "m.onnx", channels=channels)).load_networks("cpu")


def test_a_fixed_batch_of_one_is_fed_one_by_one(onnx, tmp_path):
    path = make_onnx(tmp_path / "m.onnx", shape=(1, 1, 11, 13), patch_size=[11, 13], spacing_mm=[1, 1])
    assert np.array_equal(segment(path, volume()).array[:, :-1], volume().array[0][:, 1:] > 5)


def test_an_opset_that_is_not_known_is_named(onnx, tmp_path):
    with pytest.raises(ModelError, match=r"Opset 99|opset"):
        SidecarModel.open(make_onnx(tmp_path / "m.onnx", opset=99)).load_networks("cpu")


def test_weights_beside_an_onnx_file_belong_to_the_model(onnx, tmp_path):
    path = make_onnx(tmp_path / "m/m.onnx", weights_file="weights.bin", patch_size=[9, 11, 13])
    model = SidecarModel.open(path)
    assert [file.name for file in model.weight_files] == ["m.onnx", "weights.bin"]
    assert np.array_equal(segment(path, volume()).array[:-1], volume().array[0][1:] > 5)
    model.copy_to(tmp_path / "copy")
    assert SidecarModel.open(tmp_path / "copy/m.onnx").checksum == model.checksum
    before = model.checksum
    (tmp_path / "m/weights.bin").write_bytes(bytes(24))
    assert SidecarModel.open(path).checksum != before


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/hostname", "absent.bin"])
def test_weights_elsewhere_are_refused(onnx, tmp_path, place):
    path = make_onnx(tmp_path / "m/m.onnx", weights_file="weights.bin")
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    content = onnx.load_model(str(path), load_external_data=False)
    content.graph.initializer[0].external_data[0].value = place
    path.write_bytes(content.SerializeToString())
    with pytest.raises(ModelError, match="outside its own folder|missing"):
        external_files(path)
    with pytest.raises(ModelError, match="outside its own folder|missing"):
        SidecarModel.open(path).check_weights()


def test_without_onnxruntime_the_user_is_told_what_to_install(onnx, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="pip install onnxruntime"):
        SidecarModel.open(make_onnx(tmp_path / "m.onnx")).load_networks("cpu")


def test_a_device_that_onnxruntime_cannot_use_is_said(onnx, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("onnxruntime can use CUDA here")
    model = SidecarModel.open(make_onnx(tmp_path / "m.onnx"))
    assert model.warnings(torch.device("cpu")) == []
    (warning,) = model.warnings(torch.device("cuda:0"))
    assert "cannot use cuda:0 here, so the network runs on the CPU" in warning
