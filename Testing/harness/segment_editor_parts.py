"""The widgets inside the stand-in for qMRMLSegmentEditorWidget, laid out as in Slicer."""

from __future__ import annotations

import slicer
from PySide6 import QtWidgets

from harness.mrml_widgets import qMRMLNodeComboBox
from harness.tables import qMRMLSegmentsTableView

MASK_MODES = (
    ("Everywhere", "EditAllowedEverywhere"), ("Inside all segments", "EditAllowedInsideAllSegments"),
    ("Inside all visible segments", "EditAllowedInsideVisibleSegments"),
    ("Outside all segments", "EditAllowedOutsideAllSegments"),
    ("Outside all visible segments", "EditAllowedOutsideVisibleSegments"),
)  # fmt: skip
OVERWRITE_MODES = (
    ("Overwrite all", "OverwriteAllSegments"), ("Overwrite visible", "OverwriteVisibleSegments"),
    ("Allow overlap", "OverwriteNone"),
)  # fmt: skip


class EditorParts:
    """The widgets inside, in Slicer's order: nodes, segments, effects and undo, masking."""

    def __init__(self, editor):
        self._editor = editor
        layout = QtWidgets.QVBoxLayout(editor)
        layout.setContentsMargins(0, 0, 0, 0)
        self._add_nodes(layout)
        self._add_segments(layout)
        self._add_effects(layout)
        self._add_masking(layout)

    def _add_nodes(self, layout):
        form = QtWidgets.QFormLayout()
        self.segmentations, self.volumes = qMRMLNodeComboBox(), qMRMLNodeComboBox()
        self.segmentations.nodeTypes = ["vtkMRMLSegmentationNode"]
        self.segmentations.renameEnabled = True
        self.volumes.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        for selector in (self.segmentations, self.volumes):
            selector.noneEnabled = True
            selector.sizeAdjustPolicy = 2
        self.volumes.addEnabled = self.volumes.removeEnabled = False
        self.segmentations.currentNodeChanged.connect(self._segmentation_chosen)
        self.volumes.currentNodeChanged.connect(self._volume_chosen)
        self._segmentation_label, self._volume_label = (
            QtWidgets.QLabel("Segmentation:"),
            QtWidgets.QLabel("Source volume:"),
        )
        form.addRow(self._segmentation_label, self.segmentations)
        form.addRow(self._volume_label, self.volumes)
        layout.addLayout(form)

    def _add_segments(self, layout):
        row = QtWidgets.QHBoxLayout()
        self.add, self.remove = QtWidgets.QPushButton("Add"), QtWidgets.QPushButton("Remove")
        self.show3d, self.switch = QtWidgets.QPushButton("Show 3D"), QtWidgets.QToolButton()
        self.show3d.setCheckable(True)
        self.switch.setText("Segmentations...")
        for button in (self.add, self.remove, self.show3d, self.switch):
            row.addWidget(button)
        self.add.clicked.connect(self._add_segment)
        self.remove.clicked.connect(self._remove_segment)
        self.show3d.toggled.connect(lambda on: self._editor._logic.ToggleSegmentationSurfaceRepresentation(on))
        layout.addLayout(row)
        self.table = qMRMLSegmentsTableView()
        self.table.selectionMode = 1
        self.table.opacityColumnVisible = False
        self.table.setMinimumHeight(120)
        self.table.selectionChanged.connect(self._segment_chosen)
        self.table.segmentAboutToBeModified.connect(lambda _: self._editor.saveStateForUndo())
        layout.addWidget(self.table)

    def _add_effects(self, layout):
        row = QtWidgets.QHBoxLayout()
        self._effects_box, self._undo_box = QtWidgets.QGroupBox("Effects"), QtWidgets.QGroupBox("Undo/Redo")
        self._grid = QtWidgets.QGridLayout(self._effects_box)
        self._group = QtWidgets.QButtonGroup(self._effects_box)
        self._buttons = {effect: self._effect_button(effect) for effect in (None, *self._editor._effects)}
        undo_layout = QtWidgets.QHBoxLayout(self._undo_box)
        self.undo, self.redo = QtWidgets.QToolButton(), QtWidgets.QToolButton()
        for button, text, slot in ((self.undo, "Undo", self._editor.undo), (self.redo, "Redo", self._editor.redo)):
            button.setText(text)
            button.clicked.connect(slot)
            undo_layout.addWidget(button)
        row.addWidget(self._effects_box)
        layout.addLayout(row)
        layout.addWidget(self._undo_box)

    def _effect_button(self, effect):
        button = QtWidgets.QToolButton(self._effects_box)
        button.setText(effect.objectName() if effect else "None")
        button.setObjectName(effect.objectName() if effect else "NULL")
        button.setCheckable(True)
        button.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        button.clicked.connect(lambda: self._editor.setActiveEffect(effect))
        self._group.addButton(button)
        return button

    def arrange_effects(self, effects, columns: int):
        for button in self._buttons.values():
            self._grid.removeWidget(button)
            button.hide()
        for number, effect in enumerate(effects):
            self._grid.addWidget(self._buttons[effect], number // columns, number % columns)
            self._buttons[effect].show()

    def _add_masking(self, layout):
        self._masking = QtWidgets.QGroupBox("Masking")
        form = QtWidgets.QFormLayout(self._masking)
        self.mask, self.overwrite = QtWidgets.QComboBox(), QtWidgets.QComboBox()
        for text, mode in MASK_MODES:
            self.mask.addItem(text, int(getattr(slicer.vtkMRMLSegmentationNode, mode)))
        for text, mode in OVERWRITE_MODES:
            self.overwrite.addItem(text, int(getattr(slicer.vtkMRMLSegmentEditorNode, mode)))
        self.range = QtWidgets.QCheckBox("Editable intensity range")
        form.addRow("Editable area:", self.mask)
        form.addRow(self.range)
        form.addRow("Modify other segments:", self.overwrite)
        self.mask.activated.connect(lambda _: self._editor._node.SetMaskMode(self.mask.currentData))
        self.overwrite.activated.connect(lambda _: self._editor._node.SetOverwriteMode(self.overwrite.currentData))
        self.range.clicked.connect(lambda on: self._editor._node.SetSourceVolumeIntensityMask(on))
        layout.addWidget(self._masking)

    def _segmentation_chosen(self, node):
        if self._editor._node is not None and not self._editor._scene.IsBatchProcessing():
            self._editor.setSegmentationNode(node)

    def _volume_chosen(self, node):
        if self._editor._node is not None and not self._editor._scene.IsBatchProcessing():
            self._editor.setSourceVolumeNode(node)

    def _segment_chosen(self, *_):
        chosen = self.table.selectedSegmentIDs()
        if self._editor._node is not None:
            self._editor._node.SetSelectedSegmentID(chosen[0] if chosen else None)

    def _add_segment(self):
        self._editor.saveStateForUndo()
        self._editor._logic.AddEmptySegment()

    def _remove_segment(self):
        self._editor.saveStateForUndo()
        self._editor._logic.RemoveSelectedSegment()

    def show(self, editor):
        for label, selector, visible in (
            (self._segmentation_label, self.segmentations, editor.segmentationNodeSelectorVisible),
            (self._volume_label, self.volumes, editor.sourceVolumeNodeSelectorVisible),
        ):
            label.setVisible(visible)
            selector.setVisible(visible)
        self.add.setVisible(editor.addRemoveSegmentButtonsVisible)
        self.remove.setVisible(editor.addRemoveSegmentButtonsVisible)
        self.show3d.setVisible(editor.show3DButtonVisible)
        self.switch.setVisible(editor.switchToSegmentationsButtonVisible)
        self._undo_box.setVisible(editor.undoEnabled)
        self.table.readOnly = editor.readOnly

    def update(self, node, effect, read_only: bool):
        segmentation = node.GetSegmentationNode() if node else None
        ready = node is not None and node.GetSourceVolumeNode() is not None and not read_only
        self.add.setEnabled(segmentation is not None and not read_only)
        self.remove.setEnabled(segmentation is not None and not read_only and bool(node.GetSelectedSegmentID()))
        self.switch.setEnabled(segmentation is not None)
        self._effects_box.setEnabled(ready)
        chosen = bool(node and node.GetSelectedSegmentID())
        for one, button in self._buttons.items():
            button.setEnabled(ready and (one is None or chosen or not one.perSegment))
            button.setChecked(one is effect)
        self._masking.setVisible(self._editor.maskingSectionVisible and effect is not None)
        if node is not None:
            self.mask.setCurrentIndex(self.mask.findData(int(node.GetMaskMode())))
            self.overwrite.setCurrentIndex(self.overwrite.findData(int(node.GetOverwriteMode())))
            self.range.setChecked(bool(node.GetSourceVolumeIntensityMask()))
