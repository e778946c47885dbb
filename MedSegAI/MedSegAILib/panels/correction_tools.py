"""The buttons and keys beside the Segment Editor: where to look, what to see, and what changed."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from MedSegAICore.errors import MedSegAIError
from MedSegAICore.mrml_changes import Change
from MedSegAILib.panels.shortcuts import HeldKey, Shortcuts, isMousePressed

# Keys that neither the Segment Editor with its effects nor the views of Slicer use. They lie below Q and W, which
# choose the previous and the next segment, or begin a word that says what they do.
PREVIOUS, NEXT, ERASE, OUTLINE, DRAFT, UNCERTAIN = "S", "D", "E", "O", "C", "U"
ERASER = "Erase"  # Slicer's name of the effect


class CorrectionTools:
    """Connects buttons and keys with the logic. ``say(text)`` shows a sentence to the user."""

    def __init__(self, ui, logic, editor, say):
        self._ui, self._logic, self._editor, self._say = ui, logic, editor, say
        self._node, self._effectBefore = None, ""
        self._eraseKey = HeldKey(qt.Qt.Key_E, self._stopErasing)
        self._shortcuts = Shortcuts(
            {
                PREVIOUS: self.onPrevious,
                NEXT: self.onNext,
                ERASE: self.onErase,
                OUTLINE: self.onOutlineKey,
                DRAFT: self.onDraftKey,
                UNCERTAIN: self.onUncertain,
            }
        )
        ui.previousButton.clicked.connect(self.onPrevious)
        ui.nextButton.clicked.connect(self.onNext)
        ui.uncertainButton.clicked.connect(self.onUncertain)
        ui.outlineButton.toggled.connect(self.onOutline)
        ui.draftButton.toggled.connect(self.onDraft)
        ui.resetButton.clicked.connect(self.onReset)
        self._setTexts()

    def setNode(self, node):
        """Work on this segmentation, or on nothing."""
        self._node = node

    def setActive(self, active: bool):
        """Take the keys, or give them back."""
        if active:
            self._shortcuts.install()
        else:
            self._eraseKey.stop()
            self._shortcuts.uninstall()

    def update(self):
        """Show the name, and which buttons can be used and are pressed."""
        node, ui = self._node, self._ui
        if node is None:
            return
        draft = self._logic.draftOf(node)
        ui.nameLabel.text = node.GetName()
        hasMap = self._logic.uncertaintyNode(draft or node) is not None
        ui.uncertainButton.enabled = hasMap
        ui.uncertainButton.toolTip = self._uncertainTip if hasMap else self._noMapTip
        for button in (ui.draftButton, ui.resetButton):
            button.enabled = draft is not None
        ui.draftButton.checked = self._logic.isDraftShown(node)
        ui.outlineButton.checked = self._logic.isOutlineOnly(node)
        ui.changesLabel.visible = draft is not None

    def showChanges(self):
        """Count what changed since the draft, if there is one."""
        node, ui = self._node, self._ui
        if node is None or self._logic.draftOf(node) is None:
            return
        changes = self._logic.changesSinceDraft(node)
        ui.changesLabel.text = _sentence(sum(changes.values(), Change()))
        ui.changesLabel.toolTip = self._details(changes)

    # Where to look

    def onPrevious(self):
        self._goToSegment(-1)

    def onNext(self):
        self._goToSegment(1)

    def onUncertain(self):
        if self._node is not None and self._ui.uncertainButton.enabled:
            found = self._logic.goToUncertainSlice(self._node)
            self._say("" if found else _("The model was certain everywhere in this volume."))

    def _goToSegment(self, direction: int):
        if self._node is None:
            return
        segmentId = self._editor.segmentId
        if not segmentId:
            self._say(_("Choose a segment in the table first."))
            return
        found = self._logic.goToSegmentSlice(self._node, segmentId, direction)
        name = self._node.GetSegmentation().GetSegment(segmentId).GetName()
        self._say("" if found else _("There is no further slice with {name} in this direction.").format(name=name))

    # What to see

    def onOutline(self, checked):
        if self._node is not None and checked != self._logic.isOutlineOnly(self._node):
            self._logic.showOutlineOnly(self._node, checked)

    def onDraft(self, checked):
        if self._node is not None and checked != self._logic.isDraftShown(self._node):
            self._logic.showDraft(self._node, checked)

    def onOutlineKey(self):
        self._ui.outlineButton.toggle()

    def onDraftKey(self):
        if self._ui.draftButton.enabled:
            self._ui.draftButton.toggle()

    # What is edited

    def onErase(self):
        """Erase as long as the key is held; then go on with the effect that was active."""
        if self._node is None or self._eraseKey.watching or isMousePressed() or self._editor.effect == ERASER:
            return
        self._effectBefore = self._editor.effect
        self._editor.setEffect(ERASER)
        self._eraseKey.watch()

    def _stopErasing(self):
        if self._editor.effect == ERASER:  # else the user has chosen another one meanwhile
            self._editor.setEffect(self._effectBefore)

    def onReset(self):
        """Put the chosen segment back to what the draft says; it can be undone."""
        if self._node is None:
            return
        self._editor.saveStateForUndo()
        try:
            self._logic.resetSegmentToDraft(self._node, self._editor.segmentId)
            self._say("")
        except MedSegAIError as error:
            self._say(str(error))

    # Texts

    def _setTexts(self):
        ui = self._ui
        tips = (
            (ui.previousButton, _("Go down to the next slice that shows the chosen segment ({key})."), PREVIOUS),
            (ui.nextButton, _("Go up to the next slice that shows the chosen segment ({key})."), NEXT),
            (ui.outlineButton, _("Show only the outlines of the segments ({key})."), OUTLINE),
            (ui.draftButton, _("Show the outlines of the draft over its correction ({key})."), DRAFT),
        )
        for button, tip, key in tips:
            button.toolTip = tip.format(key=key)
        ui.resetButton.toolTip = _("Give the chosen segment back what it has in the draft. It can be undone.")
        text = _("Go to the slice where the model was least certain; again, to the next such slice ({key}).")
        self._uncertainTip = text.format(key=UNCERTAIN)
        self._noMapTip = _("The model was run without uncertainty, so there is nothing to go to.")
        rows = (
            (f"{PREVIOUS}, {NEXT}", _("previous, next slice with the segment")),
            (UNCERTAIN, _("next uncertain slice")),
            (_("{key} held").format(key=ERASE), _("erase")),
            (OUTLINE, _("outlines only")),
            (DRAFT, _("outlines of the draft")),
            ("Q, W", _("previous, next segment")),
            ("1, 2, … 0", _("effect, in the order of the buttons")),
            (_("Space"), _("last effect, or none")),
            ("Z, Y", _("undo, redo")),
            ("+, −", _("larger, smaller brush")),
        )
        cells = "".join(f"<tr><td><b>{key}</b>&nbsp;&nbsp;</td><td>{what}</td></tr>" for key, what in rows)
        ui.shortcutsLabel.text = f"<table>{cells}</table>" + _("In the view under the mouse, else in Red.")

    def _details(self, changes: dict) -> str:
        lines = []
        for identifier, change in changes.items():
            segment = self._node.GetSegmentation().GetSegment(identifier)
            segment = segment or self._logic.draftOf(self._node).GetSegmentation().GetSegment(identifier)
            lines.append(f"{segment.GetName()}: +{change.added:,} / −{change.removed:,}")
        return "\n".join([_("Voxels that each segment gained and lost since the draft."), *lines])


def _sentence(change: Change) -> str:
    """One line for people."""
    if not change.added and not change.removed:
        return _("Unchanged since the draft.")
    return _("Changed: +{added} / −{removed} voxels (+{addedMl} / −{removedMl} ml) since the draft.").format(
        added=f"{change.added:,}",
        removed=f"{change.removed:,}",
        addedMl=f"{change.added_ml:.3g}",
        removedMl=f"{change.removed_ml:.3g}",
    )
