"""All stand-ins for the widgets of CTK and Slicer, by the module in which Slicer has them.

They offer what Slicer's offer to Python (properties, signals, public slots; see members.json) and nothing else that
panels could lean on.
"""

from __future__ import annotations

from harness.ctk_widgets import make_ctk
from harness.mrml_widgets import qMRMLNodeComboBox, qMRMLSliderWidget, qMRMLWidget, qSlicerWidget
from harness.segment_editor import qMRMLSegmentEditorWidget, qSlicerSegmentEditorAbstractEffect
from harness.segment_selector import qMRMLSegmentSelectorWidget
from harness.tables import qMRMLSegmentsTableView, qMRMLTableView

MRML_WIDGETS = (
    qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox, qMRMLSliderWidget, qMRMLSegmentsTableView, qMRMLTableView,
    qMRMLSegmentSelectorWidget, qMRMLSegmentEditorWidget, qSlicerSegmentEditorAbstractEffect,
)  # fmt: skip

__all__ = ["MRML_WIDGETS", "make_ctk"]
