"""MedSegAIMetrics/README.md says of every measure what the registry says, names none that does not exist, and its
numbers of the spleen pair are what the library gives."""

import inspect
import math
import re
from pathlib import Path

import pytest

from MedSegAICore.errors import InputError
from MedSegAICore.files import read_label_map
from MedSegAIMetricsLib import compare, compare_label_maps
from MedSegAIMetricsLib.measures import FAMILIES, GROUPS, SURFACE_TITLES, Measure, select

README = Path(__file__).resolve().parents[3] / "MedSegAIMetrics" / "README.md"
TEXT = README.read_text(encoding="utf-8")
MEASURE_NAME = re.compile(r"`((?:hd|assd|masd|asd|nsd|signed|over|under|boundary_iou|fbeta|lesions?|volume)[\w.{}]*)`")


def shown_name(measure: Measure) -> str:
    return measure.name.replace("|", "")


def shown_number(value: float | None) -> str:
    if value is None:
        return "formula"
    if math.isnan(value):
        return "–"
    return "∞" if value == math.inf else "-∞" if value == -math.inf else f"{value:g}"


def expected_row(measure: Measure) -> str:
    """The line of the table that tells everything the registry knows of a measure."""
    cells = (
        f"`{shown_name(measure)}`",
        measure.title,
        measure.unit or "1",
        measure.definition,
        measure.source,
        f"{shown_number(measure.range[0])} to {shown_number(measure.range[1])}",
        measure.better or "–",
        shown_number(measure.both_empty),
        shown_number(measure.one_empty),
        "yes" if measure.region else "",
        "yes" if measure.on_request else "",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rows_of(group: str) -> list[str]:
    """The lines of the table under a group's heading."""
    section = re.search(rf"^### [^\n]*\(`{group}`\)\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL)
    assert section, f"README.md has no heading for the group {group}"
    return [line for line in section[1].split("\n") if line.startswith("| `")]


@pytest.mark.parametrize("family", FAMILIES, ids=shown_name)
def test_every_measure_is_in_the_readme_with_its_unit_definition_and_source(family):
    assert expected_row(family) in rows_of(family.group)


@pytest.mark.parametrize("group", GROUPS)
def test_the_tables_of_the_readme_list_the_measures_of_the_registry_in_its_order(group):
    assert rows_of(group) == [expected_row(family) for family in FAMILIES if family.group == group]


def test_every_measure_that_the_readme_names_exists():
    settings = inspect.signature(compare).parameters
    named = sorted(set(MEASURE_NAME.findall(TEXT)) - {shown_name(family) for family in FAMILIES} - set(settings))
    assert len(named) > 20
    unknown = []
    for name in named:
        try:
            select([name])
        except InputError:
            unknown.append(name)
    assert unknown == []


def test_the_python_examples_of_the_readme_are_python():
    examples = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 4
    for example in examples:
        compile(example, README.name, "exec")


def test_the_readme_names_no_folder_of_a_machine():
    assert re.findall(r"(?<![\w.])/(?:work|home|root|tmp|usr|opt)/", TEXT) == []


def spleen_table() -> list[list[str]]:
    table = TEXT.partition("The spleen pair on all four surfaces")[2].partition("\n\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def test_the_spleen_table_of_the_readme_is_what_the_library_gives(shared_data):
    pair = [read_label_map(shared_data(f"spleen_ct/spleen1_label_{who}.nii.gz")) for who in ("gt", "auto")]
    rows = spleen_table()
    assert len(rows) >= 10
    for column, surface in enumerate(SURFACE_TITLES, start=1):
        (found,) = compare_label_maps(*pair, [row[0].strip("`") for row in rows], surface=surface).values()
        shown = [row[column] for row in rows]
        digits = [len(text.partition(".")[2]) for text in shown]
        assert [f"{value:.{n}f}" for value, n in zip(found.values(), digits, strict=True)] == shown


if __name__ == "__main__":  # prints the tables, to be pasted into README.md when the registry changes
    for group in GROUPS:
        print(f"\n({group})\n")
        print("\n".join(expected_row(family) for family in FAMILIES if family.group == group))
