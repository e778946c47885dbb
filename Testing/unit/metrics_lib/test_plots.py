"""The plots: well-formed SVG, hand-derived numbers in it, and no name that could break it."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from MedSegAIMetricsLib.measures import select
from MedSegAIMetricsLib.plots import COLORS, bland_altman, box_plot, color, forest_plot
from MedSegAIMetricsLib.statistics import Figures
from MedSegAIMetricsLib.tables import SummaryLine

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<b> & \"quoted\" 'name' \x00\udcff"
READABLE = "<b> & \"quoted\" 'name' \ufffd\ufffd"
DICE = select(["dice"])[0]


def line(mean: float, low: float, high: float, n: int, subgroup: str = "", undefined: int = 0, segment: str = "liver"):
    return SummaryLine(segment, DICE, Figures(n, undefined, mean, low, high, *(math.nan,) * 6), subgroup)


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def titles(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}title")]


def marks(svg: str, kind: str, *attributes: str) -> list[tuple[float, ...]]:
    found = ElementTree.fromstring(svg).iter(f"{SVG}{kind}")
    return [tuple(float(element.get(name)) for name in attributes) for element in found]


def test_colors_are_distinct_and_repeat():
    assert len(set(COLORS)) == 7
    assert all(re.fullmatch("#[0-9a-f]{6}", color(index)) for index in range(20))
    assert color(7) == color(0)


def test_box_plot_writes_median_and_quartiles():
    # Of 1, 2, 3, 4, 5 the quartiles are 2 and 4.
    svg = box_plot({"liver": [(f"case {v}", float(v)) for v in (5, 1, 3, 2, 4)]}, "Distance (mm)")
    assert "3 [2, 4]" in texts(svg)
    assert "n = 5" in texts(svg)
    assert "Distance (mm)" in texts(svg)


def test_whiskers_end_at_the_furthest_value_within_one_and_a_half_interquartile_ranges():
    # Quartiles of 0, 1, 2, 3, 10 are 1 and 3: values up to 3 + 1.5 * 2 = 6 are inside, so the whisker ends at 3.
    svg = box_plot({"liver": [(f"case {v}", float(v)) for v in (0, 1, 2, 3, 10)]}, "mm")
    by_value = dict(zip((0, 1, 2, 3, 10), (x for (x,) in marks(svg, "circle", "cx")), strict=True))
    colored = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}line") if e.get("stroke") == color(0)]
    assert {float(e.get("x1")) for e in colored} == {by_value[0], by_value[3], by_value[2]}
    assert {float(e.get("x2")) for e in colored} == {by_value[0], by_value[3], by_value[2]}


def test_undefined_values_are_left_out_and_counted():
    svg = box_plot({"liver": [("a", 0.5), ("b", math.nan), ("c", 0.75), ("d", math.nan)]}, "Dice")
    assert "n = 2, 2 undefined" in texts(svg)
    assert titles(svg)[1:] == ["a: 0.500", "c: 0.750"]


def test_a_group_without_values_has_no_box():
    svg = box_plot({"liver": [("a", math.nan)]}, "Dice")
    assert "n = 0, 1 undefined" in texts(svg)
    assert "–" in texts(svg)
    assert not marks(svg, "circle", "cx")


def test_points_lie_at_the_same_places_in_every_run():
    groups = {"liver": [(str(i), i / 7) for i in range(50)]}
    assert box_plot(groups, "Dice") == box_plot(groups, "Dice")


def test_bland_altman_writes_the_limits_of_agreement():
    # Differences 1, 2, 3: mean 2, SD 1, limits 2 ± 1.96.
    svg = bland_altman([("a", 10, 11), ("b", 20, 22), ("c", 30, 33)], "ml")
    assert {"3.96 ml", "2.00 ml", "0.04 ml"} <= set(texts(svg))
    assert titles(svg)[0] == "a: difference 1.000 ml, mean 10.500 ml"


def test_bland_altman_puts_points_at_their_difference():
    svg = bland_altman([("a", 10, 11), ("b", 20, 22), ("c", 30, 33)], "ml")
    (xa, ya), (xb, yb), (xc, yc) = marks(svg, "circle", "cx", "cy")
    assert yb == pytest.approx((ya + yc) / 2, abs=0.1)
    assert ya > yc  # a larger difference lies higher
    assert xb == pytest.approx((xa + xc) / 2, abs=0.1)  # means 10.5, 21, 31.5


def test_labels_of_close_limits_do_not_overlap():
    # One difference of -400 among 1000 of 0 stretches the axis, so that the limits lie 25 of 400 around the mean.
    svg = bland_altman([("far", 500.0, 100.0), *[("near", 300.0, 300.0)] * 1000], "ml")
    named = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if (e.text or "").endswith(("SD", "Mean"))]
    heights = sorted(float(e.get("y")) for e in named)
    assert len(heights) == 3
    assert min(b - a for a, b in pairwise(heights)) >= 32


def test_bland_altman_of_one_point_has_no_limits_and_of_none_no_mean():
    assert "+1.96 SD" not in texts(bland_altman([("a", 1, 2)], "ml"))
    assert "Mean" not in texts(bland_altman([("a", math.nan, 2)], "ml"))
    assert "n = 0, 1 undefined" in texts(bland_altman([("a", math.nan, 2)], "ml"))


def test_bland_altman_colors_groups_and_names_them():
    svg = bland_altman([("a", 1, 2), ("b", 2, 2), ("c", 3, 5)], "ml", ["x", "y", "x"])
    fills = [e.get("fill") for e in ElementTree.fromstring(svg).iter(f"{SVG}circle")]
    assert fills == [color(0), color(1), color(0), color(1), color(0)]  # the legend, then the points
    assert {"x", "y"} <= set(texts(svg))


def test_bland_altman_needs_a_group_for_each_point():
    with pytest.raises(ValueError, match="shorter"):
        bland_altman([("a", 1, 2), ("b", 2, 2)], "ml", ["x"])


def test_forest_plot_writes_n_and_interval_and_draws_the_overall_mean():
    overall = line(0.8, 0.7, 0.9, 20)
    svg = forest_plot([line(0.9, 0.85, 0.95, 16, "F"), line(0.6, 0.5, 0.7, 4, "M", undefined=1)], "Dice", overall)
    expected = {"F", "M", "All", "16", "4", "20", "0.900 [0.850, 0.950]", "0.600 [0.500, 0.700]", "1 undefined"}
    assert expected <= set(texts(svg))
    dashed = [e for e in ElementTree.fromstring(svg).iter(f"{SVG}line") if e.get("stroke-dasharray")]
    squares = list(ElementTree.fromstring(svg).iter(f"{SVG}rect"))[1:]  # the first is the background
    centers = [float(e.get("x")) + float(e.get("width")) / 2 for e in squares]
    assert float(squares[0].get("width")) == pytest.approx(2 * float(squares[1].get("width")))  # area by n: 16 to 4
    assert float(dashed[0].get("x1")) == pytest.approx(centers[1] + (centers[0] - centers[1]) * 2 / 3, abs=0.2)


def test_forest_plot_of_one_case_shows_no_interval():
    assert "0.900" in texts(forest_plot([line(0.9, math.nan, math.nan, 1, "F")], "Dice"))


def test_forest_plot_of_undefined_subgroup_shows_an_en_dash():
    svg = forest_plot([line(math.nan, math.nan, math.nan, 0, "F", undefined=3)], "Dice", line(*(math.nan,) * 3, 0))
    assert "–" in texts(svg)
    assert "3 undefined" in texts(svg)


def test_forest_plot_names_segments_where_there_are_several():
    lines = [line(0.9, 0.8, 1, 3, "F"), line(0.7, 0.6, 0.8, 3, "", segment="tumor")]
    assert {"liver, F", "tumor, not stated"} <= set(texts(forest_plot(lines, "Dice")))


@pytest.mark.parametrize(
    "svg",
    [
        box_plot({NASTY: [(NASTY, 1.0)]}, NASTY),
        bland_altman([(NASTY, 1, 2), (NASTY, 2, 4)], NASTY, [NASTY, NASTY]),
        forest_plot([line(0.9, 0.8, 1, 3, NASTY)], NASTY, line(0.9, 0.8, 1, 3)),
    ],
    ids=["box", "bland-altman", "forest"],
)
def test_names_cannot_break_a_plot(svg):
    svg.encode("utf-8")
    shown = " ".join(filter(None, (*texts(svg), *titles(svg))))
    assert READABLE in shown


@pytest.mark.parametrize("svg", [box_plot({}, "Dice"), bland_altman([], "ml"), forest_plot([], "Dice")])
def test_a_plot_of_nothing_is_still_a_picture(svg):
    assert ElementTree.fromstring(svg).tag == f"{SVG}svg"


def test_long_names_go_on_in_the_next_line_and_lose_nothing():
    name = "a_segment_with_a_very_long_name_that_never_ends_" + "x" * 60
    shown = texts(box_plot({name: [("a", 1.0)]}, "Dice"))
    assert "".join(text for text in shown if text in name) == name
    assert max(map(len, shown)) < 40


def test_ticks_are_round_numbers_that_hold_all_values():
    shown = texts(box_plot({"liver": [("a", -0.013), ("b", 0.92)]}, "mm"))
    assert {"−0.2", "0.0", "0.2", "0.4", "0.6", "0.8", "1.0"} <= set(shown)


def test_equal_values_have_an_axis():
    assert {"0.0", "1.0"} <= set(texts(box_plot({"liver": [("a", 1.0), ("b", 1.0)]}, "Dice")))
