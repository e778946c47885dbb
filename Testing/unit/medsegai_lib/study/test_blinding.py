"""What an annotator's application opens, and all that this annotator can open, tells no name, arm, case or observer."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures_study import drawing, make_study
from MedSegAICore.image import LabelMap
from MedSegAILib.study import Desk

DAY_OF_AN_ANNOTATOR = """
import sys
opened = set()
def hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir"):
        opened.add(str(arguments[0]))
sys.addaudithook(hook)
from pathlib import Path
from MedSegAILib.study import Desk
from fixtures_study import drawing
with Desk(Path(sys.argv[1]), Path(sys.argv[2])) as desk:
    for item in desk.items():
        desk.open_task(item.task)
        desk.image(item.task)
        desk.start(item.task)
        desk.autosave(item.task, drawing(desk.grid(item.task)))
        desk.latest(item.task)
        desk.submit(item.task, drawing(desk.grid(item.task)), certainty=3)
print("\\n".join(sorted(opened)))
"""


@pytest.fixture
def study(tmp_path):
    """Half-way: r02 has worked, drafts with provenance are handed out, some wrong on purpose."""
    study = make_study(tmp_path, repeats=0.5, shams=0.5)
    with Desk(study.folder / "annotators/r02", tmp_path / "outbox2") as desk:
        task = desk.next_item().task
        desk.submit(task, drawing(desk.grid(task)))
    for task in study.tasks:
        if task.arm == "draft":
            with Desk(study.folder / "annotators" / task.annotator, tmp_path / "outbox0") as desk:
                draft = drawing(desk.grid(task.code))
            labels = [replace(label, tags=(("MedSegAI.Provenance", '{"model":"net"}'),)) for label in draft.labels]
            label_map = LabelMap(draft.array, draft.grid, tuple(labels))
            study.give_start(task.code, label_map, {"model": "net", "error": "dilated"})
    return study


def work(study, tmp_path):
    """Let the application of r01 do all tasks; the files and folders that it opened."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    seat = study.folder / "annotators/r01"
    result = subprocess.run(
        [sys.executable, "-c", DAY_OF_AN_ANNOTATOR, str(seat), str(tmp_path / "outbox1")],
        check=False, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    done = next(task.code for task in study.tasks if task.annotator == "r01")
    study.decide(done, "returned", reviewer="v01", comment="Please look again.")
    return [Path(line) for line in result.stdout.splitlines()]


def readable(folder):
    """Bytes of a file with what is compressed in it; no voxels."""
    content = folder.read_bytes()
    if folder.suffix == ".gz":
        content = gzip.decompress(content)
    return content.split(b"\n\n", 1)[0] if folder.suffix == ".nrrd" else content


def test_the_annotators_application_opens_images_and_the_own_folder_only(study, tmp_path):
    opened = [path for path in work(study, tmp_path) if path.is_relative_to(tmp_path)]
    allowed = [study.folder / "annotators/r01", study.folder / "images", tmp_path / "outbox1"]
    assert len(opened) > 50
    assert [path for path in opened if not any(path.is_relative_to(root) for root in allowed)] == []


def test_nothing_that_an_annotator_can_open_tells_a_name_an_arm_a_case_or_another_observer(study, tmp_path):
    work(study, tmp_path)
    roots = [study.folder / "annotators/r01", study.folder / "images", tmp_path / "outbox1"]
    paths = [path for root in roots for path in root.rglob("*") if path.is_file()]
    others = [task.code for task in study.tasks if task.annotator == "r02"]
    words = [
        "miller",
        'ann"',
        "jones",
        "bob",
        "doe",
        "john",
        "scratch",
        "draft",
        "sham",
        "dilated",
        "repeat",
        "crossover",
    ]
    words += ["provenance", "r02", "v01", "incoming", *others]
    text = {path: (str(path.relative_to(tmp_path)).encode() + b"\n" + readable(path)).lower() for path in paths}
    assert len(text) > 40
    assert [(path.name, word) for path, said in text.items() for word in words if word.encode() in said] == []


def test_the_work_list_says_of_a_task_only_what_is_needed_to_do_it(study):
    document = json.loads((study.folder / "annotators/r01/worklist.json").read_text())
    assert {key for task in document["tasks"] for key in task} == {
        "task", "number", "period", "start", "image", "image_sha256", "grid",
    }  # fmt: skip
    assert set(document) == {"schema", "study", "title", "annotator", "washout_days", "segments", "tasks", "sha256"}


def test_a_sham_draft_looks_like_any_other_to_the_annotator(study):
    tasks = {task.code: task for task in study.tasks if task.annotator == "r01" and task.arm == "draft"}
    assert {task.sham for task in tasks.values()} == {True, False}
    document = json.loads((study.folder / "annotators/r01/worklist.json").read_text())
    starts = {task["task"]: task["start"] for task in document["tasks"] if task["start"]}
    assert starts == {code: f"starts/{code}.seg.nrrd" for code in tasks}


def test_names_are_in_the_private_key_and_nowhere_in_the_study(study, tmp_path):
    assert (tmp_path / "private/annotators.csv").read_text().splitlines() == [
        "annotator,name", "r01,Miller Ann", "r02,Jones Bob",
    ]  # fmt: skip
    assert (tmp_path / "private/cases.csv").read_text().count("Doe_John") == 4
    for path in study.folder.rglob("*"):
        if path.is_file():
            said = (path.name.encode() + readable(path)).lower()
            assert not any(word in said for word in (b"miller", b"jones", b"doe_john")), path
