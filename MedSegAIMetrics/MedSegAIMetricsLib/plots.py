"""Plots of measures over many cases, each as the text of an SVG file; Slicer bundles no plotting library."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MedSegAIMetricsLib.tables import SummaryLine

# Okabe & Ito, Color Universal Design, 2008; without their yellow, which cannot be seen on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
TEXT, MUTED, AXIS, GRID = "#222222", "#666666", "#999999", "#e9e9e9"
WIDTH = 640
LINE = 16  # height of a line of text
LABEL_WIDTH = 170  # longer labels go on in the next line
UNDEFINED = "–"


def color(index: int) -> str:
    """A color that can be told from the others by color-blind readers; they repeat after seven."""
    return COLORS[index % len(COLORS)]


def box_plot(groups: Mapping[str, Sequence[tuple[str, float]]], axis_title: str) -> str:
    """A horizontal box for each group, and below it a point for each case.

    ``groups``: by name, ``(case, value)``. A box shows median and quartiles (linear interpolation), its whiskers reach
    to the furthest value within 1.5 times the interquartile range. NaN is left out and counted beside the group.
    """
    defined = {name: [point for point in points if math.isfinite(point[1])] for name, points in groups.items()}
    values = [value for points in defined.values() for _, value in points]
    places = decimals(values)
    lines = []
    for name, points in defined.items():
        low, median, high = (number(quartile, places) for quartile in _quartiles(points))
        note = _counted(len(points), len(groups[name]) - len(points))
        lines.append(_Line(name, note, (f"{median} [{low}, {high}]" if points else UNDEFINED,)))
    rows = _Rows(lines, ("Median [quartiles]",), values, axis_title, height=58)
    marks = [
        mark
        for index, points in enumerate(defined.values())
        if points
        for mark in (*_box(rows, index, points, lines[index]), *_points(rows, index, points, places))
    ]
    return rows.svg(marks)


def bland_altman(points: Sequence[tuple[str, float, float]], unit: str, groups: Sequence[str] | None = None) -> str:
    """Difference of two measurements against their mean, with the mean difference and the limits of agreement.

    ``points``: ``(case, reference, test)``; those with a NaN are left out and counted. ``groups``: for each point, a
    name that colors it; the lines are those of all points. The limits are mean ± 1.96 SD of test - reference (Bland &
    Altman, Lancet 1986;327:307-310); they need two points.
    """
    names = groups or [""] * len(points)
    kept = [
        (case, (test + reference) / 2, test - reference, name)
        for (case, reference, test), name in zip(points, names, strict=True)
        if math.isfinite(reference) and math.isfinite(test)
    ]
    return _Agreement(kept, unit, sorted({*names} - {""}), len(points) - len(kept)).svg()


def forest_plot(lines: Sequence[SummaryLine], axis_title: str, overall: SummaryLine | None = None) -> str:
    """The mean of each line as a square, its area by the number of cases, with its 95 % interval.

    A row is called after its subgroup, its segment, or both where both differ. ``overall``: a last row, with a dashed
    line at its mean through all others.
    """
    shown = [*lines, overall] if overall else lines
    values = [value for line in shown for value in (line.figures.mean, line.figures.ci_low, line.figures.ci_high)]
    places = decimals(values)
    texts = [
        _Line(
            _forest_name(line, lines) if line is not overall else "All",
            f"{line.figures.undefined} undefined" if line.figures.undefined else "",
            (str(line.figures.n), mean_interval(line, places)),
            bold=line is overall,
        )
        for line in shown
    ]
    rows = _Rows(texts, ("n", "Mean [95 % interval]"), values, axis_title, height=34)
    marks = []
    if overall and overall.figures.n:
        x = rows.axis.at(overall.figures.mean)
        marks.append(_line(x, rows.tops[0], x, rows.tops[-1], MUTED, 1, ' stroke-dasharray="4 3"'))
    largest = max((line.figures.n for line in lines), default=1)
    for index, (line, text) in enumerate(zip(shown, texts, strict=True)):
        if line.figures.n:
            title = f"{text.name}: {text.columns[1]}, {_counted(line.figures.n, line.figures.undefined)}"
            side = 0 if line is overall else max(4, 14 * math.sqrt(line.figures.n / largest))
            marks.append(f"<g>{_title(title)}{_estimate(rows, index, line, side)}</g>")
    return rows.svg(marks)


def decimals(values: Iterable[float]) -> int:
    """How many decimals show three digits of the middle value, and three for shares; none if all values are whole."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if all(float(size).is_integer() for size in sizes):
        return 0
    middle = float(np.median(sizes))
    return 3 if 0.01 <= middle <= 1 else min(max(2 - math.floor(math.log10(middle)), 0), 6)


