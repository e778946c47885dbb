"""``medsegai compare`` as a user calls it: files and folders in, table, CSV, JSON and report out."""

import csv
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from MedSegAICore.files import write_image, write_label_nifti, write_segmentation
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAILib.commands.main import main
from MedSegAIMetricsLib import compare

GRID = Grid((12, 14, 16), np.diag([-0.8, -1.0, 2.0, 1.0]))
LABELS = (Label(1, "front", "Front"), Label(2, "back", "Back"))


def label_map(shift=0, grid=GRID, back=True):
    array = np.zeros(grid.shape, np.uint8)
    array[2:6, 3:9, 2 + shift : 8 + shift] = 1
    if back:
        array[7:10, 3:9, 2 + shift : 8 + shift] = 2
    return LabelMap(array, grid, LABELS)


@pytest.fixture
def folders(tmp_path):
    """Three references; tests: one identical, one shifted by a voxel, one missing."""
    for folder in ("ref", "test"):
        (tmp_path / folder).mkdir()
    for case in "abc":
        write_segmentation(tmp_path / f"ref/case_{case}.seg.nrrd", label_map())
    write_segmentation(tmp_path / "test/case_a.seg.nrrd", label_map())
    write_segmentation(tmp_path / "test/case_b.seg.nrrd", label_map(shift=1))
    return tmp_path


def run(capsys, *arguments):
    status = main(["compare", *map(str, arguments)])
    return status, *capsys.readouterr()


def rows_of(text):
    return {(row["case"], row["segment"]): row for row in json.loads(text)}


def test_the_spleen_pair_has_the_published_dice_sensitivity_and_precision(shared_data, capsys):
    pair = [shared_data(f"spleen_ct/spleen1_label_{name}.nii.gz") for name in ("gt", "auto")]
    status, out, _ = run(capsys, *pair, "--json", "--percentile", "95,99", "--tolerance-mm", "2")
    (row,) = json.loads(out)
    assert status == 0
    assert row["dice"] == pytest.approx(0.88689, abs=5e-6)
    assert row["sensitivity"] == pytest.approx(0.9017, abs=5e-5)
    assert row["precision"] == pytest.approx(0.8726, abs=5e-5)
    assert row["hd95_maxdir_mm"] == pytest.approx(9.61, abs=5e-3)  # reference: face surface, half-voxel samples
    assert row["hd99_maxdir_mm"] > row["hd95_maxdir_mm"]
    assert row["nsd_2mm"] == pytest.approx(0.667, abs=5e-4)
    assert "nsd_1mm" not in row
    assert row["region"] == "image"
    assert (row["case"], row["label"], row["reason"]) == ("spleen1", 1, "")


def test_a_missing_test_is_a_failure_in_every_figure_and_is_never_dropped(folders, capsys):
    status, out, error = run(capsys, folders / "ref", folders / "test", "--json", "--csv", folders / "rows.csv")
    rows = rows_of(out)
    assert status == 1
    assert "case_c: no test: there is no test file." in error
    assert rows["case_a", "Front"]["dice"] == 1
    assert rows["case_c", "Front"]["dice"] == 0
    assert rows["case_c", "Front"]["hd_mm"] is None
    assert rows["case_c", "Front"]["status"] == "no test"
    shifted = compare(label_map().array == 1, label_map(1).array == 1, GRID.spacing_kji)[1]
    assert rows["case_b", "Front"]["dice"] == pytest.approx(shifted["dice"])
    assert rows["case_b", "Front"]["hd_mm"] == pytest.approx(0.8)
    with open(folders / "rows_summary.csv", newline="") as file:
        summary = {(line["segment"], line["measure"]): line for line in csv.DictReader(file)}
    assert float(summary["Front", "dice"]["mean"]) == pytest.approx((1 + shifted["dice"] + 0) / 3)
    assert (summary["Front", "hd_mm"]["n"], summary["Front", "hd_mm"]["undefined"]) == ("2", "1")


