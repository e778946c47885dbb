"""Two segmentations that have no segment in common cannot be compared; the panel says so."""

import numpy as np

from MedSegAICore.grid import Grid
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml import segmentation_from_label_map

reference = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
label = Label(1, "other", "Another structure")
other = segmentation_from_label_map(
    LabelMap(np.ones((5, 5, 5), np.uint8), Grid((5, 5, 5), np.eye(4)), (label,)), name="other"
)
widget._parameterNode.referenceNode, widget._parameterNode.testNode = reference, other
ui = widget.sections[0].ui
ui.applyButton.click()
wait(lambda: ui.applyButton.enabled)
