"""A map, such as the uncertainty, as the foreground of all slice views; what was there before comes back afterwards.

What was there is kept in the composite nodes of the views, so it also comes back in a scene that was saved meanwhile.
"""

from __future__ import annotations

BEFORE = "MedSegAI.ForegroundBefore"  # role of the reference to the volume that was in the foreground
OPACITY = "MedSegAI.ForegroundOpacityBefore"  # attribute: how opaque it was. It is there while our overlay is.
OVERLAY = "MedSegAI.Overlay"  # role of the reference to the map that we put there


def show_overlay(volumeNode, opacity: float, only_new: bool = False):
    """Put a volume over the images of all slice views of the scene; ``opacity`` from 0 to 1.

    It lies where its geometry and parent transforms put it. The image below stays as it is. ``only_new``: only over
    views that have come since, with another layout.
    """
    views = _views(volumeNode.GetScene())
    if only_new:
        views = [composite for composite in views if composite.GetAttribute(OPACITY) is None]
    for composite in views:
        modifying = composite.StartModify()
        if not _is_ours(composite):
            composite.SetNodeReferenceID(BEFORE, composite.GetForegroundVolumeID())
            composite.SetAttribute(OPACITY, repr(composite.GetForegroundOpacity()))
        composite.SetNodeReferenceID(OVERLAY, volumeNode.GetID())
        composite.SetForegroundVolumeID(volumeNode.GetID())
        composite.SetForegroundOpacity(opacity)
        composite.EndModify(modifying)
    if views:
        _show_legend(volumeNode)


def hide_overlay(scene):
    """Give all slice views the foreground back that they had before ``show_overlay``.

    A view whose foreground somebody changed meanwhile keeps it.
    """
    for composite in _views(scene):
        if composite.GetAttribute(OPACITY) is None:
            continue
        modifying = composite.StartModify()
        if _is_ours(composite):
            composite.SetForegroundVolumeID(composite.GetNodeReferenceID(BEFORE))
            composite.SetForegroundOpacity(float(composite.GetAttribute(OPACITY)))
        _hide_legend(composite.GetNodeReference(OVERLAY))
        composite.RemoveNodeReferenceIDs(BEFORE)
        composite.RemoveNodeReferenceIDs(OVERLAY)
        composite.RemoveAttribute(OPACITY)
        composite.EndModify(modifying)


def overlays(scene) -> set:
    """The volume nodes that ``show_overlay`` has put over slice views."""
    nodes = {composite.GetNodeReference(OVERLAY) for composite in _views(scene) if _is_ours(composite)}
    return nodes - {None}


def _views(scene) -> list:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")
    return [scene.GetNthNodeByClass(number, "vtkMRMLSliceCompositeNode") for number in range(count)]


def _is_ours(composite) -> bool:
    """Whether the foreground is the map that we put there; or that map was deleted, which left it empty."""
    if composite.GetAttribute(OPACITY) is None:
        return False
    foreground = composite.GetForegroundVolumeID()
    return (composite.GetScene().GetNodeByID(foreground) if foreground else None) is composite.GetNodeReference(OVERLAY)


def _show_legend(volumeNode):
    import slicer

    logic = slicer.modules.colors.logic()
    if not hasattr(logic, "AddDefaultColorLegendDisplayNode"):  # outside the application: a simpler logic of colors
        return
    legend = logic.AddDefaultColorLegendDisplayNode(volumeNode)
    legend.SetTitleText(volumeNode.GetName())
    legend.SetVisibility(True)


def _hide_legend(volumeNode):
    import slicer

    logic = slicer.modules.colors.logic()
    if volumeNode is None or not hasattr(logic, "GetColorLegendDisplayNode"):
        return
    legend = logic.GetColorLegendDisplayNode(volumeNode)
    if legend is not None:
        legend.SetVisibility(False)
