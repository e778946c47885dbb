"""Plain values as a table node, typed, with a title, a unit and a description for each column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """``values``: all texts, or all numbers. ``name``: stable; ``title``, ``unit``, ``description``: for people."""

    name: str
    values: Sequence
    title: str
    unit: str = ""
    description: str = ""


def table_node_from_columns(columns: Sequence[Column], name: str):
    """A new table node. Table views show it, but nobody can edit it there."""
    import slicer
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name)
    modifying = node.StartModify()
    try:
        for column in columns:
            text = all(isinstance(value, str) for value in column.values)
            array = vtk.vtkStringArray() if text else vtk.vtkDoubleArray()
            array.SetName(column.name)
            array.SetNumberOfValues(len(column.values))
            for number, value in enumerate(column.values):
                array.SetValue(number, value)
            node.AddColumn(array)
            node.SetColumnTitle(column.name, column.title)
            node.SetColumnUnitLabel(column.name, column.unit)
            node.SetColumnDescription(column.name, column.description)
        node.SetUseColumnTitleAsColumnHeader(True)
        node.SetLocked(True)
    finally:
        node.EndModify(modifying)
    return node
