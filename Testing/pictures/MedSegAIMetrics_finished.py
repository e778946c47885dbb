"""The AI draft is compared with the reference, and the views are where they differ most."""

from MedSegAILib.logic import SegmentationLogic

volume = slicer.util.getNode("hippocampus_393")
reference = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
reference.SetName("reference")
draft = SegmentationLogic().segment(volume, "hippocampus", device="cpu")
draft.SetName("AI draft")
for node in (reference, draft):
    node.GetDisplayNode().SetVisibility2DFill(False)
widget._parameterNode.referenceNode, widget._parameterNode.testNode = reference, draft
comparison, results = widget.sections
comparison.ui.applyButton.click()
wait(lambda: results.ui.resultsTable.rowCount > 0 and comparison.ui.applyButton.enabled)
comparison.ui.settingsCollapsibleButton.collapsed = True
results.ui.worstSliceButton.click()
