"""The module MedSegAIMetrics of 3D Slicer: compares segments of segmentations, label maps and models."""

import re
from typing import Annotated, Union

import slicer
import vtk
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLModelNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

try:
    from MedSegAICore.errors import InputError
    from MedSegAICore.mrml_world import labels_of_label_volume
    from MedSegAICore.panels.module_widget import ModuleWidget
    from MedSegAICore.panels.self_test import ModuleTest
    from MedSegAIMetricsLib.logic import TIME_ATTRIBUTE, ComparisonLogic
    from MedSegAIMetricsLib.measures import GROUPS, SURFACE_TITLES, select
except ModuleNotFoundError as error:
    if error.name != "MedSegAICore":
        raise
    raise ImportError(
        "MedSegAIMetrics needs the folder MedSegAI that lies beside its own: add it, too, in Edit > Application "
        "Settings > Modules > Additional module paths, and restart Slicer."
    ) from None

# Slicer's wrapper and its node selectors know unions in this spelling only, and None as one of the types.
Segments = Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLModelNode, None]  # noqa: UP007


class MedSegAIMetrics(ScriptedLoadableModule):
    """Registers the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSegAIMetrics")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["MedSegAI"]
        self.parent.contributors = ["MedSegAI contributors"]
        self.parent.helpText = _(
            "Compares the segments of two segmentations, label maps or models in world coordinates, by overlap, "
            "volume, surface distance and lesions. The table says of every measure how it is defined. "
            "Research use only: not for diagnosis or treatment."
        )
        self.parent.acknowledgementText = _(
            "Definitions follow Taha and Hanbury (BMC Med Imaging 2015;15:29) and Metrics Reloaded (Maier-Hein et al., "
            "Nat Methods 2024;21:195-212)."
        )


@parameterNodeWrapper
class MedSegAIMetricsParameterNode:
    """The choices in the panel; they are saved with the scene. An empty segment id means all that match."""

    referenceNode: Segments
    referenceSegmentId: str = ""
    testNode: Segments
    testSegmentId: str = ""
    measureCounts: bool = True
    measureOverlap: bool = True
    measureVolume: bool = True
    measureSurface: bool = True
    measureLesions: bool = False
    percentiles: str = "95"
    tolerancesMm: str = "1, 2, 3"
    surface: Annotated[str, Choice(["face", "surfel", "voxelcenter", "smooth"])] = "face"
    region: Annotated[str, Choice(["image", "union"])] = "image"
    marginMm: Annotated[float, WithinRange(0, 1000)] = 10.0
    grid: Annotated[str, Choice(["reference", "test"])] = "reference"
    resultTable: vtkMRMLTableNode
    allMeasures: bool = False


class MedSegAIMetricsWidget(ModuleWidget):
    """The panel, from the top: choose and compare, then all comparisons of the scene."""

    def makeLogic(self):
        return MedSegAIMetricsLogic()

    def makeSections(self):
        from MedSegAIMetricsLib.panels.comparison_section import ComparisonSection
        from MedSegAIMetricsLib.panels.result_section import ResultSection

        return [
            ComparisonSection(self.resourcePath("UI/Comparison.ui"), self.logic),
            ResultSection(self.resourcePath("UI/Results.ui"), self.logic),
        ]


class MedSegAIMetricsLogic(ScriptedLoadableModuleLogic, ComparisonLogic):
    """The module's logic: ComparisonLogic with a parameter node.

    >>> comparison = slicer.util.getModuleLogic("MedSegAIMetrics").compare(referenceNode, testNode)
    """

    def getParameterNode(self):
        return MedSegAIMetricsParameterNode(super().getParameterNode())

    def listSegments(self, node) -> list[tuple[str, str]]:
        """(id, name) of every segment that ``compare`` finds in a node; none for no node."""
        if node is None:
            return []
        if node.IsA("vtkMRMLModelNode"):
            return [(node.GetName(), node.GetName())]
        if node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
            return [(identifier, segmentation.GetSegment(identifier).GetName()) for identifier in ids]
        return _segmentsOfLabelVolume(node)

    def settings(self, parameterNode) -> dict:
        """What ``compare`` is to be given for these choices. Raises InputError, in one sentence, if they are wrong."""
        groups = [group for group in GROUPS if getattr(parameterNode, f"measure{group.capitalize()}")]
        if not groups:
            raise InputError(_("Choose at least one group of measures."))
        distances = {}
        if parameterNode.measureSurface:
            percentiles = _("Percentiles must be numbers such as 95, 99, but there is {text!r}.")
            tolerances = _("Tolerances must be numbers of mm such as 1, 2, 3, but there is {text!r}.")
            distances = {
                "percentiles": _numbers(parameterNode.percentiles, percentiles),
                "tolerances_mm": _numbers(parameterNode.tolerancesMm, tolerances),
                "surface": parameterNode.surface,
            }
        select(groups, **distances)
        region = "image" if parameterNode.region == "image" else f"union+{parameterNode.marginMm:g}mm"
        return {"measures": groups, "region": region, "grid": parameterNode.grid, **distances}

    def useAgain(self, parameterNode, tableNode):
        """Choose the same nodes, segments and settings as in the comparison of a table, as far as they are there."""
        comparison = self.readTable(tableNode)
        request, groups = comparison.request, {measure.group for measure in comparison.measures}
        for side in ("reference", "test"):
            setattr(parameterNode, f"{side}Node", tableNode.GetNodeReference(side))
        for side in ("reference", "test"):
            setattr(parameterNode, f"{side}SegmentId", request.get(f"{side}SegmentId") or "")
        for group in GROUPS:
            setattr(parameterNode, f"measure{group.capitalize()}", group in groups)
        for parameter, key in (("percentiles", "percentiles"), ("tolerancesMm", "tolerances_mm")):
            if key in request:
                setattr(parameterNode, parameter, ", ".join(f"{value:g}" for value in request[key]))
        for parameter, choices in (("surface", SURFACE_TITLES), ("grid", ("reference", "test"))):
            if request.get(parameter) in choices:
                setattr(parameterNode, parameter, request[parameter])
        margin = re.fullmatch(r"union\+(.*)mm", comparison.region)
        parameterNode.region = "union" if margin else "image"
        if margin:
            parameterNode.marginMm = float(margin[1])

    def tableTitle(self, tableNode) -> str:
        """When a table's comparison was made, to the minute, and the table's name."""
        time = (tableNode.GetAttribute(TIME_ATTRIBUTE) or "").replace("T", " ")[:16]
        return _("{time} UTC: {name}").format(time=time, name=tableNode.GetName())

    def shownMeasures(self, comparison, allMeasures: bool) -> list:
        """The measures that the panel shows: those of ``summaryMeasures``, or all."""
        return list(comparison.measures) if allMeasures else self.summaryMeasures(comparison)

    def summaryMeasures(self, comparison) -> list:
        """Dice, HD, ASSD and NSD, at the first percentile and tolerance; the first four if none of them was measured.

        A surface that is not the default stands in the names, as in ``hd95_voxelcenter_maxdir_mm``.
        """
        names = (r"dice", r"hd[\d.]+_(\w+_)?maxdir_mm", r"assd_(\w+_)?mm", r"nsd_.*mm")
        found = (next((m for m in comparison.measures if re.fullmatch(name, m.name)), None) for name in names)
        return [measure for measure in found if measure is not None] or list(comparison.measures[:4])

    def matchSentences(self, comparison, most: int = 8) -> list[str]:
        """A sentence for each way in which segments were found to belong together, with up to ``most`` names."""
        pairs: dict[str, list[str]] = {}
        for match in comparison.matches.values():
            names = dict.fromkeys(label.name for label in (match.reference, match.test) if label is not None)
            pairs.setdefault(match.by, []).append(_(" with ").join(names))
        sentences = []
        for by, names in pairs.items():
            rest = _(" and {n} more").format(n=len(names) - most) if len(names) > most else ""
            sentences.append(f"{by.capitalize()}: {', '.join(names[:most])}{rest}.")
        return sentences


def _numbers(text: str, message: str) -> list[float]:
    try:
        return [float(part) for part in re.split(r"[\s,;]+", text.strip(" ,;"))]
    except ValueError:
        raise InputError(message.format(text=text)) from None


def _segmentsOfLabelVolume(node) -> list[tuple[str, str]]:
    if node.GetImageData() is None or node.GetImageData().GetPointData().GetScalars() is None:
        return []
    array = slicer.util.arrayFromVolume(node).astype("uint16")
    return [(label.id, label.name) for label in labels_of_label_volume(node, array)]


class MedSegAIMetricsTest(ModuleTest):
    """Runs in Slicer (Reload and Test, or ctest) and in this repository's tests."""

    def _cube(self, name, shift):
        """A segmentation with a cube of 6 voxels of 1 x 1 x 2 mm, moved along the first axis (I)."""
        import numpy as np

        from MedSegAICore.grid import Grid
        from MedSegAICore.image import Label, LabelMap
        from MedSegAICore.mrml import segmentation_from_label_map

        array = np.zeros((12, 12, 16), np.uint8)
        array[3:9, 3:9, 3 + shift : 9 + shift] = 1
        labels = LabelMap(array, Grid(array.shape, np.diag([1.0, 1.0, 2.0, 1.0])), (Label(1, "cube", "Cube"),))
        return segmentation_from_label_map(labels, name=name)

    def test_theStoryOfAUser(self):
        """Choose two segmentations, compare, look at the worst slice, and come back to the first of two comparisons."""
        reference, test, other = self._cube("reference", 0), self._cube("test", 2), self._cube("other", 3)
        view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceNode")
        view = view or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
        view.SetOrientation("Sagittal")
        comparison, result = self.panelOf("MedSegAIMetrics").sections
        ui, numbers = comparison.ui, result.ui.resultsTable
        ui.referenceSelector.setCurrentNode(reference)
        for node, dice in ((test, "0.667"), (other, "0.500")):
            ui.testSelector.setCurrentNode(node)
            assert ui.applyButton.enabled, ui.applyButton.toolTip
            ui.applyButton.click()
            self.waitUntil(lambda: not comparison.run.running, "the comparison")
            assert numbers.rowCount == 1, ui.statusLabel.text
            assert (numbers.item(0, 0).text(), numbers.item(0, 1).text()) == ("Cube", dice)
        result.ui.historyComboBox.setCurrentIndex(1)
        assert numbers.item(0, 1).text() == "0.667"
        # Two slices of 6 x 6 voxels are missing at I = 3 and 4, and two are too much at 9 and 10, all of 72 mm2.
        result.ui.worstSliceButton.click()
        assert round(abs(view.GetSliceOffset())) in (3, 4, 9, 10), result.ui.messageLabel.text
        assert "72 mm" in result.ui.messageLabel.text, result.ui.messageLabel.text
        result.ui.useAgainButton.click()
        assert ui.testSelector.currentNode() is test
        slicer.mrmlScene.RemoveNode(test)
        result.ui.worstSliceButton.click()
        assert "not in the scene any more" in result.ui.messageLabel.text

    def test_aCubeThatIsMovedByAThirdOfItsEdge(self):
        """Dice is 2/3, and the farthest face is 2 mm away; the table node holds the same."""
        logic = MedSegAIMetricsLogic()
        comparison = logic.compare(self._cube("reference", 0), self._cube("test", 2))
        assert abs(comparison["cube"]["dice"] - 2 / 3) < 1e-12
        assert abs(comparison["cube"]["hd_mm"] - 2.0) < 1e-12
        table = logic.createTable(comparison).GetTable()
        assert table.GetColumnByName("dice").GetValue(0) == comparison["cube"]["dice"]

    def test_aTransformThatMovesTheTestBackMakesBothEqual(self):
        """Parent transforms are honored: the moved cube under the opposite translation lies on the reference."""
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, -2.0)
        transform.SetMatrixTransformToParent(matrix)
        test = self._cube("test", 2)
        test.SetAndObserveTransformNodeID(transform.GetID())
        comparison = MedSegAIMetricsLogic().compare(self._cube("reference", 0), test)
        assert comparison["cube"]["dice"] == 1.0
        assert comparison["cube"]["hd_mm"] == 0.0
