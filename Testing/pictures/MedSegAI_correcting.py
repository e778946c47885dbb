"""The draft is corrected: a stroke of the brush, with the outline of the draft beside it."""

from harness.segment_editor import paint

segmentation, result, correction = widget.sections
segmentation.ui.applyButton.click()
wait(lambda: widget._parameterNode.resultSegmentation is not None)
for section in (segmentation, result):
    for name, part in vars(section.ui).items():
        if name.endswith("CollapsibleButton"):
            part.collapsed = True
correction.ui.correctionCollapsibleButton.collapsed = False
correction.ui.correctButton.click()
correction.ui.draftButton.click()
(editor,) = slicer.util.findChildren(correction.widget, className="qMRMLSegmentEditorWidget")
editor.setActiveEffectByName("Paint")
place = (22.0, 30.0, 14.0)
for step in range(4):
    paint(editor, (place[0], place[1] + 2 * step, place[2]), 2.5)
slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *place, 1)
slicer.app.layoutManager().threeDWidget(0).threeDView().resetCamera()
wait(lambda: correction.ui.changesLabel.text.startswith("Changed"))
