"""The module MedSegAI of 3D Slicer: segments a loaded volume with a neural network."""

import json
import unittest
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MedSegAILib.logic import SegmentationLogic

SAMPLE_DATA = Path(__file__).parent / "Resources" / "SampleData"


class MedSegAI(ScriptedLoadableModule):
    """Registers the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedSegAI")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
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
    """The choices in the panel; they are saved with the scene."""

    inputVolume: vtkMRMLScalarVolumeNode
    modelId: str = "hippocampus"
    outputSegmentation: vtkMRMLSegmentationNode
    device: Annotated[str, Choice(["auto", "cuda", "mps", "cpu"])] = "auto"
    mirroring: bool = False
    strict: bool = False


class MedSegAIWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Builds the panel and keeps it connected with the scene's parameter node."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._guiTag = None

    def setup(self):
        from MedSegAILib.panels.segmentation_panel import SegmentationPanel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MedSegAI.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = MedSegAILogic()
        self.panel = SegmentationPanel(self.ui, self.logic)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)

    def cleanup(self):
        self.panel.reset()
        self.setParameterNode(None)
        self.removeObservers()

    def onSceneStartClose(self, caller, event):
        self.panel.reset()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Use the scene's parameter node, and its first volume if none is chosen yet."""
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.inputVolume is None:
            self._parameterNode.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")

    def setParameterNode(self, parameterNode):
        """Connect the panel with a parameter node, or with none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.update)
        self._parameterNode = parameterNode
        self.panel.setParameterNode(parameterNode)
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.update)


class MedSegAILogic(ScriptedLoadableModuleLogic, SegmentationLogic):
    """The module's logic: SegmentationLogic with a parameter node.

    >>> segmentation = slicer.util.getModuleLogic("MedSegAI").segment(volumeNode, "hippocampus")
    """

    def getParameterNode(self):
        return MedSegAIParameterNode(super().getParameterNode())


class MedSegAITest(ScriptedLoadableModuleTest):
    """Runs in Slicer (Reload and Test, or ctest) and in this repository's tests."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run every test; what Slicer's Test button calls."""
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(type(self))
        result = unittest.TextTestRunner().run(suite)
        if not result.wasSuccessful():
            raise AssertionError(result)

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

    def test_theSampleIsSegmented(self):
        """The bundled model finds both parts of the hippocampus in the bundled volume, of about the known size."""
        volumes, logic = sampleVolumes(), MedSegAILogic()
        try:
            import torch  # noqa: F401
        except ImportError:
            self.skipTest("PyTorch is not installed")
        if not volumes or "hippocampus" not in [model.id for model in logic.listModels()]:
            self.skipTest("The model or the sample is not bundled")
        volume = slicer.util.loadVolume(str(volumes[0]))
        segmentation = logic.segment(volume, "hippocampus", device="cpu")
        volumes_ml = logic.volumesMl(segmentation)
        assert len(volumes_ml) == 2
        for volume_ml in volumes_ml.values():
            assert 0.5 < volume_ml < 4.0
