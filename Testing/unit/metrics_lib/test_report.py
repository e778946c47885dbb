"""The HTML report: what is missing is said first, every number is there, and nothing is loaded from elsewhere."""

import base64
import math
import re
from html.parser import HTMLParser

import pytest

from MedSegAIMetricsLib.measures import select
from MedSegAIMetricsLib.report import Picture, html_report
from MedSegAIMetricsLib.tables import COMPARED, FAILED, NO_REFERENCE, NO_TEST, Row

NAN = math.nan
MEASURES = select(["dice", "hd95_maxdir_mm", "nsd_2mm", "specificity", "volume_reference_ml", "volume_test_ml"])
NAMES = [measure.name for measure in MEASURES]
VOID = {"meta", "br", "img"}


def row(case: str, dice: float, segment: str = "liver", status: str = COMPARED, reason: str = "", **group: str) -> Row:
    values = dict(zip(NAMES, (dice, 10 * (1 - dice), dice, 0.99, 100.0, 100 * dice), strict=True))
    return Row(case, 1, segment, values, status=status, reason=reason, group=group)


class Page(HTMLParser):
    """What a browser sees: texts by the tag that they stand in, attributes, sections, and whether all tags close."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.attributes, self.texts, self.unclosed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag: str) -> list[str]:
        return [text for own, text in self.texts if own == tag]


def report(rows, measures=MEASURES, pictures=(), facts=(("Region", "image"),)) -> str:
    return html_report("Liver", facts, rows, measures, pictures)


def table_rows(text: str, section: str) -> list[list[str]]:
    """Texts of the cells of the section's tables, without markup."""
    part = text.split(f"<h2>{section}</h2>")[1].split("</section>")[0]
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", tr, re.S)]
        for tr in re.findall(r"<tr[^>]*>(.*?)</tr>", part, re.S)
    ]


def test_all_tags_close():
    rows = [row(f"case {i}", 0.5 + i / 20, s, sex="F" if i % 2 else "M") for i in range(8) for s in ("liver", "tumor")]
    page = Page(report(rows, pictures=[Picture("case 1", b"png", "worst")]))
    assert page.unclosed == page.open == []


