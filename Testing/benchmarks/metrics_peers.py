"""The tools that metrics.py times, each called as its users do for all it offers of Dice, HD, HD95, ASSD and NSD.

Every function takes one pair and its labels and returns {label: {measure: value}}; measures are named as in MEASURES.
Imports are inside, since no interpreter has all tools.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from metrics_cases import Pair

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "MedSegAIMetrics"))
MEASURES = ("dice", "hd", "hd95", "assd", "nsd")
TOLERANCE_MM = 2.0
Values = dict[int, dict[str, float]]


@dataclass(frozen=True)
class Peer:
    measure: Callable[[Any, list[int]], Values]
    prepare: Callable[[Pair], Any] = lambda pair: pair  # to the tool's own form of an image; not timed


def ours(surface: str) -> Callable[[Pair, list[int]], Values]:
    """MedSegAI with one of its three definitions of a surface."""
    infix = "" if surface == "face" else f"_{surface}"
    names = (
        "dice",
        f"hd{infix}_mm",
        f"hd95{infix}_maxdir_mm",
        f"assd{infix}_mm",
        f"nsd{infix}_{TOLERANCE_MM:g}mm",
    )

    def measure(pair: Pair, labels: list[int]) -> Values:
        from MedSegAIMetricsLib import compare

        arrays = [array.view(np.uint8) if array.dtype == bool else array for array in (pair.reference, pair.test)]
        found = compare(*arrays, pair.spacing_mm, labels=labels, surface=surface, tolerances_mm=(TOLERANCE_MM,))
        return {
            label: {measure: values[name] for measure, name in zip(MEASURES, names, strict=True)}
            for label, values in found.items()
        }

    return measure


def surface_distance(pair: Pair, labels: list[int]) -> Values:
    """Surface elements at voxel corners weighted by area; HD95 is the larger directed one."""
    np.Inf, np.NaN = np.inf, np.nan  # version 0.1 is older than NumPy 2
    import surface_distance as tool

    found = {}
    for label in labels:
        masks = pair.masks(label)
        distances = tool.compute_surface_distances(*masks, spacing_mm=pair.spacing_mm)
        means = tool.compute_average_surface_distance(distances)
        areas = [distances["surfel_areas_gt"].sum(), distances["surfel_areas_pred"].sum()]
        found[label] = {
            "dice": tool.compute_dice_coefficient(*masks),
            "hd": tool.compute_robust_hausdorff(distances, 100),
            "hd95": tool.compute_robust_hausdorff(distances, 95),
            "assd": np.average(means, weights=areas),
            "nsd": tool.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM),
        }
    return found


def medpy(pair: Pair, labels: list[int]) -> Values:
    """Centers of boundary voxels; HD95 is that of all distances together."""
    from medpy.metric import binary

    found = {}
    for label in labels:
        reference, test = pair.masks(label)
        found[label] = {"dice": binary.dc(test, reference)}
        for name in ("hd", "hd95", "assd"):
            found[label][name] = getattr(binary, name)(test, reference, voxelspacing=pair.spacing_mm)
    return found


def monai(pair: Pair, labels: list[int]) -> Values:
    """Centers of boundary voxels; HD95 is the larger directed one. One channel a label."""
    import torch
    from monai import metrics

    torch.set_num_threads(1)
    masks = zip(*(pair.masks(label) for label in labels), strict=True)
    reference, test = (torch.stack([torch.from_numpy(mask) for mask in channels])[None] for channels in masks)
    shared = {"include_background": True, "spacing": pair.spacing_mm}
    columns = (
        metrics.compute_dice(test, reference),
        metrics.compute_hausdorff_distance(test, reference, **shared),
        metrics.compute_hausdorff_distance(test, reference, percentile=95, **shared),
        metrics.compute_average_surface_distance(test, reference, symmetric=True, **shared),
        metrics.compute_surface_dice(test, reference, [TOLERANCE_MM] * len(labels), **shared),
    )
    rows = torch.stack([column[0].double() for column in columns], 1).tolist()
    return {label: dict(zip(MEASURES, row, strict=True)) for label, row in zip(labels, rows, strict=True)}


def to_images(pair: Pair) -> tuple:
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(array.view(np.uint8)) for array in (pair.reference, pair.test)]
    for image in images:
        image.SetSpacing(pair.spacing_mm[::-1])
    return tuple(images)


def simpleitk(images: tuple, labels: list[int]) -> Values:
    """The filters and the recipe for surface distances of SimpleITK's notebook 34; HD95 is that of all together."""
    import SimpleITK as sitk

    found = {}
    for label in labels:
        masks = images if len(labels) == 1 else [image == label for image in images]
        overlap, hausdorff = sitk.LabelOverlapMeasuresImageFilter(), sitk.HausdorffDistanceImageFilter()
        overlap.Execute(*masks)
        hausdorff.Execute(*masks)
        contours = [sitk.LabelContour(mask) for mask in masks]  # a view of an image does not keep it alive
        maps = [sitk.Abs(sitk.SignedMaurerDistanceMap(mask, False, False, True)) for mask in masks]
        views = [sitk.GetArrayViewFromImage(image) for image in (*maps, *contours)]
        together = np.concatenate([views[0][views[3] > 0], views[1][views[2] > 0]])
        found[label] = {
            "dice": overlap.GetDiceCoefficient(),
            "hd": hausdorff.GetHausdorffDistance(),
            "hd95": np.percentile(together, 95),
            "assd": together.mean(dtype=float),
        }
    return found


