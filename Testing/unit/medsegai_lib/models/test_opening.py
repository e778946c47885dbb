"""The content of a folder or file says which format a model has; the library takes all of them."""

import json
import shutil
import zipfile

import pytest

from fixtures_models import make_model_folder
from fixtures_sidecars import make_onnx, make_torchscript
from MedSegAICore.errors import ModelError
from MedSegAILib.commands import main
from MedSegAILib.models.bundle import MonaiBundle
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.library import ModelLibrary
from MedSegAILib.models.opening import open_model
from MedSegAILib.models.sidecar import SidecarModel


def make_torchscript_model(path):
    return make_torchscript(path / "bright.ts", title="Bright things", version="2.1")


def make_onnx_model(path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    return make_onnx(path / "bright.onnx", title="Bright things", version="2.1", weights_file="weights.bin")


def make_monai_bundle(path):
    pytest.importorskip("monai")
    from fixtures_bundles import make_bundle

    return make_bundle(path / "tiny")


FORMATS = {
    "nnU-Net v2": (ModelFolder, lambda path: make_model_folder(path / "random")),
    "TorchScript": (SidecarModel, make_torchscript_model),
    "ONNX": (SidecarModel, make_onnx_model),
    "MONAI bundle": (MonaiBundle, make_monai_bundle),
}


@pytest.fixture(params=FORMATS)
def model(request, tmp_path):
    """(name of the format, its class, path of a model)"""
    kind, make = FORMATS[request.param]
    return request.param, kind, make(tmp_path / "source")


@pytest.fixture
def library(tmp_path):
    return ModelLibrary(bundled=tmp_path / "bundled", user=tmp_path / "user")


def zipped(path, folder):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_every_format_is_known_by_its_content(model):
    name, kind, path = model
    assert (type(open_model(path)), open_model(path).format) == (kind, name)
    assert type(open_model(path.parent)) is kind  # the folder that holds it


def test_every_format_can_be_added_verified_and_removed(model, library):
    _, kind, path = model
    added, source = library.add(path), open_model(path)
    assert type(added) is kind
    assert (added.id, added.version, added.title) == (source.id, source.version, source.title)
    assert added.checksum == source.checksum
    shutil.rmtree(path if path.is_dir() else path.parent)  # the library has a copy of everything
    assert library.verify(added.id).id == added.id
    library.remove(added.id)
    assert list(library.user.iterdir()) == []


def test_a_zip_of_every_format_can_be_added(model, library, tmp_path):
    _, kind, path = model
    archive = zipped(tmp_path / "some name.zip", path.parent)
    assert type(library.add(archive)) is kind
    assert len(library.list()) == 1


def test_a_truncated_zip_of_every_format_is_named_and_leaves_nothing(model, library, tmp_path):
    archive = zipped(tmp_path / "cut.zip", model[2].parent)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size * 2 // 3])
    with pytest.raises(ModelError, match=r"cut\.zip is not a usable zip"):
        library.add(archive)
    assert list(library.user.iterdir()) == []


def test_the_command_lists_shows_and_verifies_every_format(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDSEGAI_MODELS", str(tmp_path / "user"))
    name, _, path = model
    id = open_model(path).id
    assert main(["models", "add", str(path)]) == 0
    assert main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert id in [entry["id"] for entry in listed]
    assert main(["models", "show", id]) == 0
    assert name in capsys.readouterr().out
    assert main(["models", "verify", id]) == 0
    assert open_model(path).checksum in capsys.readouterr().out


def test_a_zip_as_a_model_is_answered_with_how_to_add_it(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"")
    with pytest.raises(ModelError, match=r"medsegai models add model\.zip"):
        open_model(tmp_path / "model.zip")


def test_the_sidecar_itself_opens_its_network(tmp_path):
    path = make_torchscript_model(tmp_path)
    assert open_model(path.with_suffix(".json")).path == path


def test_a_folder_of_several_networks_lists_them(tmp_path):
    make_torchscript(tmp_path / "a.ts")
    make_torchscript(tmp_path / "b.ts")
    with pytest.raises(ModelError, match=r"a\.ts, b\.ts"):
        open_model(tmp_path)


@pytest.mark.parametrize("name", ["text.txt", "alone.onnx", "alone.json"])
def test_a_file_that_is_no_model_is_named(tmp_path, name):
    (tmp_path / name).write_text("text")
    with pytest.raises(ModelError, match=r"^[^\n]*(text\.txt|alone)"):
        open_model(tmp_path / name)
