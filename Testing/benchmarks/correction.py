"""How long an annotator waits: each step of a correction on a volume of 256 x 256 x 160 voxels, in milliseconds.

    PYTHONPATH=MedSegAI:MedSegAIMetrics:Testing python Testing/benchmarks/correction.py

The volume lies oblique in the world, so that no step is helped by slices along the voxels' axes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fixtures_scene import bspline_transform, make_grid, make_volume, rotation
from MedSegAICore import headless, mrml
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAICore.mrml_images import oriented_image
from MedSegAICore.mrml_maps import add_maps

SHAPE = (160, 256, 256)
GRID = make_grid(SHAPE, rotation(10, 20, 30), (0.8, 0.8, 1.2))


def main():
    slicer = headless.start()
    from MedSegAILib.logic import SegmentationLogic

    logic, (draft, distances) = SegmentationLogic(), _draft(slicer)
    view = slicer.vtkMRMLSliceNode()
    view.SetLayoutName("Red")
    view = slicer.mrmlScene.AddNode(view)
    view.SetSliceOffset(float(GRID.center_ras()[2]))
    node = _timed("start a correction", lambda: logic.startCorrection(draft))
    _edit(slicer, node, distances < 75)
    _timed("next slice after a stroke", lambda: logic.goToSegmentSlice(node, "left", 1, view))
    _timed("next slice again", lambda: logic.goToSegmentSlice(node, "left", 1, view))
    _timed("what changed: a thick shell", lambda: logic.changesSinceDraft(node))
    _timed("most uncertain slice", lambda: logic.goToUncertainSlice(node, view))
    _timed("next uncertain slice", lambda: logic.goToUncertainSlice(node, view))
    _timed("put a segment back", lambda: logic.resetSegmentToDraft(node, "left"))
    _timed("what changed: nothing", lambda: logic.changesSinceDraft(node))
    node.SetAndObserveTransformNodeID(bspline_transform(slicer).GetID())
    _timed("next slice, bent by a B-spline", lambda: logic.goToSegmentSlice(node, "left", 1, view))
    _timed("next slice again", lambda: logic.goToSegmentSlice(node, "left", 1, view))


def _draft(slicer) -> tuple:
    """A ball of two halves that touch, with uncertainty in a shell around it; and distances from its center."""
    k, j, i = np.mgrid[tuple(slice(n) for n in SHAPE)].astype(np.float32)
    distances = np.sqrt((k - 80) ** 2 + (j - 128) ** 2 / 2 + (i - 128) ** 2 / 2)
    array = np.where(distances < 70, np.where(i < 128, 1, 2), 0).astype(np.uint8)
    volume = make_volume(slicer, np.zeros(SHAPE, np.int16), GRID)
    labels = LabelMap(array, GRID, (Label(1, "left", "Left"), Label(2, "right", "Right")))
    draft = mrml.segmentation_from_label_map(labels, volume, provenance={"model": {}})
    shell = np.where(np.abs(distances - 70) < 3, 0.7, 0).astype(np.float32)
    add_maps(draft, volume, "uncertainty", Image(shell[None], GRID), ["uncertainty"])
    return draft, distances


def _edit(slicer, node, mask: np.ndarray):
    """Give the left segment these voxels, also those that the right one had."""
    logic, image = slicer.vtkSlicerSegmentationsModuleLogic, oriented_image(GRID, mask.astype(np.uint8))
    logic.SetBinaryLabelmapToSegment(image, node, "left", logic.MODE_REPLACE, image.GetExtent(), False, ["right"])


def _timed(name: str, step: Callable):
    began = time.perf_counter()
    result = step()
    print(f"{name:<32} {1000 * (time.perf_counter() - began):8.1f} ms")
    return result


if __name__ == "__main__":
    main()
