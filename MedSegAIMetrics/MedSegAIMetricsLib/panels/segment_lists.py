"""Two combo boxes with the segments of the reference and of the test, which follow the nodes."""

from __future__ import annotations

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin


class SegmentLists(VTKObservationMixin):
    """Lists the segments of both nodes, and keeps the lists up to date.

    ``combos``: by side, ``reference`` and ``test``. ``changed``: called when a node changed, after the lists did.
    """

    def __init__(self, combos: dict, logic, changed):
        VTKObservationMixin.__init__(self)
        self._combos, self._logic, self._changed = combos, logic, changed
        self._parameterNode = None
        self._nodes = dict.fromkeys(combos)
        self._segments: dict[str, list] = {side: [] for side in combos}
        self._list()

    def segments(self, side: str) -> list[tuple[str, str]]:
        """(id, name) of the segments of one side."""
        return self._segments[side]

    def follow(self, parameterNode):
        """List the segments of the two chosen nodes; none for None."""
        self._parameterNode = parameterNode
        nodes = {side: getattr(parameterNode, f"{side}Node", None) for side in self._combos}
        if all(self._nodes[side] is node for side, node in nodes.items()):
            return
        self.removeObservers()
        self._nodes = nodes
        for node in {id(node): node for node in nodes.values() if node is not None}.values():
            for event in _events(node):
                self.addObserver(node, event, self._onNodeModified)
        self._list()

    def _onNodeModified(self, *_event):
        if not slicer.mrmlScene.IsImporting():  # nodes that come with a scene get their segments last
            self._list()
            self._changed()

    def _list(self):
        """Fill both combo boxes. A segment that is no longer there is no longer chosen."""
        for side, node in self._nodes.items():
            segments, combo = self._logic.listSegments(node), self._combos[side]
            if segments != self._segments[side] or not combo.count:
                self._segments[side] = segments
                combo.blockSignals(True)
                combo.clear()
                for identifier, name in [("", _("(all matching segments)")), *segments]:
                    combo.addItem(name, identifier)
                combo.blockSignals(False)
            chosen = getattr(self._parameterNode, f"{side}SegmentId", "")
            if chosen and chosen not in [identifier for identifier, _name in segments]:
                setattr(self._parameterNode, f"{side}SegmentId", "")


def _events(node) -> list:
    events = [vtk.vtkCommand.ModifiedEvent]
    if node.IsA("vtkMRMLSegmentationNode"):
        kinds = slicer.vtkSegmentation
        events += [kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified]
    elif node.IsA("vtkMRMLLabelMapVolumeNode"):
        events.append(slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent)
    return events