def test_the_printed_summary_has_the_worst_cases_first(folders, capsys):
    _, out, _ = run(capsys, folders / "ref", folders / "test")
    assert "3 case(s), 6 row(s). Research use only." in out
    worst = out[out.index("Worst first by dice:") :]
    assert worst.index("case_c") < worst.index("case_b") < worst.index("case_a")


def test_a_test_that_cannot_be_read_fails_alone_and_extra_and_damaged_references_are_named(folders, capsys):
    (folders / "test/case_c.nii.gz").write_bytes(b"damaged")
    (folders / "ref/case_d.nrrd").write_bytes(b"damaged")
    write_segmentation(folders / "test/case_d.seg.nrrd", label_map())
    write_segmentation(folders / "test/case_e.seg.nrrd", label_map())
    status, out, error = run(capsys, folders / "ref", folders / "test", "--json")
    rows = rows_of(out)
    assert status == 1
    assert rows["case_c", "Back"]["dice"] == 0
    assert "the test cannot be read" in rows["case_c", "Back"]["reason"]
    assert (rows["case_d", ""]["status"], rows["case_d", ""]["dice"]) == ("failed", None)
    assert (rows["case_e", ""]["status"], rows["case_e", ""]["dice"]) == ("no reference", None)
    assert rows["case_a", "Front"]["dice"] == 1
    assert "case_e: no reference: there is no reference file." in error


def test_files_without_names_get_them_and_values_that_both_lack_are_compared_too(tmp_path, capsys):
    (tmp_path / "ref").mkdir()
    (tmp_path / "out").mkdir()
    write_label_nifti(tmp_path / "ref/one_label.nii.gz", label_map(back=False))
    write_label_nifti(tmp_path / "out/one.nii.gz", label_map(shift=1, back=False))
    status, out, _ = run(capsys, tmp_path / "ref", tmp_path / "out", "--labels", "1=Front,2=Back", "--json")
    rows = rows_of(out)
    assert status == 0
    assert list(rows) == [("one", "Front"), ("one", "Back")]
    assert rows["one", "Back"]["dice"] == 1
    assert rows["one", "Back"]["reason"] == "both masks are empty"


def test_another_grid_is_resampled_to_the_named_one_and_said(tmp_path, capsys):
    fine = Grid(
        (24, 14, 16), GRID.ijk_to_ras @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    )
    array = label_map().array.repeat(2, axis=0)
    write_segmentation(tmp_path / "a.seg.nrrd", label_map())
    write_segmentation(tmp_path / "b.seg.nrrd", LabelMap(array, fine, LABELS))
    for grid, title in (("reference", "test"), ("test", "reference")):
        _, out, error = run(capsys, tmp_path / "a.seg.nrrd", tmp_path / "b.seg.nrrd", "--json", "--grid", grid)
        assert rows_of(out)["a", "Front"]["dice"] == 1
        assert f"The {title} was resampled by nearest neighbor" in error


def test_subgroups_have_their_own_figures_and_numbers_are_cut_at_the_median(folders, capsys):
    ages = {"case_a": 30, "case_b": 71, "case_c": 55, **{f"x{n}": 20 + n for n in range(6)}}
    lines = [f"{case},{'external' if case == 'case_c' else 'internal'},{age}" for case, age in ages.items()]
    (folders / "groups.csv").write_text("\n".join(["case,split,age", *lines]))
    _, out, _ = run(capsys, folders / "ref", folders / "test", "--subgroups", folders / "groups.csv")
    assert "By split:" in out
    assert "external, Front" in out
    assert "<= 24, Front" not in out  # the median of all nine in the file is 24, and all that are compared are above it
    assert "> 24, Front" in out
    _, _, error = run(capsys, folders / "ref", folders / "test", "--subgroups", folders / "none.csv")
    assert "cannot be read as a CSV file" in error


