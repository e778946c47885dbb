"""Creating a study, adding cases and freezing the assignment: what is copied, what is refused, what is kept secret."""

import csv

import numpy as np
import pytest
import SimpleITK as sitk

from fixtures_dicom import write_series
from fixtures_study import NAMES, SEGMENTS, drawing, make_study, oblique_grid
from MedSegAICore.errors import GeometryError, InputError, OutputError
from MedSegAICore.files import read_image, write_image, write_segmentation
from MedSegAICore.image import Image
from MedSegAILib.study import Desk, Study, StudyDefinition, check
from MedSegAILib.study.documents import file_checksum, read_document, write_document
from MedSegAILib.study.versions import grid_of, sidecar_of


@pytest.fixture
def study(tmp_path):
    (tmp_path / "private").mkdir()
    return Study.create(tmp_path / "study", StudyDefinition("Liver study", SEGMENTS, seed=7))


def image_file(folder, name="Doe_John.nii.gz", value=3.0):
    folder.mkdir(exist_ok=True)
    array = np.arange(np.prod(oblique_grid().shape), dtype=np.float32).reshape(1, *oblique_grid().shape) + value
    write_image(folder / name, Image(array, oblique_grid()))
    return folder / name


def test_a_study_is_what_it_was_created_as(study):
    again = Study.open(study.folder)
    assert (again.id, again.definition) == (study.id, study.definition)
    assert check(study.folder) == []


def test_a_folder_with_files_is_not_made_a_study(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="holds files already"):
        Study.create(tmp_path, StudyDefinition("Title", SEGMENTS))


def test_a_study_whose_parent_is_missing_is_not_created(tmp_path):
    with pytest.raises(OutputError, match="Check its parent"):
        Study.create(tmp_path / "no/study", StudyDefinition("Title", SEGMENTS))


def test_a_case_has_the_voxels_and_the_grid_of_its_image_under_a_code(study, tmp_path):
    source = image_file(tmp_path / "incoming")
    (code,) = study.add_cases([source], private=tmp_path / "private")
    record, image = study.cases[code], read_image(source)
    copy = read_image(study.folder / record["image"])
    np.testing.assert_array_equal(copy.array, image.array)
    assert copy.array.dtype == image.array.dtype
    assert copy.grid.matches(image.grid)
    np.testing.assert_array_equal(grid_of(record["grid"]).ijk_to_ras, image.grid.ijk_to_ras)
    with open(tmp_path / "private/cases.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [{"case": code, "source": str(source)}]


def test_a_name_in_the_header_of_an_image_is_not_copied(study, tmp_path):
    image = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    image.SetMetaData("PatientName", "DOE^JOHN")
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    assert b"DOE^JOHN" in (tmp_path / "x.nrrd").read_bytes()
    (code,) = study.add_cases([tmp_path / "x.nrrd"], private=tmp_path / "private")
    assert b"DOE" not in (study.folder / study.cases[code]["image"]).read_bytes().split(b"\n\n")[0]


def test_a_dicom_series_becomes_one_file_without_the_patient(study, tmp_path):
    write_series(tmp_path / "dicom", np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    (code,) = study.add_cases([tmp_path / "dicom"], private=tmp_path / "private")
    path = study.folder / study.cases[code]["image"]
    np.testing.assert_array_equal(read_image(path).array, read_image(tmp_path / "dicom").array)
    assert path.suffix == ".nrrd"
    with pytest.raises(InputError, match="Let the study copy it"):
        study.add_cases([tmp_path / "dicom"], private=tmp_path / "private", copy=False)


def test_an_image_can_stay_where_it_is(study, tmp_path):
    source = image_file(tmp_path / "archive", "0001.nii.gz")
    (code,) = study.add_cases([source], private=tmp_path / "private", copy=False)
    assert list((study.folder / "images").iterdir()) == []
    assert study.cases[code]["image"] == str(source)
    assert check(study.folder) == []
    source.unlink()
    assert [finding.path for finding in check(study.folder)] == [f"cases/{code}.json"]


def test_the_same_image_twice_is_refused_and_leaves_nothing(study, tmp_path):
    source = image_file(tmp_path / "incoming")
    (code,) = study.add_cases([source], private=tmp_path / "private")
    other = image_file(tmp_path / "incoming", "again.nii.gz")
    with pytest.raises(InputError, match=f"again.nii.gz is the image of case {code} already"):
        study.add_cases([other], private=tmp_path / "private")
    assert check(study.folder) == []


def test_the_private_key_must_be_a_folder_outside_the_study(study, tmp_path):
    source = image_file(tmp_path / "incoming")
    (study.folder / "images/private").mkdir()
    with pytest.raises(InputError, match="must not lie in the study folder"):
        study.add_cases([source], private=study.folder / "images/private")
    with pytest.raises(InputError, match="There is no folder"):
        study.add_cases([source], private=tmp_path / "nowhere")


def test_a_frozen_assignment_cannot_be_changed(tmp_path):
    study = make_study(tmp_path)
    before = (study.folder / "assignments.json").read_bytes()
    with pytest.raises(InputError, match="frozen and cannot be changed"):
        study.assign(NAMES, private=tmp_path / "private")
    with pytest.raises(InputError, match="no case can be added"):
        study.add_cases([image_file(tmp_path / "incoming")], private=tmp_path / "private")
    assert (study.folder / "assignments.json").read_bytes() == before


def test_an_assignment_that_was_interrupted_is_made_again_with_the_same_codes(tmp_path):
    study = make_study(tmp_path)
    tasks = study.tasks
    (study.folder / "assignments.json").unlink()  # it is written last
    study.assign(NAMES, private=tmp_path / "private")
    assert study.tasks == tasks
    assert check(study.folder) == []


@pytest.mark.parametrize("names", [[], ["A", "A "], ["A", " "]])
def test_annotators_without_a_name_of_their_own_are_refused(study, tmp_path, names):
    study.add_cases([image_file(tmp_path / "incoming")], private=tmp_path / "private")
    with pytest.raises(InputError, match="annotator"):
        study.assign(names, private=tmp_path / "private")
    assert not study.is_assigned


def test_what_needs_an_assignment_says_so(study):
    with pytest.raises(InputError, match="not assigned yet"):
        study.decide("t0000000000", "accepted", reviewer="v01")
    assert study.status() == {"annotators": {}, "cases": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"decision": "good"}, "not 'good'"), ({"reviewer": "A. Miller"}, "not 'A. Miller'"), ({}, "not submitted yet")],
)
def test_a_decision_that_cannot_be_made_is_refused(tmp_path, change, words):
    study = make_study(tmp_path)
    with pytest.raises(InputError, match=words):
        study.decide(study.tasks[0].code, **{"decision": "accepted", "reviewer": "v01", **change})


