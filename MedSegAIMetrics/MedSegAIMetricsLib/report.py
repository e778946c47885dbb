"""A comparison over many cases as one HTML page that loads nothing and can be read without its script."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from MedSegAIMetricsLib import tables
from MedSegAIMetricsLib.measures import SURFACE_TITLES, Measure
from MedSegAIMetricsLib.plots import bland_altman, box_plot, decimals, escaped, forest_plot, mean_interval, number
from MedSegAIMetricsLib.statistics import BOOTSTRAP_SAMPLES
from MedSegAIMetricsLib.tables import COMPARED, KEYS, NOTES, Row, SummaryLine

# What the summary shows, where it was measured, and what the plots show; the table of all rows has everything.
MAIN = r"dice|sensitivity|precision|hd[\d.]+_.*|assd_.*|nsd_.*|volume_difference_(ml|percent)|lesion_f1"
PLOTTED = (r"dice", r"hd[\d.]+_.*", r"nsd_.*")
VOLUMES = ("volume_reference_ml", "volume_test_ml")
WORST = 10
SIDE_BY_SIDE = 3  # as many subgroups stand beside each other; more stand below each other
NAMED_FAILURES = 50
NOT_STATED = "not stated"
STATUSES = (COMPARED, tables.NO_TEST, tables.NO_REFERENCE, tables.FAILED)

STYLE = """
:root { color-scheme: light; --text: #222; --muted: #666; --line: #ddd; --accent: #0072b2; --alert: #b3470a; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 32px 32px 64px; max-width: 1400px; background: #fff; color: var(--text);
  font: 15px/1.5 -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 10px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 28px 0 8px; } p, ul { max-width: 90ch; margin: 8px 0; }
