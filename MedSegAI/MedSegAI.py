"""The module MedSegAI of 3D Slicer: segments a loaded volume with a neural network."""

import json
import unittest
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)

from MedSegAICore.panels.module_widget import ModuleWidget
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
