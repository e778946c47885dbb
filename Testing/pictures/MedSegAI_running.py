"""A volume of many tiles is being segmented, and some tiles are done."""

import numpy as np

small = slicer.util.getNode("hippocampus_393")
volume = slicer.util.addVolumeFromArray(np.tile(slicer.util.arrayFromVolume(small), (3, 3, 3)), name="head")
widget._parameterNode.inputVolume = volume
ui = widget.sections[0].ui
ui.applyButton.click()
wait(lambda: ui.progressBar.value > ui.progressBar.maximum / 10)