def number(value: float, places: int) -> str:
    """With a true minus sign; an en dash for what does not exist."""
    if not math.isfinite(value):
        return UNDEFINED if math.isnan(value) else ("∞" if value > 0 else "−∞")
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def mean_interval(line: SummaryLine, places: int) -> str:
    """``mean [low, high]``; the mean alone for a single case, which has no interval."""
    mean, low, high = (number(f, places) for f in (line.figures.mean, line.figures.ci_low, line.figures.ci_high))
    return mean if low == UNDEFINED else f"{mean} [{low}, {high}]"


def escaped(text: object) -> str:
    """Text for XML and HTML; characters that neither may hold, as in broken file names, become a question mark."""
    return html.escape(re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(text)))


@dataclass(frozen=True)
class _Line:
    """The texts of a row: its name, a note below, and a text for each column."""

    name: str
    note: str
    columns: tuple[str, ...]
    bold: bool = False


class _Rows:
    """Rows with names to the left of one common axis, and columns of text to its right."""

    def __init__(self, lines: Sequence[_Line], heads: Sequence[str], values, axis_title: str, height: float):
        self.lines, self.heads, self.title = lines, heads, axis_title
        self.names = [_wrap(line.name, LABEL_WIDTH) for line in lines]
        texts = [text for line, name in zip(lines, self.names, strict=True) for text in (*name, line.note)]
        left = max(map(_text_width, texts), default=0) + 20
        self.columns, right = [], WIDTH - 4.0  # the right edge of each column
        for index in reversed(range(len(heads))):
            self.columns.insert(0, right)
            right -= max(_text_width(text) for text in (heads[index], *(line.columns[index] for line in lines))) + 16
        self.axis = _Axis.over(values, left, right - 4, max(2, int((right - left) / 50)))
        self.tops = [LINE + 10.0]
        for name, line in zip(self.names, lines, strict=True):
            self.tops.append(self.tops[-1] + max(height, LINE * (len(name) + bool(line.note)) + 12))

    def middle(self, index: int) -> float:
        return (self.tops[index] + self.tops[index + 1]) / 2

    def svg(self, marks: Sequence[str]) -> str:
        bottom = self.tops[-1]
        parts = [_line(self.axis.at(tick), self.tops[0], self.axis.at(tick), bottom, GRID) for tick in self.axis.ticks]
        parts += [_line(0, top, WIDTH, top, GRID) for top in self.tops[:-1]]
        parts += [_text(x, 16, head, "end", MUTED) for x, head in zip(self.columns, self.heads, strict=True)]
        parts += [text for index in range(len(self.lines)) for text in self._texts(index)]
        parts += [*marks, _line(self.axis.start, bottom, self.axis.end, bottom, AXIS)]
        parts += [_text(self.axis.at(t), bottom + 18, label, "middle") for t, label in self.axis.labels()]
        parts += _centered(self.title, (self.axis.start + self.axis.end) / 2, bottom + 40)
        return _svg(parts, bottom + 32 + LINE * len(_wrap(self.title, WIDTH - 8)), self.title)

    def _texts(self, index: int) -> list[str]:
        line, name, middle = self.lines[index], self.names[index], self.middle(index)
        y = middle - LINE * (len(name) + bool(line.note)) / 2 + 12
        weight = ' font-weight="600"' if line.bold else ""
        parts = [_text(0, y + LINE * row, text, size=13, more=weight) for row, text in enumerate(name)]
        parts += [_text(0, y + LINE * len(name), line.note, fill=MUTED)] if line.note else []
        columns = zip(self.columns, line.columns, strict=True)
        return parts + [_text(x, middle + 4, text, "end", more=weight) for x, text in columns]