.note { color: var(--muted); font-size: 13px; } .research { color: var(--alert); font-weight: 600; margin: 0 0 18px; }
.alert { border-left: 4px solid var(--alert); background: #fdf3ec; padding: 8px 16px; margin: 12px 0; max-width: 90ch; }
.alert p { font-weight: 600; margin: 4px 0; } .alert ul { margin: 4px 0; padding-left: 20px; }
.scroll { overflow: auto; margin: 12px 0; } .tall { max-height: 80vh; border: 1px solid var(--line); }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } thead th { vertical-align: bottom; border-bottom: 1px solid #888; }
.n, .u { text-align: right; } td.n, .status { white-space: nowrap; } .u { color: var(--muted); cursor: help; }
.facts th { font-weight: 400; color: var(--muted); } .facts td { overflow-wrap: anywhere; }
.name, .case, .segment { overflow-wrap: anywhere; min-width: 100px; } .name, .case { min-width: 170px; }
.reason { min-width: 220px; } tr.bad td { background: #fdf3ec; } tr.bad .status { font-weight: 600; }
th.group { text-align: center; } .first { border-left: 1px solid var(--line); } tbody { border-bottom: 1px solid #888; }
.rows thead th { position: sticky; top: 0; z-index: 1; background: #fff; box-shadow: inset 0 -1px #888; padding: 0; }
.rows tbody td:first-child { position: sticky; left: 0; background: #fff; border-right: 1px solid var(--line); }
.rows tbody tr.bad td:first-child { background: #fdf3ec; }
th button { all: unset; display: block; padding: 5px 9px; cursor: pointer; white-space: nowrap; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
.plots { display: flex; flex-wrap: wrap; gap: 28px 24px; align-items: flex-start; }
figure { margin: 0; break-inside: avoid; max-width: 100%; } svg, img { display: block; max-width: 100%; height: auto; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 24px; }
figcaption { font-size: 13px; margin-bottom: 6px; overflow-wrap: anywhere; } figcaption span { color: var(--muted); }
@page { size: A4 landscape; margin: 12mm; }
@media print { body { padding: 0; max-width: none; font-size: 10pt; } .scroll { overflow: visible; max-height: none; }
  table { font-size: 7.5pt; } th, td { padding: 2px 5px; } h2, h3, .note { break-after: avoid; }
  tr, p { break-inside: avoid; } .tall { border: 0; } .plots figure { width: 48%; } .pictures figure { width: 60mm; }
  .rows { font-size: 5pt; } .rows thead th, .rows tbody td:first-child { position: static; }
  .rows th button, .rows td { padding: 1px 2px; min-width: 0; } .rows button { white-space: normal; }
  .rows .case, .rows .reason { min-width: 12em; } .rows .segment, .rows .matched { min-width: 7em; }
  .rows :is(button, .reason, .matched) { overflow-wrap: anywhere; } .pictures { display: flex; flex-flow: wrap; } }
"""

SCRIPT = """
for (const head of document.querySelectorAll("table.rows th")) head.addEventListener("click", () => {
  const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
  const order = (a, b) => !a || !b ? !a - !b : sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
  body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
});
"""

# A browser that knows it refuses to load anything, whatever the page holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Picture:
    """A picture of one of the worst cases: ``png`` holds the bytes of the file."""

    title: str
    png: bytes
    caption: str


def html_report(
    title: str,
    facts: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    measures: Sequence[Measure],
    pictures: Sequence[Picture] = (),
) -> str:
    """The page: what is missing, summary, plots, subgroups, worst cases, all rows and the definitions of all measures.

    ``facts``: name and value of what a reader needs to repeat the comparison, such as versions, files, region, surface
    and date. ``rows``, ``measures``: of the comparison; a row without a test has the values of an empty test and counts
    in every figure. ``pictures``: shown in this order below the table of the worst cases.
    """
    main = [measure for measure in measures if re.fullmatch(MAIN, measure.name)] or list(measures)
    lines = tables.summarize(rows, main)
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escaped(title)}</title><style>{STYLE}</style>"
    sections = (
        _head(title, facts),
        _completeness(rows, measures),
        _summary(lines),
        _box_plots(rows, measures),
        _agreement(rows, measures),
        _subgroups(rows, main, lines),
        _worst(rows, measures, main, pictures),
        _all_rows(rows, measures),
        _definitions(measures),
        f"<script>{SCRIPT}</script>",
    )
    body = "\n".join(sections)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _head(title: str, facts: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>' for name, value in facts)
    warning = '<p class="research">Research use only. Not for clinical decisions.</p>'
    return f'<h1>{escaped(title)}</h1>\n{warning}\n<div class="scroll"><table class="facts">{lines}</table></div>'


def _completeness(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    """What was compared and what was not, in a sentence each."""
    of = {status: [row for row in rows if row.status == status] for status in STATUSES}
    compared, no_test, no_reference, failed = of.values()
    alerts = (
        _failures(no_test, "no test. Each counts as an empty test in every figure of this report."),
        _failures(no_reference, "no reference. Nothing could be measured there."),
        _failures(failed, "failed. Nothing could be measured there."),
    )
    absent = ("No test is missing.", "No reference is missing.", "No comparison failed.")
    sentences = [f"Compared: {_amount(compared)}, of {_amount(rows)}."]
    sentences += [sentence for sentence, alert in zip(absent, alerts, strict=True) if not alert]
    sentences.append(_undefined([*compared, *no_test], measures))
    items = "".join(f"<li>{sentence}</li>" for sentence in sentences)
    return _section("What was compared", f"{''.join(alerts)}<ul>{items}</ul>")


def _amount(rows: Sequence[Row]) -> str:
    cases = len({row.case for row in rows})
    return f"{_plural(len(rows), 'segment')} in {_plural(cases, 'case')}"


def _failures(rows: Sequence[Row], what: str) -> str:
    if not rows:
        return ""
    verb = "" if what.startswith("failed") else ("has " if len(rows) == 1 else "have ")
    named = ((", ".join(filter(None, (row.case, row.segment))), row.reason) for row in rows[:NAMED_FAILURES])
    items = [": ".join(filter(None, texts)) for texts in named]
    items += [f"and {len(rows) - NAMED_FAILURES} more, see all rows"] if len(rows) > NAMED_FAILURES else []
    entries = "".join(f"<li>{escaped(item)}</li>" for item in items)
    return f'<div class="alert"><p>{_amount(rows)} {verb}{what}</p><ul>{entries}</ul></div>'


def _undefined(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    counts = [sum(math.isnan(_value(row, m)) for m in measures) for row in rows]
    if not any(counts):
        return "No value is undefined."
    where = _amount([row for row, count in zip(rows, counts, strict=True) if count])
    note = "Each is shown as – with the reason as its tool tip, and left out of means and plots."
    return f"Undefined: {sum(counts):,} of {_plural(len(rows) * len(measures), 'value')}, in {where}. {note}"


def _summary(lines: Sequence[SummaryLine]) -> str:
    note = (
        f"95 % interval: percentile bootstrap of the mean over cases, {BOOTSTRAP_SAMPLES:,} samples. SD: with n − 1. "
    )
    note += "Quartiles: linear interpolation."
    return _section("Summary", f'{_figures_table(lines)}<p class="note">{note}</p>') if lines else ""


def _figures_table(lines: Sequence[SummaryLine], subgroups: bool = False) -> str:
    """A line for each segment and measure, and for each subgroup if there are some."""
    names = ("Segment", "Measure", *(["Subgroup"] if subgroups else []))
    numbers = ("Mean [95 % interval]", "SD", "Median [quartiles]", "Range", "n", "Undefined")
    head = "".join(f"<th>{name}</th>" for name in names) + "".join(f'<th class="n">{name}</th>' for name in numbers)
    places = _places(lines)
    trs = []
    for line in lines:
        subgroup = f'<td class="name">{escaped(line.subgroup or NOT_STATED)}</td>' if subgroups else ""
        trs.append((line.segment, _name_cell(line.measure) + subgroup + _cells(_figure_texts(line, places))))
    return _grouped_table(f"<tr>{head}</tr>", trs)


def _grouped_table(head: str, trs: Sequence[tuple[str, str]]) -> str:
    """``trs``: segment and cells of each line. A segment's name spans its lines."""
    bodies = ""
    for segment in dict.fromkeys(segment for segment, _ in trs):
        lines = [cells for own, cells in trs if own == segment]
        first = f'<th class="segment" scope="rowgroup" rowspan="{len(lines)}">{escaped(segment)}</th>'
        bodies += f"<tbody><tr>{first}" + "</tr>\n<tr>".join(lines) + "</tr></tbody>"
    return f'<div class="scroll"><table><thead>{head}</thead>{bodies}</table></div>'


def _places(lines: Sequence[SummaryLine]) -> dict[str, int]:
    """Decimals for each measure: the same in all lines of a table, so that they can be compared."""
    values: dict[str, list[float]] = {}
    for line in lines:
        f = line.figures
        values.setdefault(line.measure.name, []).extend((f.mean, f.ci_low, f.ci_high, f.median, f.q1, f.q3))
    return {name: decimals(own) for name, own in values.items()}


def _figure_texts(line: SummaryLine, every_places: Mapping[str, int]) -> tuple[str, ...]:
    f, places = line.figures, every_places[line.measure.name]
    low, high, q1, median, q3, sd = (number(v, places) for v in (f.minimum, f.maximum, f.q1, f.median, f.q3, f.sd))
    spread = (f"{median} [{q1}, {q3}]", f"{low} to {high}") if f.n else ("–", "–")
    return mean_interval(line, places), sd, *spread, str(f.n), str(f.undefined)


def _box_plots(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    segments = _by_segment(rows)
    plots = [
        box_plot({name: [(row.case, _value(row, m)) for row in own] for name, own in segments.items()}, _heading(m))
        for m in _plotted(measures)
    ]
    note = '<p class="note">Box: median and quartiles. Whiskers: the furthest values within 1.5 interquartile ranges. '
    note += "Each point is a case; rest the pointer on it to read which.</p>"
    return _section("Distribution over cases", note + _figures(plots)) if plots and rows else ""


def _agreement(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    """A plot for each segment: points of several segments of one case are not independent."""
    if not set(VOLUMES) <= {measure.name for measure in measures} or not rows:
        return ""
    plots = {
        segment: bland_altman(
            [(row.case, *(row.values.get(name, math.nan) for name in VOLUMES)) for row in own],
            "ml",
            [row.group["split"] for row in own] if all(row.group.get("split") for row in own) else None,
        )
        for segment, own in _by_segment(rows).items()
    }
    note = '<p class="note">Test − reference against the mean of both (Bland &amp; Altman, Lancet 1986;327:307-310). '
    note += "Dashed: limits of agreement, mean ± 1.96 SD. A missing test has a volume of 0 ml.</p>"
    return _section("Agreement of volumes", note + _figures(plots.values(), plots))


def _subgroups(rows: Sequence[Row], measures: Sequence[Measure], overall: Sequence[SummaryLine]) -> str:
    parts = []
    for column, lines in tables.summarize_subgroups(rows, measures).items():
        # Subgroups of a measure stand together; the model's own data first, as the others are compared with it.
        lines = sorted(lines, key=lambda line: (measures.index(line.measure), line.subgroup != "internal"))
        values = list(dict.fromkeys(line.subgroup for line in lines))
        beside = len(values) <= SIDE_BY_SIDE
        table = _side_by_side(lines, values) if beside else _figures_table(lines, subgroups=True)
        parts.append(f"<h3>By {escaped(column)}</h3>{table}{_forests(lines, overall)}")
    return _section("Subgroups", "".join(parts)) if parts else ""


def _side_by_side(lines: Sequence[SummaryLine], values: Sequence[str]) -> str:
    figures = {(line.segment, line.measure, line.subgroup): line for line in lines}
    groups = "".join(f'<th colspan="4" class="group first">{escaped(value or NOT_STATED)}</th>' for value in values)
    kinds = "".join(f'<th class="n">{kind}</th>' for kind in ("Undefined", "Mean [95 % interval]", "SD"))
    head = f'<tr><th rowspan="2">Segment</th><th rowspan="2">Measure</th>{groups}</tr>'
    head += "<tr>" + f'<th class="n first">n</th>{kinds}' * len(values) + "</tr>"
    places = _places(lines)
    trs = []
    for segment, measure in dict.fromkeys((line.segment, line.measure) for line in lines):
        cells = (_four_cells(figures.get((segment, measure, value)), places) for value in values)
        trs.append((segment, _name_cell(measure) + "".join(cells)))
    return _grouped_table(head, trs)


def _four_cells(line: SummaryLine | None, places: Mapping[str, int]) -> str:
    """Of a segment in a subgroup; a subgroup may lack a segment."""
    mean, sd, *_, n, undefined = _figure_texts(line, places) if line else ("–", "–", "0", "0")
    return f'<td class="n first">{n}</td>' + _cells((undefined, mean, sd))


def _forests(lines: Sequence[SummaryLine], overall: Sequence[SummaryLine]) -> str:
    """A plot for each segment and, of each kind of measure, the first."""
    plots, captions = [], []
    for measure in _plotted([line.measure for line in overall], once=True):
        for every in (line for line in overall if line.measure == measure):
            own = [line for line in lines if (line.segment, line.measure) == (every.segment, measure)]
            plots.append(forest_plot(own, _heading(measure), every))
            captions.append(f"{every.segment}: {measure.title}")
    return _figures(plots, captions)


def _worst(rows, measures: Sequence[Measure], main: Sequence[Measure], pictures: Sequence[Picture]) -> str:
    by = tables.ranking_measure(measures)
    if by is None or not rows:
        return ""
    heads = {m: escaped(_heading(m)) for m in dict.fromkeys([by, *(_plotted(measures) or main)])}
    table = _rows_table(tables.worst_first(rows, by)[:WORST], ("case", "segment", "status", "reason"), heads)
    note = f'<p class="note">The first {min(WORST, len(rows))} of {len(rows)} rows by {escaped(by.title)}, '
    note += "those without a value before all others.</p>"
    shown = "".join(
        f"<figure><figcaption><b>{escaped(p.title)}</b><br><span>{escaped(p.caption)}</span></figcaption>"
        f'<img alt="{escaped(p.title)}" src="data:image/png;base64,{base64.b64encode(p.png).decode()}"></figure>'
        for p in pictures
    )
    return _section("Worst cases first", f'{note}<div class="scroll">{table}</div><div class="pictures">{shown}</div>')


def _all_rows(rows: Sequence[Row], measures: Sequence[Measure]) -> str:
    note = '<p class="note">Columns have the names of the CSV file; click on a name to sort.</p>'
    front = (*KEYS, *dict.fromkeys(column for row in rows for column in row.group))
    button = '<button type="button" title="{}">{}</button>'  # so that the keyboard can sort, too
    heads = {m: button.format(escaped(_heading(m)), m.name) for m in measures}
    table = _rows_table(rows, front, heads, NOTES, button)
    return _section("All rows", f'{note}<div class="scroll tall" tabindex="0">{table}</div>')


def _rows_table(rows, front: Sequence[str], heads: Mapping[Measure, str], back: Sequence[str] = (), button="") -> str:
    """Columns: attributes or groups of a row in front, measures with their heads, attributes at the back."""
    texts = [button.format("", escaped(name)) if button else escaped(name) for name in (*front, *back)]
    texts[len(front) : len(front)] = heads.values()
    kinds = ["n" if len(front) <= i < len(front) + len(heads) else "" for i in range(len(texts))]
    head = "".join(f'<th class="{kind}">{text}</th>' for kind, text in zip(kinds, texts, strict=True))
    places = {m: decimals(_value(row, m) for row in rows) for m in heads}
    lines = []
    for row in rows:
        cells = [*_texts(row, front), *(_value_cell(row, m, places[m]) for m in heads), *_texts(row, back)]
        lines.append(("<tr>" if row.status == COMPARED else '<tr class="bad">') + "".join(cells) + "</tr>")
    kind, body = ' class="rows"' if button else "", "\n".join(lines)
    return f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _texts(row: Row, columns: Sequence[str]) -> list[str]:
    cells = ((c, getattr(row, c)) if c in KEYS + NOTES else ("of-group", row.group.get(c, "")) for c in columns)
    return [f'<td class="{kind}">{escaped(text)}</td>' for kind, text in cells]


def _value_cell(row: Row, measure: Measure, places: int) -> str:
    value = _value(row, measure)
    if math.isnan(value):
        return f'<td class="u" data-v="" title="{escaped(row.reason or row.status)}">–</td>'
    return f'<td class="n" data-v="{float(value)!r}">{number(value, places)}</td>'


def _definitions(measures: Sequence[Measure]) -> str:
    heads = ("Measure", "Column", "Unit", "Definition", "Source", "Range", "Both masks empty", "One mask empty")
    lines = []
    for m in measures:
        surface = f"; on {SURFACE_TITLES[m.surface]}" if m.surface else ""
        region = "; depends on the region in which true negatives are counted" if m.region else ""
        better = {"higher": ", higher is better", "lower": ", lower is better", "zero": ", best is 0"}.get(m.better, "")
        limits = " to ".join(number(limit, 0) for limit in m.range) + better
        empty = ("as defined" if v is None else number(v, 0) for v in (m.both_empty, m.one_empty))
        texts = (m.title, m.name, m.unit, m.definition + surface + region, m.source, limits, *empty)
        lines.append("<tr>" + "".join(f"<td>{escaped(text)}</td>" for text in texts) + "</tr>")
    head = "".join(f"<th>{head}</th>" for head in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return _section("Definitions", f'<p class="note">–: undefined.</p><div class="scroll">{table}</div>')


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _figures(plots: Iterable[str], captions: Iterable[str] = ()) -> str:
    titles = [f"<figcaption><b>{escaped(c)}</b></figcaption>" for c in captions] or [""] * len(plots)
    return f'<div class="plots">{"".join(f"<figure>{t}{p}</figure>" for t, p in zip(titles, plots, strict=True))}</div>'


def _cells(texts: Iterable[str]) -> str:
    return "".join(f'<td class="n">{text}</td>' for text in texts)


def _name_cell(measure: Measure) -> str:
    return f'<td class="name">{escaped(_heading(measure))}</td>'


def _heading(measure: Measure) -> str:
    return measure.title + (f" ({measure.unit})" if measure.unit else "")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _value(row: Row, measure: Measure) -> float:
    return row.values.get(measure.name, math.nan)


def _plotted(measures: Iterable[Measure], once: bool = False) -> list[Measure]:
    """Those that plots are made of, by kind; ``once``: the first of each kind."""
    measures = list(dict.fromkeys(measures))
    kinds = [[m for m in measures if re.fullmatch(kind, m.name)] for kind in PLOTTED]
    return [measure for kind in kinds for measure in kind[: 1 if once else None]]


def _by_segment(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Segments in the order in which they occur."""
    return {name: [row for row in rows if row.segment == name] for name in dict.fromkeys(row.segment for row in rows)}
