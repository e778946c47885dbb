"""The library: finds, adds and removes models, and never lets one bad folder hide the good ones."""

import json
import stat
import zipfile

import pytest

from fixtures_models import make_model_folder
from MedSegAICore.errors import ModelError, OutputError
from MedSegAILib.models import library as library_module
from MedSegAILib.models.library import ModelLibrary


@pytest.fixture
def library(tmp_path):
    make_model_folder(tmp_path / "bundled/first", card={"id": "first"})
    return ModelLibrary(bundled=tmp_path / "bundled", user=tmp_path / "user")


@pytest.fixture
def model(tmp_path):
    return make_model_folder(tmp_path / "source/second", card={"id": "second"})


def zipped(path, folder=None, **entries):
    """A zip of a folder and of more entries (name to text)."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")) if folder else ():
            archive.write(file, file.relative_to(folder.parent))
        for name, text in entries.items():
            archive.writestr(name, text)
    return path


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_an_added_folder_is_found_by_its_id_and_removed_again(library, model):
    assert library.add(model).path == library.user / "second"
    assert [known.id for known in library.list()] == ["first", "second"]
    assert not library.is_bundled(library.find("second"))
    library.remove("second")
    assert left_in(library.user) == []
    assert (model / "plans.json").is_file()  # the source stays


def test_a_zip_is_added_like_a_folder(library, model, tmp_path):
    library.add(zipped(tmp_path / "any name.zip", model))
    assert library.verify("second").id == "second"
    assert left_in(library.user) == ["second"]


def test_a_model_without_card_keeps_the_name_of_its_data_set(library, tmp_path):
    make_model_folder(tmp_path / "results/Dataset004_Brain/Trainer__Plans__3d_fullres", card=False)
    assert library.add(tmp_path / "results").id == "Dataset004_Brain"
    assert library.find("Dataset004_Brain").configuration.name == "3d_fullres"


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "C:\\evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_a_zip_that_would_write_elsewhere_is_refused_before_it_is_unpacked(library, model, tmp_path, name):
    with pytest.raises(ModelError, match="not safe to unpack"):
        library.add(zipped(tmp_path / "evil.zip", model, **{name: "x"}))
    assert left_in(library.user) == []
    assert list(tmp_path.rglob("evil.txt")) == []


def test_a_link_in_a_zip_leads_nowhere(library, model, tmp_path):
    (tmp_path / "secret").write_text("secret")
    path = zipped(tmp_path / "link.zip", model)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("second/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(tmp_path / "secret"))
    library.add(path)
    assert not (library.user / "second/link").is_symlink()


def test_a_zip_bomb_is_refused_by_its_size(library, model, tmp_path, monkeypatch):
    monkeypatch.setattr(library_module, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(ModelError, match="would unpack to"):
        library.add(zipped(tmp_path / "bomb.zip", model))
    assert left_in(library.user) == []


@pytest.mark.parametrize("damage", [lambda raw: raw[:-300], lambda raw: b"text", lambda raw: flipped(raw)])
def test_a_damaged_zip_is_named_and_leaves_nothing(library, model, tmp_path, damage):
    path = zipped(tmp_path / "damaged.zip", model)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"damaged\.zip is not a usable zip"):
        library.add(path)
    assert left_in(library.user) == []


def flipped(raw):
    """One bit of a checkpoint changed, which is by far the largest file."""
    place = len(raw) // 2
    return raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]


def test_a_model_whose_weights_cannot_be_loaded_is_not_added(library, model):
    (model / "fold_0/checkpoint_final.pth").write_bytes(b"damaged")
    with pytest.raises(ModelError):
        library.add(model)
    assert left_in(library.user) == []


def test_an_id_is_taken_only_once(library, model):
    library.add(model)
    with pytest.raises(ModelError, match="already a model 'second'"):
        library.add(model)
    assert library.verify("second").id == "second"


def test_bundled_and_unknown_models_cannot_be_removed(library):
    with pytest.raises(ModelError, match="comes with the program"):
        library.remove("first")
    with pytest.raises(ModelError, match="no model 'third'"):
        library.remove("third")
    assert library.find("first").id == "first"


def test_an_unknown_model_is_answered_with_the_known_ones(library):
    with pytest.raises(ModelError, match=r"'third'\. Known models: first"):
        library.find("third")


def test_a_user_folder_that_cannot_be_made_is_named(library, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be copied"):
        ModelLibrary(bundled=library.bundled, user=tmp_path / "file").add(model)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("plans.json", lambda c: c["configurations"]["3d_fullres"].pop("normalization_schemes")),
        ("plans.json", lambda c: c["configurations"].update({"3d_fullres": 5})),
        ("dataset.json", lambda c: c.pop("labels")),
        ("dataset.json", lambda c: c.update(channel_names=3)),
        ("model_card.json", lambda c: c.update(structures=3)),
    ],
)
def test_one_damaged_folder_hides_no_other_model_and_is_listed_as_a_problem(library, model, file, change):
    library.add(model)
    content = json.loads((library.user / "second" / file).read_text())
    change(content)
    (library.user / "second" / file).write_text(json.dumps(content))
    assert library.find("first").id == "first"
    assert [known.id for known in library.list()] == ["first"]
    (problem,) = library.problems().items()
    assert problem[0] == library.user / "second"
    assert isinstance(problem[1], ModelError)


def test_a_folder_that_may_not_be_read_hides_no_other_model(library, model, monkeypatch):
    library.add(model)
    opened = library_module.open_model

    def refuse(path):
        if path.name == "second":
            raise PermissionError(13, "Permission denied")
        return opened(path)

    monkeypatch.setattr(library_module, "open_model", refuse)
    assert [known.id for known in library.list()] == ["first"]
    (problem,) = library.problems().values()
    assert "second cannot be read: Permission denied" in str(problem)
