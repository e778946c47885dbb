"""The module MedSegAI of 3D Slicer: segments a loaded volume with a neural network."""

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic

from MedSegAICore.panels.module_widget import ModuleWidget
from MedSegAICore.panels.self_test import ModuleTest
from MedSegAILib.logic import SegmentationLogic

SAMPLE_DATA = Path(__file__).parent / "Resources" / "SampleData"


class MedSegAI(ScriptedLoadableModule):
    """Registers the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSegAI")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Markups"]  # unloaded after this module, whose cleanup uses them
        self.parent.contributors = ["MedSegAI contributors"]
        self.parent.helpText = _(
            "Segments a loaded volume with a neural network and writes a segmentation that lies on it voxel for voxel. "
            "Any model trained with nnU-Net v2 can be used. Research use only: not for diagnosis or treatment."
        )
        self.parent.acknowledgementText = _(
            "The bundled model was trained on the hippocampus volumes of the Medical Segmentation Decathlon (Antonelli "
            "et al., Nat Commun 2022;13:4128; Vanderbilt University Medical Center), CC BY-SA 4.0."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer the bundled volumes in the module Sample Data. They are files of this module: nothing is downloaded."""
    import SampleData
    from slicer.util import computeChecksum

    icons = Path(__file__).parent / "Resources" / "Icons"
    for path in sampleVolumes():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="MedSegAI",
            sampleName=path.name.split(".")[0],
            thumbnailFileName=str(icons / "MedSegAI.png"),
            uris=path.as_uri(),
            fileNames=path.name,
            nodeNames=path.name.split(".")[0],
            # Sample Data keeps copies: the sum tells it when its copy is of an older version of this module.
            checksums="SHA256:" + computeChecksum("SHA256", str(path)),
        )


def sampleVolumes():
    """The paths of the bundled sample images."""
    listing = SAMPLE_DATA / "samples.json"
    if not listing.is_file():
        return []
    return [SAMPLE_DATA / sample["image"] for sample in json.loads(listing.read_text(encoding="utf-8"))["samples"]]


@parameterNodeWrapper
class MedSegAIParameterNode:
    """The choices in the panel; they are saved with the scene.

    The device belongs to the computer and is kept in the user's settings. Volumes of further channels are references
    of their own (``MedSegAILib.panels.channel_rows``), as only the model says how many there are.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    modelId: str = "hippocampus"
    roi: vtkMRMLMarkupsROINode
    registration: Annotated[str, Choice(["none", "rigid", "affine"])] = "none"
    quality: Annotated[str, Choice(["fast", "standard", "best"])] = "standard"
    mirroring: bool = False
    strict: bool = False
    probabilities: bool = False
    uncertainty: bool = True
    outputSegmentation: vtkMRMLSegmentationNode
    resultSegmentation: vtkMRMLSegmentationNode
    overlayVolume: vtkMRMLScalarVolumeNode
    overlayOpacity: Annotated[float, WithinRange(0, 1)] = 0.5
    correctedSegmentation: vtkMRMLSegmentationNode


class MedSegAIWidget(ModuleWidget):
    """The panel, from the top: choose and run, look at the result, correct it."""

    def makeLogic(self):
        return MedSegAILogic()

    def makeSections(self):
        from MedSegAILib.panels.correction_section import CorrectionSection
        from MedSegAILib.panels.result_section import ResultSection
        from MedSegAILib.panels.segmentation_section import SegmentationSection

        return [
            SegmentationSection(self.resourcePath("UI/Segmentation.ui"), self.logic),
            ResultSection(self.resourcePath("UI/Result.ui"), self.logic),
            CorrectionSection(self.resourcePath("UI/Correction.ui"), self.logic),
        ]


class MedSegAILogic(ScriptedLoadableModuleLogic, SegmentationLogic):
    """The module's logic: SegmentationLogic with a parameter node.

    >>> segmentation = slicer.util.getModuleLogic("MedSegAI").segment(volumeNode, "hippocampus")
    """

    def getParameterNode(self):
        return MedSegAIParameterNode(super().getParameterNode())


class MedSegAITest(ModuleTest):
    """Runs in Slicer (Reload and Test, or ctest) and in this repository's tests."""

    def test_segmentsLieOnAVolumeUnderATransform(self):
        """What is written for an oblique volume under a transform is exported by Slicer onto the same voxels."""
        import numpy as np

        from MedSegAICore.image import Label, LabelMap
        from MedSegAICore.mrml import grid_from_volume, segmentation_from_label_map

        volume = slicer.util.addVolumeFromArray(np.zeros((9, 10, 11), np.int16))
        volume.SetIJKToRASDirections(0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, -1)
        volume.SetSpacing(0.7, 0.9, 3.0)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 12.0)
        transform.SetMatrixTransformToParent(matrix)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        array = np.zeros((9, 10, 11), np.uint8)
        array[2:5, 3:7, 4:9] = 1
        labels = LabelMap(array, grid_from_volume(volume), (Label(1, "box", "Box"),))
        segmentation = segmentation_from_label_map(labels, volume)
        exported = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "box", volume)
        np.testing.assert_array_equal(exported, array)
        assert segmentation.GetParentTransformNode() is transform

    def test_theStoryOfAnAnnotator(self):
        """Segment the sample, correct the draft, undo, finish and export; the draft stays what it was."""
        if importlib.util.find_spec("torch") is None:
            self.skipTest("PyTorch is not installed")
        volume = slicer.util.loadVolume(str(sampleVolumes()[0]))
        widget = self.panelOf("MedSegAI")
        segmentation, result, correction = (section.ui for section in widget.sections)
        chosen, logic = widget.logic.getParameterNode(), widget.logic
        segmentation.inputSelector.setCurrentNode(volume)
        assert segmentation.applyButton.enabled, segmentation.applyButton.toolTip
        segmentation.applyButton.click()
        self.waitUntil(lambda: segmentation.applyButton.enabled, "the run")
        draft = chosen.resultSegmentation
        assert draft is not None, segmentation.statusLabel.text
        before = logic.volumesMl(draft)
        # Both parts have about 1.8 ml in the annotators' segmentation of this volume.
        assert sorted(before) == ["hippocampus_anterior", "hippocampus_posterior"]
        assert all(1.4 < volume_ml < 2.2 for volume_ml in before.values()), before
        assert result.resultsTable.rowCount == 2

        correction.correctionCollapsibleButton.collapsed = False
        correction.correctButton.click()
        corrected = chosen.correctedSegmentation
        assert logic.draftOf(corrected) is draft
        editor = slicer.util.findChildren(widget.sections[2].widget, className="qMRMLSegmentEditorWidget")[0]
        editor.saveStateForUndo()
        self._erase(corrected, "hippocampus_anterior", volume)
        assert logic.volumesMl(corrected)["hippocampus_anterior"] == 0.0
        assert logic.changesSinceDraft(corrected)["hippocampus_anterior"].removed > 1000
        editor.undo()
        assert logic.volumesMl(corrected) == before
        correction.doneButton.click()
        assert logic.volumesMl(draft) == before

        with tempfile.TemporaryDirectory() as folder:
            (path,) = logic.exportSegmentation(corrected, folder, "seg.nrrd")
            again = slicer.util.loadSegmentation(str(path))
            assert logic.volumesMl(again) == before

    def _erase(self, segmentationNode, segmentId, volume):
        """Take all voxels of a segment away, as an annotator's stroke over it does."""
        import numpy as np

        empty = np.zeros_like(slicer.util.arrayFromVolume(volume), dtype=np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(empty, segmentationNode, segmentId, volume)
