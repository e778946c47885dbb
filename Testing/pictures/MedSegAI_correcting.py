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