def test_the_report_is_one_file_with_pictures_tables_and_failures(folders, capsys):
    (folders / "images").mkdir()
    ramp = np.arange(math.prod(GRID.shape), dtype=np.float32).reshape(1, *GRID.shape)
    write_image(folders / "images/case_b_0000.nii.gz", Image(ramp, GRID))
    html = folders / "report.html"
    status, *_ = run(capsys, folders / "ref", folders / "test", "--html", html, "--images", folders / "images")
    text = html.read_text(encoding="utf-8")
    assert status == 1
    assert text.count("data:image/png;base64,") == 6
    assert "case_c" in text
    assert "there is no test file" in text
    assert "Research use only" in text
    assert "<script src" not in text
    assert str(folders) not in text  # paths can hold names of people


def test_a_report_of_measures_that_rank_nothing_has_no_pictures(folders, capsys):
    html = folders / "counts.html"
    status, *_ = run(capsys, folders / "ref", folders / "test", "--measures", "counts", "--html", html)
    assert status == 1
    assert "data:image/png" not in html.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--measures", "dyce"], "There is no measure 'dyce'"),
        (["--region", "whole"], "A region is 'image' or"),
        (["--percentile", "101"], "A percentile must be above 0 and at most 100, but it is 101"),
        (["--tolerance-mm=-1"], "A tolerance must be"),
    ],
)
def test_wrong_settings_are_one_sentence_and_nothing_is_written(folders, capsys, arguments, sentence):
    status, out, error = run(capsys, folders / "ref", folders / "test", "--csv", folders / "x.csv", *arguments)
    assert status == 2
    assert sentence in error
    assert (out, (folders / "x.csv").exists()) == ("", False)


def test_inputs_that_do_not_fit_together_are_refused(folders, capsys):
    for pair, sentence in (
        ((folders / "ref", folders / "test/case_a.seg.nrrd"), "two files or two folders"),
        ((folders / "nowhere", folders / "test"), "does not exist"),
        ((folders / "ref", folders), "holds no label maps"),
    ):
        status, _, error = run(capsys, *pair)
        assert status == 2
        assert sentence in error
    (folders / "other").mkdir()
    write_segmentation(folders / "other/patient_1.seg.nrrd", label_map())
    assert "Give the files of a case the same name" in run(capsys, folders / "ref", folders / "other")[2]
    write_label_nifti(folders / "other/patient_1_pred.nii.gz", label_map())
    assert "are both of the case 'patient_1'" in run(capsys, folders / "ref", folders / "other")[2]


def test_measures_on_request_and_surfaces_can_be_named(folders, capsys):
    names = "dice,hd95_voxelcenter_pooled_mm,lesion_f1,fbeta_2,boundary_iou_1mm"
    _, out, _ = run(capsys, folders / "ref", folders / "test", "--json", "--measures", names)
    row = rows_of(out)["case_b", "Front"]
    assert {"dice", "hd95_voxelcenter_pooled_mm", "lesion_f1", "fbeta_2", "boundary_iou_1mm"} < set(row)
    assert "assd_mm" not in row


def test_the_command_needs_neither_slicer_nor_torch(folders):
    code = (
        "import sys; from MedSegAILib.commands.main import main;"
        f"main(['compare', {str(folders / 'ref')!r}, {str(folders / 'test')!r}]);"
        "print(sorted({'slicer', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_csv_columns_are_stable_and_complete(folders, capsys):
    run(capsys, folders / "ref", folders / "test", "--csv", folders / "rows.csv")
    header = next(csv.reader(io.StringIO((folders / "rows.csv").read_text())))
    columns = """
        case label segment tp fp fn tn dice jaccard sensitivity specificity precision npv accuracy balanced_accuracy
        kappa mcc volume_reference_ml volume_test_ml volume_difference_ml volume_difference_percent volume_similarity
        center_distance_mm hd_mm hd95_maxdir_mm assd_mm masd_mm asd_reference_to_test_mm asd_test_to_reference_mm
        signed_mean_mm over_mean_mm under_mean_mm hd_over_mm hd_under_mm nsd_1mm nsd_2mm nsd_3mm region matched
        status reason
    """
    assert header == columns.split()
