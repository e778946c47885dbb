"""What the panel, the Python console and scripts call: nodes in, a comparison, tables, plots and pictures out.

>>> logic = ComparisonLogic()
>>> comparison = logic.compare(referenceSegmentation, testSegmentation)
>>> comparison["liver"]["dice"]
0.9532
>>> table = logic.createTable(comparison)

It needs a scene, but neither a window nor Qt: in plain Python call ``MedSegAICore.headless.start()`` first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.boxes import filled_box
from MedSegAICore.errors import InputError
from MedSegAICore.files import atomic_path
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml import segmentation_from_label_map, volume_node_from_image
from MedSegAICore.mrml_images import array_from_matrix
from MedSegAIMetricsLib.comparison import Settings
from MedSegAIMetricsLib.distance_map import SCALARS, color_by_distance, signed_distance_map, surface_mesh
from MedSegAIMetricsLib.label_maps import SegmentComparison, compare_label_maps
from MedSegAIMetricsLib.observer_logic import ObserverLogic
from MedSegAIMetricsLib.preparation import (
    comparison_in_steps,
    finished,
    label_maps_in_steps,
    masks_now,
    matches_of,
    request_of,
)
from MedSegAIMetricsLib.run import ComparisonRun
from MedSegAIMetricsLib.stored import from_json, to_json
from MedSegAIMetricsLib.table_node import fill_table
from MedSegAIMetricsLib.tables import Row, rows_csv, rows_of
from MedSegAIMetricsLib.worst_plane import WorstPlane, worst_planes

ATTRIBUTE = "MedSegAI.Comparison"  # of a table node: JSON with what was compared, how, and by which version
ROLES = ("reference", "test")  # in which a table node refers to the nodes that were compared
TIME_ATTRIBUTE = "MedSegAI.ComparisonTime"  # when it was finished, UTC as ISO 8601
MAP_MARGIN_MM = 20.0  # how far a distance volume reaches beyond both segments
UNDER, EXACT, OVER = (0.0, 0.447, 0.698), (0.97, 0.97, 0.97), (0.835, 0.369, 0.0)  # blue, white, vermilion
# True positive, false positive, false negative: told apart by people who do not see all colors, too.
ERRORS = (("tp", (0.0, 0.62, 0.451)), ("fp", OVER), ("fn", UNDER))


class ComparisonLogic(ObserverLogic):
    """Compares the segments of nodes in world coordinates: every parent transform, linear or not, is honored.

    Reference and test are segmentations, label map volumes or models. Hidden segments are included, overlapping ones
    kept apart. For any number of observers see ``ObserverLogic``, a part of this class. A class to mix into Slicer's
    ``ScriptedLoadableModuleLogic``, which does not call further constructors; so it has none.
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
        request = request_of(referenceSegmentId, testSegmentId, grid, measures, settings)
        nodes = (referenceNode, testNode)
        reference, test, notes = finished(label_maps_in_steps(nodes, request, grid))
        result = compare_label_maps(
            reference,
            test,
            measures,
            matches=matches_of(reference, test, request),
            progress=progress,
            cancelled=cancelled,
            **settings,
        )
        result.notes, result.request = notes, request
        result.names, result.node_ids = zip(*((node.GetName(), node.GetID()) for node in nodes), strict=True)
        return result

    def startComparison(
        self,
        referenceNode,
        testNode,
        *,
        referenceSegmentId: str | None = None,
        testSegmentId: str | None = None,
        grid: Any = "reference",
        measures: Sequence[str] | None = None,
        **settings,
    ) -> ComparisonRun:
        """As ``compare``, but in a child process: the caller asks now and then how far it is, see ``ComparisonRun``.

        What is compared is read from the nodes in the first steps; later changes of the nodes do not matter.
        """
        request = request_of(referenceSegmentId, testSegmentId, grid, measures, settings)
        chosen = Settings.of(measures, **settings)
        return ComparisonRun(comparison_in_steps((referenceNode, testNode), request, grid, chosen))

    def rows(self, comparison: SegmentComparison, case: str = "") -> list[Row]:
        """The comparison as rows of a table with many cases."""
        return rows_of(comparison, case)

    def createTable(self, comparison: SegmentComparison, name: str | None = None, tableNode=None):
        """A table node with a row for each segment: typed columns with title, unit and description.

        It refers to the two nodes (roles ``reference`` and ``test``), and holds all that ``readTable`` gives back.
        Table views show it, but nobody can edit it there.
        """
        import slicer

        reference, test = comparison.names
        node = tableNode or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", name or f"{test} vs {reference}")
        modifying = node.StartModify()
        try:
            fill_table(node, comparison)
            node.SetAttribute(ATTRIBUTE, to_json(comparison))
            node.SetAttribute(TIME_ATTRIBUTE, comparison.time)
            node.SetLocked(True)  # in Slicer's table view a number could be overtyped, and plotted then
            for role, identifier in zip(ROLES, comparison.node_ids, strict=True):
                known = identifier and slicer.mrmlScene.GetNodeByID(identifier)
                node.SetNodeReferenceID(role, identifier if known else None)
        finally:
            node.EndModify(modifying)
        return node

    def readTable(self, tableNode) -> SegmentComparison:
        """The comparison that ``createTable`` wrote, also after the scene was saved and loaded.

        Its masks are read from the nodes that the table refers to, when they are asked for: InputError is raised then
        if they are gone or changed. Raises InputError if the table holds no comparison.
        """
        text = tableNode.GetAttribute(ATTRIBUTE)
        if not text:
            raise InputError(f"The table {tableNode.GetName()!r} holds no comparison.")

        def read(comparison: SegmentComparison, segmentId: str):
            return masks_now(comparison, segmentId, [tableNode.GetNodeReference(role) for role in ROLES])

        result = from_json(text, read)
        result.node_ids = tuple(tableNode.GetNodeReferenceID(role) for role in ROLES)
        return result

    def listTables(self) -> list:
        """The table nodes of the scene that hold comparisons, the newest first."""
        import slicer

        nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute(ATTRIBUTE)]
        # Of the same second, the one that was added last comes first.
        return sorted(nodes, key=lambda node: node.GetAttribute(TIME_ATTRIBUTE) or "")[::-1]

    def writeCsv(self, comparison: SegmentComparison, path, case: str = "") -> Path:
        """Write the rows as CSV with untranslated column names. Raises OutputError if the file cannot be written."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.csvText(comparison, case), encoding="utf-8")
        return Path(path)

    def csvText(self, comparison: SegmentComparison, case: str = "") -> str:
        """What ``writeCsv`` writes."""
        return rows_csv(self.rows(comparison, case), comparison.measures)

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

    def showWorstSlices(self, comparison: SegmentComparison, segmentId: str) -> dict[str, WorstPlane]:
        """Move every slice view, along its own normal, to the plane that cuts most of what differs.

        Views keep their zoom and orientation; one whose field of view does not hold the place is centered on it.
        Returns the planes by the names of the views. See ``worst_planes``; raises what it and ``masks`` raise.
        """
        import slicer

        views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
        normals = [[view.GetSliceToRAS().GetElement(row, 2) for row in range(3)] for view in views]
        planes = worst_planes(*comparison.masks(_known(comparison, segmentId)), comparison.grid, normals)
        for view, plane in zip(views, planes, strict=True):
            jump = view.JumpSliceByOffsetting if _is_seen(view, plane.point_ras) else view.JumpSliceByCentering
            jump(*plane.point_ras)
        return {view.GetName(): plane for view, plane in zip(views, planes, strict=True)}

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


def _known(comparison: SegmentComparison, segmentId: str) -> str:
    if segmentId not in comparison:
        raise InputError(f"There is no segment {segmentId!r} in this comparison; it has {list(comparison)}.")
    return segmentId


def _is_seen(sliceNode, point_ras: Sequence[float]) -> bool:
    """Whether a point lies in the field of view of a slice view, wherever its plane is."""
    slice_to_ras = array_from_matrix(sliceNode.GetSliceToRAS())
    across = np.linalg.solve(slice_to_ras, [*point_ras, 1.0])[:2]
    return bool((np.abs(across) <= np.array(sliceNode.GetFieldOfView()[:2]) / 2).all())


def _cropped(comparison: SegmentComparison, segmentId: str) -> tuple[Grid, np.ndarray, np.ndarray]:
    """The two masks with a margin around both, and their grid."""
    reference, test = comparison.masks(_known(comparison, segmentId))
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
