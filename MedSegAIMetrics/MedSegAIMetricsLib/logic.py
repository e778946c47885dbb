"""What the panel, the Python console and scripts call: nodes in, a comparison, tables, plots and pictures out.

>>> logic = ComparisonLogic()
>>> comparison = logic.compare(referenceSegmentation, testSegmentation)
>>> comparison["liver"]["dice"]
0.9532
>>> table = logic.createTable(comparison)

It needs a scene, but neither a window nor Qt: in plain Python call ``MedSegAICore.headless.start()`` first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore import VERSION
from MedSegAICore.boxes import filled_box
from MedSegAICore.errors import InputError
from MedSegAICore.files import atomic_path
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml import segmentation_from_label_map, volume_node_from_image
from MedSegAICore.mrml_world import label_map_in_world, world_grid
from MedSegAIMetricsLib.distance_map import SCALARS, color_by_distance, signed_distance_map, surface_mesh
from MedSegAIMetricsLib.label_maps import SegmentComparison, compare_label_maps, extension_notes
from MedSegAIMetricsLib.matching import Match
from MedSegAIMetricsLib.tables import Row, rows_csv, rows_of

ATTRIBUTE = "MedSegAI.Comparison"  # of a table node: JSON with what was compared, how, and by which version
MAP_MARGIN_MM = 20.0  # how far a distance volume reaches beyond both segments
UNDER, EXACT, OVER = (0.0, 0.447, 0.698), (0.97, 0.97, 0.97), (0.835, 0.369, 0.0)  # blue, white, vermilion
# True positive, false positive, false negative: told apart by people who do not see all colors, too.
ERRORS = (("tp", (0.0, 0.62, 0.451)), ("fp", OVER), ("fn", UNDER))


class ComparisonLogic:
    """Compares the segments of nodes in world coordinates: every parent transform, linear or not, is honored.

    Reference and test are segmentations, label map volumes or models. Hidden segments are included, overlapping ones
    kept apart. A class to mix into Slicer's ``ScriptedLoadableModuleLogic``, which does not call further constructors;
    so it has none.
    """

    def compare(
        self,
        referenceNode,
        testNode,
        *,
        referenceSegmentId: str | None = None,
        testSegmentId: str | None = None,
        grid: Any = "reference",
        measures: Sequence[str] | None = None,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        **settings,
    ) -> SegmentComparison:
        """Compare two segments, or all segments that belong together by id, terminology or name.

        ``referenceSegmentId``, ``testSegmentId``: both or neither; both nodes may be the same then.
        ``grid``: on whose voxels is measured: ``reference``, ``test`` or a volume node. It is extended where segments
        reach beyond it; what has other voxels is resampled by nearest neighbor, and ``notes`` of the result says so.
        ``measures`` and ``settings``: as for ``MedSegAIMetricsLib.compare``.

        Raises InputError for nodes without segments, ids that do not exist, and names that occur twice; GeometryError
        if there is no grid to measure on; Cancelled.
        """
        if (referenceSegmentId is None) != (testSegmentId is None):
            raise InputError("To compare two segments, choose one of the reference and one of the test.")
        ids = [[identifier] if identifier else None for identifier in (referenceSegmentId, testSegmentId)]
        reference, test, notes = _in_world(referenceNode, testNode, ids, _named_grid(grid, referenceNode, testNode))
        matches = None
        if referenceSegmentId:
            matches = [Match(reference.labels[0], test.labels[0], "chosen")]
        result = compare_label_maps(
            reference, test, measures, matches=matches, progress=progress, cancelled=cancelled, **settings
        )
        result.notes = notes
        result.names = (referenceNode.GetName(), testNode.GetName())
        return result

    def rows(self, comparison: SegmentComparison, case: str = "") -> list[Row]:
        """The comparison as rows of a table with many cases."""
        return rows_of(comparison, case)

    def createTable(self, comparison: SegmentComparison, name: str | None = None, tableNode=None):
        """A table node with a row for each segment: typed columns with title, unit and description."""
        import slicer

        reference, test = comparison.names
        node = tableNode or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name or f"{test} vs {reference}")
        modifying = node.StartModify()
        try:
            _fill_table(node, comparison)
            node.SetUseColumnTitleAsColumnHeader(True)
            node.SetAttribute(ATTRIBUTE, json.dumps(_facts(comparison), sort_keys=True))
        finally:
            node.EndModify(modifying)
        return node

    def writeCsv(self, comparison: SegmentComparison, path, case: str = "") -> Path:
        """Write the rows as CSV with untranslated column names. Raises OutputError if the file cannot be written."""
        with atomic_path(path) as temporary:
            temporary.write_text(rows_csv(self.rows(comparison, case), comparison.measures), encoding="utf-8")
        return Path(path)

    def createPlot(self, tableNode, measure: str = "dice"):
        """A bar chart of one measure over the segments of a table. Raises InputError if the table lacks it."""
        import slicer

        if tableNode.GetColumnIndex(measure) < 0:
            raise InputError(f"The table {tableNode.GetName()!r} has no column {measure!r}.")
        title, unit = tableNode.GetColumnTitle(measure) or measure, tableNode.GetColumnUnitLabel(measure)
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", title)
        series.SetAndObserveTableNodeID(tableNode.GetID())
        series.SetLabelColumnName("segment")
        series.SetYColumnName(measure)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetColor(*UNDER)
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", f"{title}: {tableNode.GetName()}")
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.SetTitle(title)
        chart.SetXAxisTitle("Segment")
        chart.SetYAxisTitle(f"{title} ({unit})" if unit else title)
        chart.SetLegendVisibility(False)
        return chart

    def createErrorSegments(self, comparison: SegmentComparison, segmentIds: Sequence[str] | None = None):
        """A segmentation node with three segments for each pair: true positive, false positive, false negative."""
        chosen = list(segmentIds if segmentIds is not None else comparison)
        layers, labels = [], []
        for layer, key in enumerate(chosen):
            reference, test = comparison.masks(key)
            layers.append((reference & test) * np.uint8(1) + (test & ~reference) * np.uint8(2))
            layers[-1][reference & ~test] = 3
            name = comparison.matches[key].label.name
            for value, (error, color) in enumerate(ERRORS, start=1):
                labels.append(Label(value, f"{key}_{error}", f"{name} {error.upper()}", color, layer=layer))
        label_map = LabelMap(np.stack(layers), comparison.grid, labels)
        return segmentation_from_label_map(label_map, name=f"Errors of {comparison.names[1]}")

    def createDistanceVolume(self, comparison: SegmentComparison, segmentId: str):
        """A volume node with the distance in mm of every voxel to the reference's surface, negative inside.

        It holds both segments and 20 mm around them. Raises InputError if the reference is empty.
        """
        grid, reference, _ = _cropped(comparison, segmentId)
        distances = _distances(reference, grid, segmentId, "reference")
        name = f"{comparison.matches[segmentId].label.name} distance (mm)"
        return volume_node_from_image(Image(distances[None], grid), name)

    def createDistanceModel(self, comparison: SegmentComparison, segmentId: str):
        """A model of the reference's surface, colored by the signed distance to the test, with a color legend.

        Positive (vermilion) where the test reaches beyond the reference, negative (blue) where it falls short. The
        model is smoothed for looking; nothing is measured on it. Raises InputError if one of the two is empty.
        """
        import slicer

        grid, reference, test = _cropped(comparison, segmentId)
        # The mesh does not lie exactly on the voxels; the difference takes that out, so equal masks are white all over.
        distances = _distances(reference, grid, segmentId, "reference") - _distances(test, grid, segmentId, "test")
        mesh = surface_mesh(reference, grid.ijk_to_ras, grid.spacing_kji)
        values = color_by_distance(mesh, distances, np.linalg.inv(grid.ijk_to_ras))
        name = f"{comparison.matches[segmentId].label.name} distance to {comparison.names[1]}"
        model = slicer.modules.models.logic().AddModel(mesh)
        model.SetName(name)
        limit = max(0.5, float(np.percentile(np.abs(values), 98)))
        _color(model.GetDisplayNode(), limit)
        return model


def _named_grid(grid, referenceNode, testNode) -> Grid:
    """The world grid to begin with; of the other node if the named one is a model, which has no voxels."""
    if isinstance(grid, str) and grid not in ("reference", "test"):
        raise InputError(f"The grid is 'reference', 'test' or a volume node, but it is {grid!r}.")
    if not isinstance(grid, str):
        return world_grid(grid)
    nodes = [referenceNode, testNode] if grid == "reference" else [testNode, referenceNode]
    for node in nodes:
        if node is None:
            raise InputError("Two nodes are needed, a reference and a test, but one of them is missing.")
    node = next((node for node in nodes if not node.IsA("vtkMRMLModelNode")), None)
    if node is None:
        raise InputError("Two models have no voxels to be compared on. Give a volume node as grid.")
    return world_grid(node)


def _in_world(referenceNode, testNode, ids, named: Grid) -> tuple[LabelMap, LabelMap, list[str]]:
    """Both nodes' segments on one world grid, and sentences about what was resampled or extended."""
    reference, moved = label_map_in_world(referenceNode, named, ids[0])
    test, test_moved = label_map_in_world(testNode, reference.grid, ids[1])
    if test.grid.shape != reference.grid.shape:
        reference, moved = label_map_in_world(referenceNode, test.grid, ids[0])
    notes = extension_notes(named, test.grid)
    notes += [
        f"The {title} {node.GetName()!r} was resampled by nearest neighbor to {test.grid}."
        for title, node, resampled in (("reference", referenceNode, moved), ("test", testNode, test_moved))
        if resampled
    ]
    return reference, test, notes