def _quartiles(points: Sequence[tuple[str, float]]) -> Sequence[float]:
    return np.percentile([value for _, value in points] or [math.nan], [25, 50, 75])


def _box(rows: _Rows, index: int, points: Sequence[tuple[str, float]], line: _Line) -> list[str]:
    values, (q1, median, q3) = np.array([value for _, value in points]), _quartiles(points)
    reach = 1.5 * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    ends = min(inside.min(), q1), max(inside.max(), q3)  # an interpolated quartile may lie beyond all values inside
    low, high, left, middle, right = map(rows.axis.at, (*ends, q1, median, q3))
    y, stroke = rows.middle(index) - 9, color(index)
    title = _title(f"{line.name}: median [quartiles] {line.columns[0]}, {line.note}")
    box = f'<rect x="{left:.1f}" y="{y - 9:.1f}" width="{right - left:.1f}" height="18" stroke="{stroke}"'
    fill = f'{box} fill="#ffffff"/>{box} fill="{stroke}" fill-opacity="0.18"/>'  # white hides grid and whisker
    whisker = "".join(
        _line(*line, stroke) for line in ((low, y, high, y), *((x, y - 5, x, y + 5) for x in (low, high)))
    )
    return [f"<g>{title}{whisker}{fill}{_line(middle, y - 9, middle, y + 9, stroke, 2.5)}</g>"]


def _points(rows: _Rows, index: int, points: Sequence[tuple[str, float]], places: int) -> list[str]:
    """Spread by the golden ratio: even, and the same in every run."""
    top, places = rows.middle(index) + 7, max(places, 3)
    return [
        _point(rows.axis.at(value), top + 15 * (i * 0.618034 % 1), color(index), f"{case}: {number(value, places)}")
        for i, (case, value) in enumerate(points)
    ]


def _forest_name(line: SummaryLine, lines: Sequence[SummaryLine]) -> str:
    if not any(other.subgroup for other in lines):
        return line.segment
    subgroup = line.subgroup or "not stated"
    return subgroup if len({other.segment for other in lines}) == 1 else f"{line.segment}, {subgroup}"


def _estimate(rows: _Rows, index: int, line: SummaryLine, side: float) -> str:
    """A square on its interval; a diamond as wide as the interval if it has no side."""
    f, y, fill = line.figures, rows.middle(index), color(0)
    low, high = (f.ci_low, f.ci_high) if math.isfinite(f.ci_low) else (f.mean, f.mean)
    x, left, right = map(rows.axis.at, (f.mean, low, high))
    if side:
        corner = f'x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:.1f}" height="{side:.1f}"'
        return f'{_line(left, y, right, y, fill, 1.5)}<rect {corner} fill="{fill}"/>'
    left, right = min(left, x - 3), max(right, x + 3)  # a narrow interval must still be seen
    corners = f"{left:.1f},{y:.1f} {x:.1f},{y - 7:.1f} {right:.1f},{y:.1f} {x:.1f},{y + 7:.1f}"
    return f'<polygon points="{corners}" fill="{TEXT}"/>'


