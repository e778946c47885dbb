"""Whatever is wrong in a study folder is found, at its place, with an explanation; looking changes nothing."""

import hashlib
import json
import shutil

import pytest

from fixtures_study import drawing, make_study, oblique_grid
from MedSegAICore.errors import InputError
from MedSegAICore.files import write_segmentation
from MedSegAILib.study import Desk, check
from MedSegAILib.study.documents import read_document, write_document


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "study"
    study = make_study(folder, cases=2)
    for annotator in ("r01", "r02"):
        with Desk(study.folder / "annotators" / annotator, folder / "outbox") as desk:
            task = desk.next_item().task
            desk.autosave(task, drawing(desk.grid(task)))
            desk.submit(task, drawing(desk.grid(task)))
            if annotator == "r01":
                study.decide(task, "returned", reviewer="v01", comment="again")
    return study.folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "study")


def fingerprint(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def version_of(folder):
    return next((folder / "annotators/r01/versions").glob("*.seg.nrrd"))


def sidecar_in(folder):
    return next((folder / "annotators/r01/versions").glob("*.json"))


def log_of(folder):
    return next((folder / "annotators/r01/logs").iterdir())


def edit(path, **changes):
    """Change a document as somebody would who also knows how to seal it."""
    write_document(path, {**read_document(path), **changes}, replace=True)


def append(path, text):
    with open(path, "ab") as file:
        file.write(text)


def edit_first(paths, **changes):
    edit(sorted(paths)[0], **changes)


def second_version_1(folder):
    path = version_of(folder)
    other = path.with_name(path.name[:-17] + "00000000.seg.nrrd")
    shutil.copy(path, other)


def other_grid(folder):
    path = sidecar_in(folder)
    grid = oblique_grid(shift=50)
    edit(path, grid={"shape": list(grid.shape), "ijk_to_ras": grid.ijk_to_ras.tolist()})


DAMAGES = [
    (lambda f: append(f / "study.json", b"x"), None, "is not a JSON document"),
    (lambda f: edit(f / "study.json", id="0"), "assignments.json", "not of 0"),
    (lambda f: edit(f / "study.json", created="x"), "study.json", "changed after the assignment was frozen"),
    (lambda f: (f / "assignments.json").unlink(), "assignments.json", "missing, but annotators have worked"),
    (lambda f: append(f / "assignments.json", b" {}"), "assignments.json", "not a JSON document"),
    (lambda f: next((f / "cases").iterdir()).unlink(), "cases/", "assigned, but its document is missing"),
    (lambda f: edit_first((f / "cases").iterdir(), channels=2), "cases/", "changed after"),
    (lambda f: next((f / "images").iterdir()).unlink(), "images/", "missing"),
    (lambda f: append(next((f / "images").iterdir()), b"x"), "images/", "altered since it was added"),
    (lambda f: shutil.copy(next((f / "images").iterdir()), f / "images/x.nrrd"), "images/x.nrrd", "no case"),
    (lambda f: (f / "annotators/r09").mkdir(), "annotators/r09", "not in the assignment"),
    (lambda f: edit(f / "annotators/r01/worklist.json", washout_days=3), "annotators/r01/worklist.json", "not what"),
    (lambda f: (f / "annotators/r01/worklist.json").unlink(), "annotators/r01/worklist.json", "cannot be read"),
    (lambda f: version_of(f).unlink(), "annotators/r01/versions/", "the file is missing"),
    (lambda f: append(version_of(f), b"x"), "annotators/r01/versions/", "altered after it was saved"),
    (lambda f: sidecar_in(f).unlink(), "annotators/r01/versions/", "The sidecar is missing"),
    (lambda f: append(sidecar_in(f), b"x"), "annotators/r01/versions/", "not a JSON document"),
    (lambda f: sidecar_in(f).write_text("{}"), "annotators/r01/versions/", "no checksum"),
    (lambda f: edit(sidecar_in(f), file="x"), "annotators/r01/versions/", "is not the sidecar of"),
    (other_grid, "annotators/r01/versions/", "another grid"),
    (second_version_1, "annotators/r01/versions", "two runs saved"),
    (second_version_1, "annotators/r01/versions/", "No event names this file"),
    (lambda f: (f / "annotators/r01/versions/notes.txt").touch(), "annotators/r01/versions/notes.txt", "not a file of"),
    (lambda f: log_of(f).unlink(), "annotators/r01/versions/", "No event names this file"),
    (lambda f: append(log_of(f), b'{"seq'), "annotators/r01/logs/", "last line is incomplete"),
    (lambda f: append(log_of(f), b'{"seq": 99}\n'), "annotators/r01/logs/", "its checksum does not fit"),
    (lambda f: shutil.copy(log_of(f), f / "annotators/r01/logs/x.jsonl"), "annotators/r01/logs/", "is a copy of"),
    (lambda f: shutil.move(log_of(f), f / "annotators/r02/logs"), "annotators/r02/logs/", "the log of r01"),
    (lambda f: next((f / "annotators/r01/autosave").glob("*.nrrd")).unlink(), "annotators/r01/autosave/", "last one"),
    (lambda f: next((f / "annotators/r01/inbox").iterdir()).unlink(), "reviews/v01/", "did not get this decision"),
    (lambda f: edit_first((f / "annotators/r01/inbox").iterdir(), number=9), "annotators/r01/inbox", "not what"),
    (lambda f: next((f / "reviews/v01").iterdir()).unlink(), "annotators/r01/inbox/", "No reviewer made"),
    (lambda f: (f / "names.csv").touch(), "names.csv", "does not belong"),
    (lambda f: (f / "images/.part-1").touch(), "images/.part-1", "interrupted"),
    (lambda f: edit(f / "study.json", schema=2), None, "knows schema 1"),
    (
        lambda f: write_segmentation(f / "annotators/r01/starts/t0000000000.seg.nrrd", drawing(oblique_grid())),
        "annotators/r01/starts/",
        "Nothing in drafts says",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "place", "words"), DAMAGES, ids=[f"{words}" for _, _, words in DAMAGES])
def test_a_damage_is_found_and_explained_and_left_as_it_is(folder, damage, place, words):
    assert check(folder) == []
    damage(folder)
    before = fingerprint(folder)
    if place is None:
        with pytest.raises(InputError, match=words):
            check(folder)
    else:
        found = [finding for finding in check(folder) if finding.path.startswith(place)]
        assert any(words in finding.sentence for finding in found), check(folder)
        assert all(finding.sentence.endswith(".") for finding in found)
    assert fingerprint(folder) == before


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a study"):
        check(tmp_path)


def test_a_document_that_was_edited_is_told_from_one_that_was_not(folder):
    path = folder / "annotators/r01/worklist.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "washout_days": 99}))
    assert any("was altered" in finding.sentence for finding in check(folder))
