"""The bundled model has run on the sample volume."""

segmentation, result, _correction = widget.sections
segmentation.ui.applyButton.click()
wait(lambda: widget._parameterNode.resultSegmentation is not None)
result.ui.surfacesCheckBox.click()
slicer.app.layoutManager().threeDWidget(0).threeDView().resetCamera()
slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 18.0, 30.0, 14.0, 1)