def mikan(images: tuple, labels: list[int]) -> Values:
    """Centers of boundary voxels, none at the image border; HD95 is the larger directed one."""
    import mikan as tool

    names = ["dice", "hd", "hd95", "assd"]
    found = tool.Evaluator(*images).labels(labels).metrics(names)
    if len(labels) == 1:
        return {labels[0]: dict(zip(names, found, strict=True))}
    return {label: found[str(label)] for label in labels}


def vtk_meshes(images: tuple, labels: list[int]) -> Values:
    """Meshes as 3D Slicer makes them, unsmoothed; distances from vertices, not weighted. HD95 is the larger one."""
    from vtkmodules.vtkFiltersModeling import vtkHausdorffDistancePointSetFilter

    found = {}
    for label in labels:
        hausdorff = vtkHausdorffDistancePointSetFilter()
        hausdorff.SetTargetDistanceMethodToPointToCell()
        for port, image in enumerate(images):
            hausdorff.SetInputData(port, _mesh(image, label))
        hausdorff.Update()
        both = [hausdorff.GetOutput(port).GetPointData().GetArray("Distance") for port in (0, 1)]
        both = [np.frombuffer(memoryview(distances), float) for distances in both]
        found[label] = {
            "hd": hausdorff.GetHausdorffDistance(),
            "hd95": max(np.percentile(distances, 95) for distances in both),
            "assd": np.concatenate(both).mean(),
        }
    return found


def _mesh(image, label: int):
    from vtkmodules.vtkFiltersGeneral import vtkDiscreteFlyingEdges3D
    from vtkmodules.vtkImagingCore import vtkImageConstantPad

    extent = image.GetExtent()
    pad = vtkImageConstantPad()
    pad.SetInputData(image)
    pad.SetOutputWholeExtent([end + (1 if i % 2 else -1) for i, end in enumerate(extent)])
    contour = vtkDiscreteFlyingEdges3D()
    contour.SetInputConnection(pad.GetOutputPort())
    contour.SetValue(0, label)
    for compute in (contour.ComputeNormalsOff, contour.ComputeGradientsOff, contour.ComputeScalarsOff):
        compute()
    contour.Update()
    return contour.GetOutput()


def to_vtk(pair: Pair) -> tuple:
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    images = []
    for array in (pair.reference, pair.test):
        images.append(vtkImageData(dimensions=array.shape[::-1], spacing=pair.spacing_mm[::-1]))
        images[-1].GetPointData().SetScalars(numpy_to_vtk(array.view(np.uint8).ravel(), deep=True))
    return tuple(images)


OURS = {name: Peer(ours(name.removeprefix("ours-"))) for name in ("ours-face", "ours-surfel", "ours-voxelcenter")}
PEERS = {
    "surface-distance": Peer(surface_distance),
    "mikan": Peer(mikan, to_images),
    "vtk": Peer(vtk_meshes, to_vtk),
    "monai": Peer(monai),
    "simpleitk": Peer(simpleitk, to_images),
    "medpy": Peer(medpy),
}
