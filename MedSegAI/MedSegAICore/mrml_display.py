"""How a segmentation is shown. All of it lives in its display node, so it is saved with the scene.

>>> set_slice_style(segmentationNode, "outline")
"""

from __future__ import annotations

SLICE_STYLES = {"both": (True, True), "outline": (False, True), "fill": (True, False)}  # fill, outline


def slice_style(segmentationNode) -> str:
    """``both``, ``outline`` or ``fill``: what slice views show of the segments; empty if they show nothing."""
    display = _display(segmentationNode)
    shown = (bool(display.GetVisibility2DFill()), bool(display.GetVisibility2DOutline()))
    visible = display.GetVisibility() and display.GetVisibility2D()
    return next((style for style, parts in SLICE_STYLES.items() if parts == shown), "") if visible else ""


def set_slice_style(segmentationNode, style: str):
    """Show the segments in slice views as ``both``, ``outline`` or ``fill``; hidden segments stay hidden."""
    fill, outline = SLICE_STYLES[style]
    display = _display(segmentationNode)
    modifying = display.StartModify()
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    display.SetVisibility2DFill(fill)
    display.SetVisibility2DOutline(outline)
    display.EndModify(modifying)


def opacity(segmentationNode) -> float:
    """Of fill, outline and surfaces alike, 0 to 1; the fill is half of it, as Slicer has it."""
    return _display(segmentationNode).GetOpacity()


def set_opacity(segmentationNode, value: float):
    _display(segmentationNode).SetOpacity(value)


def set_segment_visible(segmentationNode, segmentId: str, visible: bool):
    """Show or hide one segment in all views."""
    _display(segmentationNode).SetSegmentVisibility(segmentId, visible)


def surfaces_shown(segmentationNode) -> bool:
    """Whether 3D views show surfaces of the segments."""
    import slicer

    closed = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    display = _display(segmentationNode)
    visible = display.GetVisibility() and display.GetVisibility3D()
    return bool(visible and segmentationNode.GetSegmentation().ContainsRepresentation(closed))


def show_surfaces(segmentationNode, shown: bool):
    """Make surfaces of the segments and show them in 3D views, or hide them.

    Hidden surfaces are removed, unless the segments are stored as such: while they exist, every stroke of a correction
    makes them anew.
    """
    import slicer

    segmentation, converter = segmentationNode.GetSegmentation(), slicer.vtkSegmentationConverter
    closed = converter.GetSegmentationClosedSurfaceRepresentationName()
    display = _display(segmentationNode)
    with slicer.util.RenderBlocker():
        if shown:
            segmentationNode.CreateClosedSurfaceRepresentation()
            display.SetVisibility(True)
        elif segmentation.GetSourceRepresentationName() != closed:
            segmentationNode.RemoveClosedSurfaceRepresentation()
        display.SetVisibility3D(shown)


def _display(segmentationNode):
    """The node's first display node; it is made if there is none."""
    segmentationNode.CreateDefaultDisplayNodes()
    return segmentationNode.GetDisplayNode()
