"""Rows, their summary and their files, against tables that are written by hand."""

import csv
import io
import math

import numpy as np
import pytest

from MedSegAIMetricsLib import compare
from MedSegAIMetricsLib.measures import select
from MedSegAIMetricsLib.tables import Row, rows_csv, summarize, summarize_subgroups, summary_csv, worst_first

MEASURES = select(["tp", "dice", "hd95", "volume_difference_ml"])
NAMES = [measure.name for measure in MEASURES]
NAN = math.nan


def row(case: str, dice: float, hd95: float = 1.5, difference: float = 0.0, segment: str = "Spleen", **more) -> Row:
    return Row(case, 1, segment, dict(zip(NAMES, (12, dice, hd95, difference), strict=True)), **more)


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_columns_are_stable_and_in_order():
    header = rows_csv([row("a", 0.5)], MEASURES).splitlines()[0]
    assert header == "case,label,segment,tp,dice,hd95_maxdir_mm,volume_difference_ml,region,matched,status,reason"


def test_a_table_without_rows_still_has_its_columns():
    assert rows_csv([], MEASURES).count("\n") == 1


def test_numbers_are_written_in_full_and_whole_numbers_without_a_point():
    (line,) = parsed(rows_csv([row("a", 2 / 3, 1e-7, -3.0)], MEASURES))
    assert (line["tp"], line["volume_difference_ml"]) == ("12", "-3")
    assert float(line["dice"]) == 2 / 3
    assert float(line["hd95_maxdir_mm"]) == 1e-7


def test_what_does_not_exist_is_empty_and_the_reason_stands_behind_it():
    (line,) = parsed(rows_csv([row("a", 0.0, NAN, reason="the test is empty", status="no test")], MEASURES))
    assert (line["dice"], line["hd95_maxdir_mm"]) == ("0", "")
    assert (line["reason"], line["status"]) == ("the test is empty", "no test")


def test_a_measure_that_was_not_computed_is_empty():
    (line,) = parsed(rows_csv([Row("a", 3, "Liver", {"dice": 0.5})], MEASURES))
    assert (line["label"], line["dice"], line["tp"]) == ("3", "0.5", "")


@pytest.mark.parametrize("text", ['a, b and "c"', "two\nlines", "Größe; µm", "=1+1"])
def test_texts_come_back_as_they_were(text):
    (line,) = parsed(rows_csv([row(text, 0.5, segment=text, matched=text)], MEASURES))
    assert (line["case"], line["segment"], line["matched"]) == (text, text, text)


def test_numpy_numbers_are_written_like_others():
    (line,) = parsed(rows_csv([row("a", np.float64(0.25), np.float64("nan"))], MEASURES))
    assert (line["dice"], line["hd95_maxdir_mm"]) == ("0.25", "")


def test_a_comparison_becomes_rows_with_the_same_values():
    reference, test = np.zeros((2, 1, 1, 6), np.uint8)
    reference[0, 0], test[0, 0] = [1, 1, 1, 2, 0, 0], [0, 1, 1, 2, 2, 0]
    found = compare(reference, test, (1, 1, 1), measures=["dice", "tp"])
    rows = [Row("a", label, str(label), values, found.region) for label, values in found.items()]
    assert rows_csv(rows, found.measures).splitlines() == [
        "case,label,segment,dice,tp,region,matched,status,reason",
        "a,1,1,0.8,2,image,,compared,",
        f"a,2,2,{2 / 3!r},1,image,,compared,",
    ]


ROWS = [
    row("a", 0.9, 2.0),
    row("a", 0.4, 7.0, segment="Liver"),
    row("b", 0.7, NAN),
    row("c", 0.8, 3.0),
    row("b", 0.6, 5.0, segment="Liver"),
]


def test_the_summary_has_a_line_for_each_segment_and_measure_in_their_order():
    lines = summarize(ROWS, MEASURES)
    assert [(line.segment, line.measure.name) for line in lines] == [
        *(("Spleen", name) for name in NAMES),
        *(("Liver", name) for name in NAMES),
    ]


def test_the_summary_counts_what_exists_and_what_does_not():
    figures = {(line.segment, line.measure.name): line.figures for line in summarize(ROWS, MEASURES)}
    dice, distance = figures["Spleen", "dice"], figures["Spleen", "hd95_maxdir_mm"]
    assert (dice.n, dice.undefined, dice.median, dice.minimum, dice.maximum) == (3, 0, 0.8, 0.7, 0.9)
    assert (dice.mean, dice.sd) == pytest.approx((0.8, 0.1))
    assert (distance.n, distance.undefined, distance.mean) == (2, 1, 2.5)
    assert (figures["Liver", "dice"].n, figures["Liver", "dice"].mean) == (2, pytest.approx(0.5))


def test_the_file_of_a_summary_has_a_line_for_each_and_what_does_not_exist_is_empty():
    lines = parsed(summary_csv(summarize([row("a", 0.9, NAN, 0.25)], MEASURES)))
    assert list(lines[0])[:7] == ["column", "subgroup", "segment", "measure", "unit", "n", "undefined"]
    assert list(lines[0])[7:11] == ["mean", "ci_low", "ci_high", "sd"]
    assert list(lines[0])[11:] == ["median", "q1", "q3", "minimum", "maximum"]
    by_measure = {line["measure"]: line for line in lines}
    assert (by_measure["dice"]["n"], by_measure["dice"]["mean"], by_measure["dice"]["sd"]) == ("1", "0.9", "")
    assert (by_measure["hd95_maxdir_mm"]["n"], by_measure["hd95_maxdir_mm"]["undefined"]) == ("0", "1")
    assert by_measure["hd95_maxdir_mm"]["mean"] == ""
    assert [by_measure[name]["unit"] for name in NAMES] == ["voxels", "", "mm", "ml"]


def test_subgroups_are_summarized_for_each_column_and_value():
    rows = [
        row("a", 0.9, group={"scanner": "B", "sex": "f"}),
        row("b", 0.7, group={"scanner": "A", "sex": "f"}),
        row("c", 0.5, group={"scanner": "A"}),
    ]
    summary = summarize_subgroups(rows, select(["dice"]))
    found = {column: [(line.subgroup, line.figures.mean) for line in lines] for column, lines in summary.items()}
    assert found == {
        "scanner": [("A", pytest.approx(0.6)), ("B", 0.9)],
        "sex": [("", 0.5), ("f", pytest.approx(0.8))],
    }
    assert summarize_subgroups([row("a", 0.9)], MEASURES) == {}


def cases(rows: list[Row]) -> str:
    return "".join(row.case for row in rows)


def test_the_worst_comes_first_whichever_way_a_measure_goes():
    rows = [row("a", 0.9, 1.0, -5.0), row("b", 0.5, 3.0, 1.0), row("c", 0.7, 9.0, 2.0)]
    dice, hd95, difference = MEASURES[1:]
    assert cases(worst_first(rows, dice)) == "bca"
    assert cases(worst_first(rows, hd95)) == "cba"
    assert cases(worst_first(rows, difference)) == "acb"  # by how far it is from 0


def test_rows_without_a_value_come_before_the_worst():
    rows = [row("a", 0.9, 1.0), row("b", 0.0, NAN), Row("c", 1, "Spleen", {}, status="failed"), row("d", 0.2, 50.0)]
    assert cases(worst_first(rows, MEASURES[2])) == "bcda"
    assert cases(worst_first(rows, MEASURES[1])) == "cbda"