class _Agreement:
    """A Bland-Altman plot of ``(case, mean, difference, group)``."""

    def __init__(self, points: Sequence[tuple[str, float, float, str]], unit: str, groups: list[str], undefined: int):
        self.points, self.unit, self.groups = points, f" {unit}" if unit else "", groups
        self.counted = _counted(len(points), undefined)
        self.guides = self._guides([difference for _, _, difference, _ in points])
        self.legend, self.top = self._legend()
        spread = [0.0, *(p[2] for p in points), *(value for _, value, _ in self.guides)]
        self.y = _Axis.over(spread, self.top + 300, self.top, 6)
        left = max(_text_width(label) for _, label in self.y.labels()) + 36
        right = WIDTH - max((_text_width(text) for name, _, value in self.guides for text in (name, value)), default=0)
        self.x = _Axis.over([p[1] for p in points], left, right - 26, 6)

    def _guides(self, differences: Sequence[float]) -> list[tuple[str, float, str]]:
        """The lines: name, place and written value."""
        mean = float(np.mean(differences)) if differences else math.nan
        reach = 1.96 * float(np.std(differences, ddof=1)) if len(differences) > 1 else math.nan
        places = [("+1.96 SD", mean + reach), ("Mean", mean), ("−1.96 SD", mean - reach)]
        digits = decimals([value for _, value in places])
        return [(name, value, number(value, digits) + self.unit) for name, value in places if math.isfinite(value)]

    def _legend(self) -> tuple[list[str], float]:
        parts, x, y = [_text(0, 16, self.counted, fill=MUTED)], _text_width(self.counted) + 20, 16
        for index, name in enumerate(self.groups):
            lines = _wrap(name, WIDTH - 40)
            width = max(map(_text_width, lines)) + 30
            if x + width > WIDTH:
                x, y = 0, y + LINE + 4
            parts.append(_point(x + 5, y - 4, color(index), name))
            parts += [_text(x + 14, y + LINE * row, line) for row, line in enumerate(lines)]
            x, y = x + width, y + LINE * (len(lines) - 1)
        return parts, y + 18

    def svg(self) -> str:
        bottom, middle = self.y.start, (self.x.start + self.x.end) / 2
        unit = f" ({self.unit.strip()})" if self.unit else ""
        turn = f' transform="rotate(-90 12 {(bottom + self.top) / 2:.1f})"'
        parts = [
            *self.legend,
            *(_line(self.x.start, self.y.at(t), self.x.end, self.y.at(t), GRID) for t in self.y.ticks),
            *(_text(self.x.start - 8, self.y.at(t) + 4, label, "end") for t, label in self.y.labels()),
            *(_line(self.x.at(t), bottom, self.x.at(t), bottom + 4, AXIS) for t in self.x.ticks),
            *(_text(self.x.at(t), bottom + 20, label, "middle") for t, label in self.x.labels()),
            *(_line(self.x.start, y, self.x.end, y, AXIS) for y in (self.y.at(0), bottom)),
            *self._lines(),
            *self._marks(),
            *_centered(f"Mean of reference and test{unit}", middle, bottom + 42),
            _text(12, (bottom + self.top) / 2, f"Difference, test − reference{unit}", "middle", more=turn),
        ]
        return _svg(parts, bottom + 50, f"Bland-Altman plot, {self.counted}")

    def _lines(self) -> list[str]:
        """Labels stand beside the end of their line, pushed apart where lines are close."""
        wanted = [self.y.at(value) for _, value, _ in self.guides]
        places = _apart(wanted, 2 * LINE + 2, self.top + LINE, self.y.start - LINE)
        parts, end = [], self.x.end
        for (name, _, value), y, label_y in zip(self.guides, wanted, places, strict=True):
            dash = "" if name == "Mean" else ' stroke-dasharray="6 4"'
            parts += [_line(self.x.start, y, end, y, TEXT, 1.25, dash), _line(end, y, end + 16, label_y, TEXT, 0.75)]
            parts.append(_text(end + 20, label_y - 3, name, fill=MUTED))
            parts.append(_text(end + 20, label_y + LINE - 4, value, more=' font-weight="600"'))
        return parts

    def _marks(self) -> list[str]:
        places = max(3, decimals([value for point in self.points for value in point[1:3]]))
        marks = []
        for case, mean, difference, group in self.points:
            written = [number(value, places) + self.unit for value in (difference, mean)]
            fill = color(self.groups.index(group)) if group else MUTED if self.groups else color(0)
            title = f"{case}: difference {written[0]}, mean {written[1]}"
            marks.append(_point(self.x.at(mean), self.y.at(difference), fill, title, 4))
        return marks