@pytest.fixture
def submitted(tmp_path):
    """A study and the file name of a version that was submitted in it."""
    study = make_study(tmp_path)
    with Desk(study.folder / "annotators/r01", tmp_path / "outbox") as desk:
        task = desk.next_item().task
        return study, desk.submit(task, drawing(desk.grid(task))).file


def test_the_coordinator_reads_a_version_with_all_its_segments(submitted):
    study, file = submitted
    label_map, record = study.version(file)
    for label in (drawn := drawing(label_map.grid)).labels:
        np.testing.assert_array_equal(label_map.mask(label_map.label(label.id)), drawn.mask(label))
    assert record["annotator"] == "r01"


def test_a_version_on_another_grid_is_refused_even_if_its_checksums_fit(submitted):
    study, file = submitted
    path = study.version_path(file)
    write_segmentation(path, drawing(oblique_grid(shift=0.01 + 50)))
    sidecar = read_document(sidecar_of(path))
    moved = path.with_name(f"{path.name[:19]}{file_checksum(path)[:8]}.seg.nrrd")
    path.rename(moved)
    write_document(sidecar_of(moved), {**sidecar, "file": moved.name, "file_sha256": file_checksum(moved)})
    with pytest.raises(GeometryError, match="grid of its image"):
        study.version(moved.name)


def test_a_decision_whose_delivery_was_interrupted_is_delivered_when_it_is_made_again(submitted):
    study, file = submitted
    task = file[:11]
    study.decide(task, "returned", reviewer="v01", comment="again")
    next((study.folder / "annotators/r01/inbox").iterdir()).unlink()
    assert study.states("r01")[task].state == "submitted"
    study.decide(task, "returned", reviewer="v01", comment="again")
    assert study.states("r01")[task].state == "returned"
    assert check(study.folder) == []


def test_the_last_decision_about_a_version_counts(submitted):
    study, file = submitted
    for decision in ("returned", "accepted", "adjudicated"):
        study.decide(file[:11], decision, reviewer="v01")
        assert study.states("r01")[file[:11]].state == decision


def test_a_draft_whose_handing_out_was_interrupted_is_handed_out_again(tmp_path):
    study = make_study(tmp_path)
    task = next(task for task in study.tasks if task.arm == "draft")
    draft = drawing(grid_of(study.cases[task.case]["grid"]))
    study.give_start(task.code, draft, {"model": "net"})
    (study.folder / "drafts" / f"{task.code}.json").unlink()
    assert len(check(study.folder)) == 1
    study.give_start(task.code, draft, {"model": "net"})
    assert check(study.folder) == []
