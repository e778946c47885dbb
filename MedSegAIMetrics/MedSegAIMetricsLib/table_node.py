"""A comparison as the columns of a table node: typed, each with title, unit and description."""

from __future__ import annotations

from MedSegAIMetricsLib.label_maps import SegmentComparison
from MedSegAIMetricsLib.tables import rows_of

TEXTS = {
    "segment": ("Segment", "Name of the segment, the reference's where both have one"),
    "region": ("Region", "Where true negatives are counted"),
    "matched": ("Matched", "Which two segments were compared, and why these"),
    "reason": ("Reason", "Why values do not exist or hold by convention"),
}


def fill_table(node, comparison: SegmentComparison):
    """Replace the columns of a vtkMRMLTableNode by a row for each segment."""
    import vtk

    node.RemoveAllColumns()
    rows = [row.as_dict() for row in rows_of(comparison)]
    columns = [("segment", None), *((m.name, m) for m in comparison.measures), ("region", None), ("matched", None)]
    for name, measure in [*columns, ("reason", None)]:
        column = vtk.vtkStringArray() if measure is None else vtk.vtkDoubleArray()
        column.SetName(name)
        column.SetNumberOfValues(len(rows))
        for number, row in enumerate(rows):
            column.SetValue(number, row[name])
        node.AddColumn(column)
        if measure is None:
            title, unit, description = TEXTS[name][0], "", TEXTS[name][1]
        else:
            title, unit, description = measure.title, measure.unit, measure.description
        node.SetColumnTitle(name, title)
        node.SetColumnUnitLabel(name, unit)
        node.SetColumnDescription(name, description)
    node.SetUseColumnTitleAsColumnHeader(True)