def test_nothing_is_loaded_from_elsewhere():
    text = report([row("a", 0.9), row("b", 0.8)], pictures=[Picture("a", b"\x89PNG", "caption")])
    loads = [
        value for _, name, value in Page(text).attributes if name in ("src", "href", "xlink:href", "data", "action")
    ]
    assert loads == ["data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()]
    assert not re.search(r"url\(|@import|<link|<iframe|fetch\(", text)
    assert "http" not in text.replace("http-equiv", "").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "default-src 'none'" in text


def test_head_states_facts_and_research_use():
    page = Page(report([row("a", 0.9)], facts=[("Region", "union+10mm"), ("Files", "/data/<x>")]))
    assert "Research use only. Not for clinical decisions." in page.all("p")
    assert {"union+10mm", "/data/<x>"} <= set(page.all("td"))


def test_failures_are_named_and_counted():
    nothing = {"reason": "grids differ"}
    rows = [
        row("good", 0.9),
        row("lost", 0.0, "tumor", NO_TEST, "the test has no such segment"),
        row("orphan", NAN, status=NO_REFERENCE),
        row("broken", NAN, status=FAILED, **nothing),
        row("broken too", NAN, status=FAILED),
    ]
    page = Page(report(rows))
    assert "1 segment in 1 case has no test. Each counts as an empty test in every figure of this report." in page.all(
        "p"
    )
    assert "1 segment in 1 case has no reference. Nothing could be measured there." in page.all("p")
    assert "2 segments in 2 cases failed. Nothing could be measured there." in page.all("p")
    items = {"lost, tumor: the test has no such segment", "orphan, liver", "broken, liver: grids differ"}
    assert items <= set(page.all("li"))
    assert "Compared: 1 segment in 1 case, of 5 segments in 5 cases." in page.all("li")


def test_a_complete_comparison_says_so():
    page = Page(report([row("a", 0.9), row("b", 0.8)]))
    sentences = ["Compared: 2 segments in 2 cases, of 2 segments in 2 cases.", "No test is missing."]
    sentences += ["No reference is missing.", "No comparison failed.", "No value is undefined."]
    assert page.all("li") == sentences


def test_undefined_values_are_counted_and_carry_their_reason():
    missing = Row("b", 1, "liver", {**row("b", 0.0).values, "hd95_maxdir_mm": NAN}, reason="the test is empty")
    text = report([row("a", 0.9), missing])
    # 6 measures of 2 rows
    assert "Undefined: 1 of 12 values, in 1 segment in 1 case." in text
    assert '<td class="u" data-v="" title="the test is empty">–</td>' in text


def test_summary_states_the_figures():
    lines = table_rows(report([row(c, v) for c, v in zip("abc", (0.8, 0.9, 1.0), strict=True)]), "Summary")
    # Of 0.8, 0.9, 1.0: mean and median 0.9, SD 0.1, quartiles 0.85 and 0.95.
    mean, *others = lines[1][2:]
    assert lines[1][:2] == ["liver", "Dice"]
    assert mean.startswith("0.900 [0.8")
    assert others == ["0.100", "0.900 [0.850, 0.950]", "0.800 to 1.000", "3", "0"]


def test_plots_of_main_measures_and_volumes_are_there():
    text = report([row("a", 0.9), row("b", 0.8)])
    labels = [value for tag, name, value in Page(text).attributes if (tag, name) == ("svg", "aria-label")]
    assert labels == [
        "Dice",
        "Hausdorff distance, 95th percentile, larger of the two directions (mm)",
        "Normalized surface Dice at 2 mm",
        "Bland-Altman plot, n = 2",
    ]


def test_without_volumes_and_groups_their_sections_are_left_out():
    text = report([row("a", 0.9)], select(["dice"]))
    assert "Agreement of volumes" not in text
    assert "<h2>Subgroups</h2>" not in text


def test_internal_and_external_cases_stand_side_by_side():
    rows = [row("a", 0.9, split="internal"), row("b", 0.6, split="external"), row("c", 0.8, split="internal")]
    head, kinds, dice, *_ = table_rows(report(rows), "Subgroups")
    assert head == ["Segment", "Measure", "internal", "external"]
    assert len(kinds) == 8
    assert dice[:2] == ["liver", "Dice"]
    assert (dice[2], dice[4][:5]) == ("2", "0.850")
    assert dice[6:] == ["1", "0", "0.600", "–"]  # a single case has no interval and no SD


def test_many_subgroups_stand_below_each_other():
    rows = [row(f"case {i}", 0.5 + i / 10, site=site) for i, site in enumerate(("A", "B", "C", ""))]
    lines = table_rows(report(rows), "Subgroups")
    assert lines[0][:3] == ["Segment", "Measure", "Subgroup"]
    assert [line[-7] for line in lines[1:5]] == ["not stated", "A", "B", "C"]


def test_worst_cases_come_first():
    rows = [row(f"case {i}", (i + 1) / 20) for i in reversed(range(15))] + [row("broken", NAN, status=FAILED)]
    lines = table_rows(report(rows), "Worst cases first")
    assert [line[0] for line in lines[1:]] == ["broken", *(f"case {i}" for i in range(9))]


def test_all_rows_have_their_full_precision_for_sorting():
    text = report([row("a", 1 / 3, sex="F")])
    head, line = table_rows(text, "All rows")
    assert head == ["case", "label", "segment", "sex", *NAMES, "region", "matched", "status", "reason"]
    assert line[:5] == ["a", "1", "liver", "F", "0.333"]
    assert f'data-v="{1 / 3!r}"' in text


def test_definitions_name_source_range_and_empty_masks():
    lines = {line[1]: line for line in table_rows(report([row("a", 0.9)]), "Definitions")}
    assert lines["dice"][-4:] == ["Dice, Ecology 1945;26:297-302", "0 to 1, higher is better", "1", "0"]
    assert lines["hd95_maxdir_mm"][-3:] == ["0 to ∞, lower is better", "0", "–"]
    assert "depends on the region" in lines["specificity"][3]
    assert "depends on the region" not in lines["dice"][3]


def test_names_cannot_break_the_page():
    nasty = "</td><script>alert(\"x\")</script> & 'y' \udcff"
    rows = [row(nasty, v, nasty, status, nasty, sex=nasty) for v, status in ((0.9, COMPARED), (0.0, NO_TEST))]
    text = html_report(nasty, [(nasty, nasty)], rows, MEASURES, [Picture(nasty, b"", nasty)])
    text.encode("utf-8")
    page = Page(text)
    assert page.unclosed == page.open == []
    assert len(page.all("script")) == 1
    assert nasty.replace("\udcff", "\ufffd") in page.all("h1")


@pytest.mark.parametrize("measures", [MEASURES, select(["accuracy"]), select(["tp"]), []])
def test_a_report_of_nothing_is_still_a_page(measures):
    page = Page(report([], measures))
    assert page.unclosed == page.open == []
    assert "Compared: 0 segments in 0 cases, of 0 segments in 0 cases." in page.all("li")