def _fill_table(node, comparison: SegmentComparison):
    import vtk

    node.RemoveAllColumns()
    rows = [row.as_dict() for row in rows_of(comparison)]
    text = {
        "segment": ("Segment", "Name of the segment, the reference's where both have one"),
        "region": ("Region", "Where true negatives are counted"),
        "matched": ("Matched", "Which two segments were compared, and why these"),
        "reason": ("Reason", "Why values do not exist or hold by convention"),
    }
    columns = [("segment", None), *((m.name, m) for m in comparison.measures), ("region", None), ("matched", None)]
    for name, measure in [*columns, ("reason", None)]:
        column = vtk.vtkStringArray() if measure is None else vtk.vtkDoubleArray()
        column.SetName(name)
        column.SetNumberOfValues(len(rows))
        for number, row in enumerate(rows):
            column.SetValue(number, row[name])
        node.AddColumn(column)
        if measure is None:
            title, unit, description = text[name][0], "", text[name][1]
        else:
            title, unit, description = measure.title, measure.unit, measure.description
        node.SetColumnTitle(name, title)
        node.SetColumnUnitLabel(name, unit)
        node.SetColumnDescription(name, description)


def _facts(comparison: SegmentComparison) -> dict[str, Any]:
    return {
        "reference": comparison.names[0],
        "test": comparison.names[1],
        "grid": str(comparison.grid),
        "region": comparison.region,
        "notes": comparison.notes,
        "matches": [str(match) for match in comparison.matches.values()],
        "version": VERSION,
    }