@dataclass(frozen=True)
class _Axis:
    """From the first tick at pixel ``start`` to the last one at pixel ``end``."""

    ticks: tuple[float, ...]
    start: float
    end: float

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, count: int) -> _Axis:
        """Round ticks, about ``count``, that hold all values."""
        finite = [value for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        if high - low <= 1e-9 * max(abs(low), abs(high)):
            low, high = (min(low, 0.0), max(high, 0.0)) if low else (0.0, 1.0)
        rough = (high - low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
        return cls(tuple(float(f"{i * step:.12g}") for i in range(first, last + 1)), start, end)

    def at(self, value: float) -> float:
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)

    def labels(self) -> list[tuple[float, str]]:
        places = max(0, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9))
        return [(tick, number(tick, places)) for tick in self.ticks]


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in ascending order, at least ``gap`` apart and between ``low`` and ``high``, close to those wanted."""
    places = [max(low, place) for place in wanted]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], high if i == len(places) - 1 else places[i + 1] - gap)
    return places


def _counted(n: int, undefined: int) -> str:
    return f"n = {n}, {undefined} undefined" if undefined else f"n = {n}"


def _text_width(text: str) -> float:
    """About the most pixels that it needs: measured on a wide font, as the reader's font is not known."""
    narrow, wide = " .,:;|!'()[]ijltfrI-", "mwMW@%"
    return sum(5 if c in narrow else 13 if c in wide or ord(c) > 0x2E7F else 9.2 if c.isupper() else 7.7 for c in text)


def _wrap(text: str, width: float) -> list[str]:
    """Lines of at most this width, broken after a space, underscore or hyphen, or where it must be."""
    lines = [""]
    for word in re.findall(r"[^\s_-]*[\s_-]|[^\s_-]+", text):
        if lines[-1] and _text_width(lines[-1] + word.rstrip()) > width:
            lines.append("")
        for character in word:
            if _text_width(lines[-1] + character) > width and not character.isspace():
                lines.append("")
            lines[-1] += character
    return [line.rstrip() for line in lines]


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    size = f'width="{WIDTH + 4}" height="{height:.0f}" viewBox="-2 0 {WIDTH + 4} {height:.0f}"'
    font = 'font-family="Helvetica, Arial, sans-serif"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escaped(label)}" {font}>'
    return "\n".join([head, '<rect x="-2" width="100%" height="100%" fill="#ffffff"/>', *parts, "</svg>"])


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1, more: str = "") -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{width}"{more}/>'


def _point(x: float, y: float, fill: str, title: str, radius: float = 3) -> str:
    place, edge = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"', 'fill-opacity="0.75" stroke="#ffffff" stroke-width="0.5"'
    return f'<circle {place} fill="{fill}" {edge}>{_title(title)}</circle>'


def _text(x, y, content: str, anchor: str = "start", fill: str = TEXT, size: int = 12, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}" font-size="{size}"{more}>{escaped(content)}</text>'


def _centered(title: str, middle: float, y: float) -> list[str]:
    """Around ``middle``, but never beyond the edges of the plot."""
    lines = _wrap(title, WIDTH - 8)
    half = max(map(_text_width, lines)) / 2
    x = min(max(middle, half), WIDTH - half)
    return [_text(x, y + LINE * row, line, "middle") for row, line in enumerate(lines)]


def _title(text: str) -> str:
    return f"<title>{escaped(text)}</title>"
