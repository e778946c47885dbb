"""``medsegai observers`` as a user calls it: folders of observers' files in, tables, consensus and maps out."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from fixtures_observer_boxes import CI_GEN, COLUMNS, DICE, GRID, VOXEL_ML, columns_map, observers
from MedSegAICore.files import (
    read_image,
    read_label_map,
    read_metadata,
    write_image,
    write_label_nifti,
    write_segmentation,
)
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAILib.commands.main import main
from MedSegAILib.commands.status import DONE, SOME_FAILED, USAGE

REFERENCES = Path(__file__).resolve().parents[1] / "oracle" / "references"
TABLES = ["agreement.csv", "pairs.csv", "reliability.csv", "summary.csv", "volumes.csv"]


def run(capsys, *arguments):
    status = main(["observers", *map(str, arguments)])
    return status, *capsys.readouterr()


def write_case(folder, **label_maps):
    folder.mkdir(parents=True)
    for name, label_map in (label_maps or observers()).items():
        write_segmentation(folder / f"{name}.seg.nrrd", label_map)
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def cohort(tmp_path):
    """A folder with two cases of three observers."""
    write_case(tmp_path / "cohort/case_1")
    moved = {name: columns_map(first + 1, stop + 2) for name, (first, stop) in COLUMNS.items()}
    write_case(tmp_path / "cohort/case_2", **moved)
    return tmp_path / "cohort"


def test_a_cohort_gives_tables_consensus_and_maps_with_numbers_that_follow_from_the_boxes(cohort, tmp_path, capsys):
    out = tmp_path / "out"
    status, text, error = run(
        capsys, cohort / "case_1", cohort / "case_2", "--output", out, "--consensus", "majority,shape", "--maps"
    )
    assert (status, error) == (DONE, "")
    assert "2 case(s), 3 observers: A, B, C. Research use only." in text
    assert "Background is counted in the region union+10mm." in text
    assert text.index("ci_gen") < text.index("dice ") < text.index("icc_a1") < text.index("Least agreement first")
    assert sorted(path.name for path in out.iterdir()) == sorted([*TABLES, "consensus", "maps", "observers.json"])
    agreement = rows(out / "agreement.csv")
    assert [(row["case"], row["segment"], row["observers"]) for row in agreement] == [
        ("case_1", "Box", "3"),
        ("case_2", "Box", "3"),
    ]
    assert float(agreement[0]["ci_gen"]) == pytest.approx(CI_GEN, abs=1e-12)
    assert agreement[0]["region"] == "union+10mm"
    pairs = {(row["observer_1"], row["observer_2"]): row for row in rows(out / "pairs.csv") if row["case"] == "case_1"}
    assert {key: float(row["dice"]) for key, row in pairs.items()} == pytest.approx(DICE)
    volumes = {row["observer"]: row for row in rows(out / "volumes.csv") if row["case"] == "case_2"}
    assert float(volumes["C"]["volume_ml"]) == pytest.approx(24 * 9 * VOXEL_ML)
    majority = out / "consensus/case_1_majority.seg.nrrd"
    np.testing.assert_array_equal(read_label_map(majority).array, columns_map(2, 9).array)
    facts = json.loads(read_metadata(majority)["MedSegAI.Provenance"])
    assert (facts["consensus"]["method"], facts["consensus"]["observers"]) == ("majority", ["A", "B", "C"])
    assert (out / "consensus/case_2_shape.seg.nrrd").is_file()
    probability = read_image(out / "maps/case_1_Box_probability.nrrd")
    assert probability.array[0, 3, 4, 9] == pytest.approx(1 / 3)
    assert probability.grid.matches(GRID)
    record = json.loads((out / "observers.json").read_text())
    assert record["cases"]["case_1"] == {"observers": ["A", "B", "C"], "notes": []}
    assert record["settings"]["region"] == "union+10mm"


def test_the_folder_of_the_cases_gives_the_same_bytes_as_the_cases_and_as_a_second_run(cohort, tmp_path, capsys):
    options = ("--consensus", "staple", "--maps")
    run(capsys, cohort / "case_1", cohort / "case_2", "--output", tmp_path / "one", *options)
    for _ in range(2):
        assert run(capsys, cohort, "--output", tmp_path / "two", *options)[0] == DONE
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == len(TABLES) + 1 + 2 + 4
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path


def test_files_of_one_case_are_compared_and_files_of_the_same_name_are_known_by_their_folders(tmp_path, capsys):
    for name, label_map in observers().items():
        write_case(tmp_path / "study" / name, liver=label_map)
    files = [tmp_path / "study" / name / "liver.seg.nrrd" for name in "ABC"]
    status, out, _ = run(capsys, *files, "--json")
    assert status == DONE
    found = json.loads(out)
    assert [(row["case"], row["observer"]) for row in found["volumes"]] == [
        ("study", name) for name in ("A_liver", "B_liver", "C_liver")
    ]
    assert found["agreement"][0]["ci_gen"] == pytest.approx(CI_GEN)
    assert found["failed"] == {}


def test_one_bad_case_does_not_stop_the_others_and_is_in_the_table(cohort, tmp_path, capsys):
    write_case(cohort / "bad", A=columns_map(2, 8), B=columns_map(2, 8))
    (cohort / "bad/B.seg.nrrd").write_bytes(b"damaged")
    write_case(cohort / "lonely", A=columns_map(2, 8))
    other = columns_map(2, 8, label=Label(1, "other", "Other"))
    write_case(cohort / "unlike", A=columns_map(2, 8), B=other)
    status, _, error = run(capsys, cohort, "--output", tmp_path / "out", "--consensus", "majority")
    assert status == SOME_FAILED
    lines = error.splitlines()
    assert len(lines) == 3
    assert "bad: failed: " in lines[0]
    assert "B.seg.nrrd" in lines[0]
    assert lines[1] == (
        "lonely: failed: Agreement needs at least two observers, but lonely has one segmentation, A.seg.nrrd."
    )
    assert lines[2].startswith("unlike: failed: The observers have no segment in common: A has Box; B has Other.")
    agreement = rows(tmp_path / "out/agreement.csv")
    assert [row["case"] for row in agreement] == ["case_1", "case_2", "bad", "lonely", "unlike"]
    assert agreement[3]["reason"].startswith("Agreement needs at least two observers")
    assert len(list((tmp_path / "out/consensus").iterdir())) == 2


def test_a_consensus_that_somebody_corrected_is_kept_unless_it_is_to_be_replaced(cohort, tmp_path, capsys):
    arguments = (cohort, "--output", tmp_path / "out", "--consensus", "majority")
    run(capsys, *arguments)
    consensus = tmp_path / "out/consensus/case_1_majority.seg.nrrd"
    write_segmentation(consensus, columns_map(2, 9))
    edited = consensus.read_bytes()
    status, _, error = run(capsys, *arguments)
    assert status == SOME_FAILED
    assert "case_1_majority.seg.nrrd exists and is not what these observers give" in error
    assert consensus.read_bytes() == edited
    assert [row["case"] for row in rows(tmp_path / "out/agreement.csv")] == ["case_1", "case_2"]
    assert run(capsys, *arguments, "--overwrite")[0] == DONE
    assert consensus.read_bytes() != edited
    assert not list((tmp_path / "out").rglob(".medsegai-*"))


def test_another_grid_is_resampled_to_the_first_observers_and_said(tmp_path, capsys):
    matrix = GRID.ijk_to_ras @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    maps = observers()
    maps["B"] = LabelMap(maps["B"].array.repeat(2, axis=0), Grid((24, 14, 16), matrix), maps["B"].labels)
    status, out, error = run(capsys, write_case(tmp_path / "case", **maps), "--json")
    assert status == DONE
    assert json.loads(out)["agreement"][0]["ci_gen"] == pytest.approx(CI_GEN)
    assert "case: The segmentation of B was resampled by nearest neighbor from Grid(24 x 14 x 16" in error


def test_files_without_names_get_them_and_an_empty_file_is_an_observer_who_found_nothing(tmp_path, capsys):
    folder = tmp_path / "case"
    folder.mkdir()
    for name, columns in (("A", (2, 8)), ("B", (2, 8)), ("C", (0, 0))):
        write_label_nifti(folder / f"{name}.nii.gz", columns_map(*columns))
    status, out, _ = run(capsys, folder, "--labels", "1=Nodule,2=Vessel", "--json")
    found = json.loads(out)
    assert status == DONE
    assert [row["segment"] for row in found["agreement"]] == ["Nodule", "Vessel"]
    nodule, vessel = found["agreement"]
    assert nodule["ci_gen"] == pytest.approx(144 / (3 * 144))  # one pair of three has the voxels in common
    assert vessel["ci_gen"] is None
    assert "all masks are empty" in vessel["reason"]


def test_an_image_among_the_segmentations_is_named(cohort, capsys):
    array = np.arange(12 * 14 * 16, dtype=np.uint16).reshape(1, 12, 14, 16)
    write_image(cohort / "case_1/image.nrrd", Image(array, GRID))
    status, _, error = run(capsys, cohort, "--json")
    assert status == SOME_FAILED
    assert error.startswith("case_1: failed: image.nrrd has 2687 different values, so it seems to be an image")


def test_measures_and_region_are_those_that_were_asked_for(tmp_path, capsys):
    folder = write_case(tmp_path / "case")
    options = ("--measures", "dice,hd95", "--percentile", "95,99", "--region", "image", "--json")
    found = json.loads(run(capsys, folder, *options)[1])
    measures = [key for key in found["pairs"][0] if key not in ("case", "segment", "observer_1", "observer_2")]
    assert measures == ["dice", "hd95_maxdir_mm", "region", "reason"]
    assert found["agreement"][0]["region"] == "image"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{cohort}/nobody"], "There is no file or folder"),
        (["{cohort}/case_1", "{cohort}/case_2/A.seg.nrrd"], "folders, each of one case, or the files of one case"),
        (["{cohort}", "--consensus", "vote", "--output", "{cohort}/../out"], "but the method is 'vote'"),
        (["{cohort}", "--consensus", "majority"], "Name one with --output DIR."),
        (["{cohort}", "--maps"], "Name one with --output DIR."),
        (["{cohort}", "--measures", "nonsense"], "nonsense"),
        (["{cohort}", "--region", "box"], "A region is 'image' or, for example, 'union+10mm'"),
        (["{cohort}/case_1", "--output", "{cohort}/case_1"], "holds the segmentations of observers"),
    ],
)
def test_what_cannot_work_is_one_sentence_before_anything_is_written(cohort, capsys, arguments, sentence):
    before = sorted(cohort.parent.rglob("*"))
    status, out, error = run(capsys, *[text.format(cohort=cohort) for text in arguments])
    assert (status, out) == (USAGE, "")
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert sorted(cohort.parent.rglob("*")) == before


def test_results_of_an_earlier_run_are_not_taken_for_observers(cohort, capsys):
    run(capsys, cohort, "--output", cohort / "results", "--consensus", "majority", "--maps")
    status, _, error = run(capsys, cohort)
    assert (status, error) == (DONE, "")
    status, _, error = run(capsys, cohort / "case_1", cohort / "results")
    assert status == SOME_FAILED
    assert "holds the results of an earlier run, not segmentations of observers" in error


def test_ctrl_c_is_one_line_and_leaves_no_half_file(cohort, tmp_path, capsys, monkeypatch):
    from MedSegAIMetricsLib import observer_comparison

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(observer_comparison, "compare_pairs", interrupted)
    status, _, error = run(capsys, cohort, "--output", tmp_path / "out")
    assert status == 130
    assert error.strip() == "medsegai: Stopped."
    assert not (tmp_path / "out").exists()


def test_dicom_seg_files_of_observers_are_read(shared_data, tmp_path, capsys):
    for name in ("r01", "r02"):
        (tmp_path / f"{name}.dcm").write_bytes(shared_data("dicom_seg/partial_overlaps.dcm").read_bytes())
    status, out, _ = run(capsys, tmp_path, "--measures", "dice", "--json")
    found = json.loads(out)
    assert status == DONE
    assert len(found["agreement"]) == 5  # overlapping segments, each by itself
    assert {row["ci_gen"] for row in found["agreement"]} == {1}


def test_every_statistic_of_the_radiologists_nodules_is_that_of_independent_programs(shared_data, tmp_path, capsys):
    """krippendorff, statsmodels, pingouin, surface-distance and brute force; see Testing/oracle."""
    expected = json.loads((REFERENCES / "lidc_observers.json").read_text(encoding="utf-8"))
    measures = ",".join(expected["cases"]["nodule_01"]["pairs"][0])
    status, out, error = run(
        capsys, shared_data("lidc_observers"), "--output", tmp_path / "out", "--measures", measures
    )
    assert (status, error) == (DONE, "")
    assert "24 case(s), 4 observers: observer_1, observer_2, observer_3, observer_4." in out
    pairs = rows(tmp_path / "out/pairs.csv")
    volumes = rows(tmp_path / "out/volumes.csv")
    for row in rows(tmp_path / "out/agreement.csv"):
        own = expected["cases"].pop(row["case"])
        numbers = {name: value for name, value in own.items() if name in row}
        assert len(numbers) == 15
        assert {name: float(row[name]) for name in numbers} == pytest.approx(numbers, rel=1e-6, abs=1e-9)
        found = [float(line["volume_ml"]) for line in volumes if line["case"] == row["case"]]
        assert found == pytest.approx(own["volumes_ml"], rel=1e-6)
        of_case = [line for line in pairs if line["case"] == row["case"]]
        for line, of_pair in zip(of_case, own["pairs"], strict=True):
            assert {name: float(line[name]) for name in of_pair} == pytest.approx(of_pair, rel=1e-6, abs=1e-9)
    assert not expected["cases"]
    for of, key in (("volume_ml", "volumes"), ("log(volume_ml)", "log_volumes")):
        lines = [row for row in rows(tmp_path / "out/reliability.csv") if row["of"] == of]
        found = {row["measure"]: row for row in lines if row["observer_2"] in ("", "observer_2")}
        known = [name for name in expected[key] if name in found]
        assert len(known) == 12
        for name in known:
            own = [float(found[name][column]) for column in ("value", "low", "high")[: len(expected[key][name])]]
            assert own == pytest.approx(expected[key][name], rel=1e-6), name
        biases = [float(row["value"]) for row in lines if row["measure"] == "observer_bias"]
        assert biases == pytest.approx([numbers[0] for numbers in expected[key]["observer_biases"]], rel=1e-6)