def _cropped(comparison: SegmentComparison, segmentId: str) -> tuple[Grid, np.ndarray, np.ndarray]:
    """The two masks with a margin around both, and their grid."""
    if segmentId not in comparison:
        raise InputError(f"There is no segment {segmentId!r} in this comparison; it has {list(comparison)}.")
    reference, test = comparison.masks(segmentId)
    filled = filled_box(reference | test)
    if not filled[0].stop:
        raise InputError(f"Both masks of {segmentId!r} are empty: there is no surface.")
    margin = [math.ceil(MAP_MARGIN_MM / s) for s in comparison.grid.spacing_kji]
    box = tuple(
        slice(max(0, part.start - grow), min(part.stop + grow, n))
        for part, grow, n in zip(filled, margin, reference.shape, strict=True)
    )
    grid = comparison.grid.crop([part.start for part in box], [part.stop - part.start for part in box])
    return grid, reference[box], test[box]


def _distances(mask: np.ndarray, grid: Grid, segmentId: str, title: str) -> np.ndarray:
    if not mask.any():
        raise InputError(f"The {title} of {segmentId!r} is empty: there is no surface to measure to.")
    return signed_distance_map(mask, grid.spacing_kji)


def _color(displayNode, limit: float):
    """Color a model by its active scalars, blue to vermilion, symmetric about white at 0, with a legend."""
    import slicer

    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Signed distance")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(256)
    for index in range(256):
        t = (index - 127.5) / 127.5
        end = OVER if t > 0 else UNDER
        rgb = [white + (color - white) * abs(t) for white, color in zip(EXACT, end, strict=True)]
        colors.SetColor(index, f"{t * limit:+.2f} mm", *rgb, 1.0)
    displayNode.SetActiveScalarName(SCALARS)
    displayNode.SetAndObserveColorNodeID(colors.GetID())
    displayNode.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    displayNode.SetScalarRange(-limit, limit)
    displayNode.SetScalarVisibility(True)
    legend = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorLegendDisplayNode")
    legend.SetTitleText("mm")
    legend.SetLabelFormat("%+.1f")
    legend.SetAndObservePrimaryDisplayNode(displayNode)
    legend.SetAndObserveColorNodeID(colors.GetID())
    displayNode.GetDisplayableNode().AddAndObserveDisplayNodeID(legend.GetID())
