"""The AI draft is compared with the reference, and the views are where they differ most."""

from MedSegAILib.logic import SegmentationLogic

volume = slicer.util.getNode("hippocampus_393")
reference = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
reference.SetName("reference")
for index, name in enumerate(("Anterior hippocampus", "Posterior hippocampus")):
    segment = reference.GetSegmentation().GetNthSegment(index)
    segment.SetName(name)
    segment.SetColor(1.0, 0.85, 0.2)
draft = SegmentationLogic().segment(volume, "hippocampus", device="cpu")
draft.SetName("AI draft")
for node in (reference, draft):
    node.GetDisplayNode().SetVisibility2DFill(False)
    node.GetDisplayNode().SetVisibility3D(False)
widget._parameterNode.referenceNode, widget._parameterNode.testNode = reference, draft
comparison, results = widget.sections
comparison.ui.applyButton.click()
wait(lambda: results.ui.resultsTable.rowCount > 0 and comparison.ui.applyButton.enabled)
comparison.ui.settingsCollapsibleButton.collapsed = True
results.ui.distanceModelButton.click()
results.ui.worstSliceButton.click()
slicer.app.layoutManager().threeDWidget(0).threeDView().resetCamera()
