"""What the panel, the Python console and scripts call to correct a draft.

>>> correction = logic.startCorrection(draft)  # a copy to edit; the draft stays as it is
>>> sum(logic.changesSinceDraft(correction).values(), Change())
Change(added=123, removed=45, voxel_ml=0.001)
"""

from __future__ import annotations

from MedSegAICore import mrml_changes, mrml_correction, mrml_display
from MedSegAICore.errors import InputError
from MedSegAICore.mrml_changes import Change
from MedSegAICore.mrml_slices import SliceNavigator, slice_node_in_use


class CorrectionLogic:
    """The part of ``SegmentationLogic`` that needs no model. Functions of one line are explained where they lead to."""

    _navigator = None

    def startCorrection(self, draftNode, name: str | None = None):
        """A new segmentation node to edit, equal to the draft; see ``mrml_correction.start_correction``.

        Raises InputError (no segmentation, no segments) and GeometryError (no grid for its voxels).
        """
        return mrml_correction.start_correction(draftNode, name)

    def newSegmentation(self, volumeNode):
        """A segmentation node with one empty segment, to be drawn on a volume from nothing. Raises InputError."""
        return mrml_correction.new_segmentation(volumeNode)

    def openCorrection(self, segmentationNode, volumeNode=None):
        """The node to edit when a person wants to correct this segmentation.

        Of a draft that a model made it is its latest correction, or a new one. A correction, or what a person made, is
        edited itself. ``volumeNode``: on which a segmentation is drawn that refers to no volume.
        Raises what ``startCorrection`` raises, and InputError if there is no volume to draw on.
        """
        if segmentationNode is None:
            raise InputError("Choose the segmentation to correct.")
        if self.volumeOf(segmentationNode) is None and volumeNode is None:
            raise InputError(f"Choose the volume on which {segmentationNode.GetName()!r} is to be drawn.")
        node = segmentationNode
        if self.isDraft(node):
            existing = self.correctionsOf(node)
            node = existing[-1] if existing else self.startCorrection(node)
        if self.volumeOf(node) is None:
            mrml_correction.set_volume_of(node, volumeNode)
        mrml_correction.resume_correction(node)
        return node

    def finishCorrection(self, segmentationNode):
        """Mark its segments as completed, except flagged ones. ``openCorrection`` opens it again."""
        mrml_correction.finish_correction(segmentationNode)

    def draftOf(self, segmentationNode):
        """The draft that a segmentation corrects; None if there is none (any more)."""
        return mrml_correction.draft_of(segmentationNode)

    def correctionsOf(self, draftNode) -> list:
        """The corrections of a draft that are in the scene, the oldest first."""
        return mrml_correction.corrections_of(draftNode)

    def volumeOf(self, segmentationNode):
        """The volume on which a segmentation is drawn; None if there is none (any more)."""
        return mrml_correction.volume_of(segmentationNode)

    def isDraft(self, segmentationNode) -> bool:
        """Whether a model made it and it is not a correction."""
        return mrml_correction.is_draft(segmentationNode)

    def segmentsOverlap(self, segmentationNode) -> bool:
        """Whether a voxel belongs to several segments."""
        return mrml_correction.segments_overlap(segmentationNode)

    def changesSinceDraft(self, segmentationNode) -> dict[str, Change]:
        """Voxels gained and lost by each segment, by id; {} without a draft."""
        return mrml_changes.changes_since_draft(segmentationNode)

    def resetSegmentToDraft(self, segmentationNode, segmentId: str):
        """Give a segment what it has in the draft; see ``mrml_changes.reset_to_draft``. Raises InputError."""
        mrml_changes.reset_to_draft(segmentationNode, segmentId)

    def showDraft(self, segmentationNode, visible: bool):
        """Show the outlines of the draft over its correction, or hide them."""
        mrml_correction.show_draft(segmentationNode, visible)

    def isDraftShown(self, segmentationNode) -> bool:
        """Whether ``showDraft`` shows it."""
        return mrml_correction.is_draft_shown(segmentationNode)

    def showOutlineOnly(self, segmentationNode, outlined: bool):
        """Show only the outlines of the segments in slice views, or their area too."""
        mrml_display.set_slice_style(segmentationNode, "outline" if outlined else "both")

    def isOutlineOnly(self, segmentationNode) -> bool:
        """Whether ``showOutlineOnly`` shows them so."""
        return mrml_display.slice_style(segmentationNode) == "outline"

    def goToSegmentSlice(self, segmentationNode, segmentId: str, direction: int, sliceNode=None) -> bool:
        """Move a slice view to the next slice with voxels of the segment, upward (1) or downward (-1).

        ``sliceNode``: None takes the view under the mouse, else the Red one. Returns whether there is such a slice.
        """
        sliceNode = sliceNode or slice_node_in_use(segmentationNode.GetScene())
        return sliceNode is not None and self._slices().go_to_segment(segmentationNode, segmentId, sliceNode, direction)

    def goToUncertainSlice(self, segmentationNode, sliceNode=None) -> bool:
        """Move a slice view to where the model was least certain; each call goes on to the next such place.

        ``segmentationNode``: a draft or its correction. Returns whether there is anything to see.
        """
        uncertainty = self.uncertaintyNode(self.draftOf(segmentationNode) or segmentationNode)
        sliceNode = sliceNode or slice_node_in_use(segmentationNode.GetScene())
        if uncertainty is None or sliceNode is None:
            return False
        return self._slices().go_to_uncertain(uncertainty, sliceNode)

    def _slices(self) -> SliceNavigator:
        if self._navigator is None:
            self._navigator = SliceNavigator()
        return self._navigator
