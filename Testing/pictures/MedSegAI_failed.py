"""A volume without any content cannot be segmented; the panel says so."""

import numpy as np

widget._parameterNode.inputVolume = slicer.util.addVolumeFromArray(np.zeros((40, 50, 40)), name="empty volume")
ui = widget.sections[0].ui
ui.applyButton.click()
wait(lambda: ui.applyButton.enabled)
ui.detailsCollapsibleButton.collapsed = False
