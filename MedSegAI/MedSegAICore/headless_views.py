"""One picture of a result: Slicer's own slice views and 3D view, drawn without a window.

>>> save_overview_png("result.png", volumeNode, segmentationNode)

The nodes are drawn in a scene of their own, so nothing else in the scene is in the picture and nothing is changed.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np

from MedSegAICore.atomic import atomic_path
from MedSegAICore.errors import DependencyError, InputError
from MedSegAICore.headless_stage import Stage, blank_picture
from MedSegAICore.image import LabelMap
from MedSegAICore.mrml import label_map_from_segmentation
from MedSegAICore.text import format_volume

# Slicer's colors of its slice views
SLICE_VIEWS = {"Axial": (0.95, 0.36, 0.27), "Coronal": (0.50, 0.77, 0.35), "Sagittal": (0.96, 0.86, 0.36)}
GAP_COLOR = (34, 36, 40)
FOOTER_COLOR = (0.055, 0.06, 0.07)
TEXT, FAINT_TEXT = (0.94, 0.95, 0.96), (0.62, 0.65, 0.69)
NOTE = "Research use only"

SYSTEM_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri"


def save_overview_png(path, volumeNode, segmentationNode, size: tuple[int, int] = (1200, 1272), title: str = ""):
    """Write a PNG with an axial, a coronal and a sagittal slice, a 3D view, and the segments' names and volumes.

    The slices are those that show most of all segments, hidden ones too. ``size``: width and height in pixels, at
    least 480 x 480. ``title``: printed before the legend; the volume's name by default.

    Raises InputError if the volume or the segmentation cannot be used; DependencyError if the machine has no library
    to draw with; OutputError if the file cannot be written.
    """
    width, height = size
    if width < 480 or height < 480:
        raise InputError(f"An overview needs at least 480 x 480 pixels, but {width} x {height} were asked for.")
    labelMap = label_map_from_segmentation(segmentationNode, volumeNode, allowCropping=True)
    require_rendering()
    stage = Stage(volumeNode, segmentationNode, labelMap)
    unit = min(width, height) / 1200  # everything that is not an image grows with the picture
    gap, footer = max(2, round(6 * unit)), round(72 * unit)
    pane = ((width - gap) // 2, (height - footer - 2 * gap) // 2)
    views = {
        name: stage.slice_picture(name, pane, _SliceText(name, color, unit)) for name, color in SLICE_VIEWS.items()
    }
    surfaces = stage.surface_picture(pane, lambda renderer, _: _put(renderer, "3D", (0, 1), TEXT, unit, bold=True))
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = GAP_COLOR
    _paste(canvas, views["Axial"], 0, 0)
    _paste(canvas, surfaces, width - pane[0], 0)
    _paste(canvas, views["Coronal"], 0, pane[1] + gap)
    _paste(canvas, views["Sagittal"], width - pane[0], pane[1] + gap)
    top = 2 * (pane[1] + gap)
    _paste(canvas, _legend((width, height - top), title or volumeNode.GetName(), labelMap, stage.colors, unit), 0, top)
    with atomic_path(Path(path)) as temporary:
        _write_png(temporary, canvas)


def require_rendering():
    """Raise DependencyError if this machine has nothing to draw with: no display, and no EGL or OSMesa library.

    VTK would only log warnings, take its last resort, OSMesa, and end the process with a segmentation fault.
    """
    import vtk

    cutoff = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        last_resort = vtk.vtkRenderWindow().GetClassName() == "vtkOSOpenGLRenderWindow"
    finally:
        vtk.vtkLogger.SetStderrVerbosity(cutoff)
    if last_resort and not _is_loadable("libOSMesa.so.8") and not _is_loadable("libOSMesa.so"):
        raise DependencyError(
            "Drawing the picture needs a system library for offscreen rendering (EGL with Mesa's drivers), which is "
            f"not installed here. Install it with: apt-get install -y {SYSTEM_PACKAGES}"
        )


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


class _SliceText:
    """Writes the view's name, where the slice lies, and the patient's sides onto a slice view."""

    def __init__(self, name: str, color, unit: float):
        self._name, self._color, self._unit = name, color, unit

    def __call__(self, renderer, sliceToRAS):
        axes = np.array([[sliceToRAS.GetElement(row, column) for row in range(3)] for column in range(4)])
        name = _put(renderer, self._name, (0, 1), self._color, self._unit, bold=True)
        offset = f"{_side(axes[2], positive=True)} {axes[3] @ axes[2] * _sign(axes[2]):.1f} mm"
        _put(renderer, offset, (0, 1), TEXT, self._unit, after=name)
        for axis, (low, high) in ((axes[0], ((0, 0.5), (1, 0.5))), (axes[1], ((0.5, 0), (0.5, 1)))):
            _put(renderer, _side(-axis), low, TEXT, self._unit, bold=True)
            _put(renderer, _side(axis), high, TEXT, self._unit, bold=True)


def _side(direction: np.ndarray, positive: bool = False) -> str:
    axis = int(np.abs(direction).argmax())
    return ("LR", "PA", "IS")[axis][int(positive or direction[axis] > 0)]


def _sign(direction: np.ndarray) -> float:
    return float(np.sign(direction[np.abs(direction).argmax()]))


def _put(renderer, text: str, place: tuple[float, float], color, unit: float, bold=False, after=0.0) -> float:
    """Write text at a place (fraction of width and height) with a margin to the edges; return where it ends."""
    import vtk

    width, height = renderer.GetRenderWindow().GetSize()
    margin = 14 * unit
    actor = vtk.vtkTextActor()
    actor.SetInput(text)
    style = actor.GetTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(max(9, round(21 * unit)))
    style.SetBold(bold)
    style.SetColor(*color)
    style.SetShadow(True)
    style.SetShadowOffset(1, -1)
    style.SetJustification(round(2 * place[0]))  # left, centered, right
    style.SetVerticalJustification(round(2 * place[1]))  # bottom, centered, top
    x = after + margin * 0.8 if after else margin + place[0] * (width - 2 * margin)
    ruler = 24 * unit if place == (0.5, 0) else 0  # lies at the bottom
    actor.SetPosition(x, margin + ruler + place[1] * (height - 2 * margin))
    renderer.AddViewProp(actor)
    box = [0.0] * 4
    actor.GetBoundingBox(renderer, box)
    return x + box[1] - box[0]


def _legend(size: tuple[int, int], title: str, labelMap: LabelMap, colors: dict, unit: float) -> np.ndarray:
    """The bottom line: title, color, name and volume of every segment as far as there is room, and the note."""
    swatches: list[tuple[int, tuple]] = []

    def write(renderer):
        note = _width_of(renderer, NOTE, unit)
        room = size[0] - note - 28 * unit
        _put(renderer, NOTE, (1, 0.5), FAINT_TEXT, unit)
        end = _put(renderer, title, (0, 0.5), TEXT, unit, bold=True)
        volumes = labelMap.volumes_ml()
        for number, label in enumerate(labelMap.labels):
            text = f"{label.name}  {format_volume(volumes[label.id])}"
            left = len(labelMap.labels) - number
            rest = _width_of(renderer, _more(left - 1), unit) if left > 1 else 0
            if end + 60 * unit + _width_of(renderer, text, unit) + rest > room:
                _put(renderer, _more(left), (0, 0.5), FAINT_TEXT, unit, after=end + 10 * unit)
                break
            swatches.append((round(end + 26 * unit), colors[label.id]))
            end = _put(renderer, text, (0, 0.5), TEXT, unit, after=end + 44 * unit)

    picture = blank_picture(size, FOOTER_COLOR, write)
    half = round(9 * unit)
    for x, color in swatches:
        middle = size[1] // 2
        picture[middle - half : middle + half, x : x + 2 * half] = np.round(255 * np.array(color))
    return picture


def _more(number: int) -> str:
    return f"+ {number} more"


def _width_of(renderer, text: str, unit: float) -> float:
    end = _put(renderer, text, (0, 0.5), TEXT, unit)
    actors = renderer.GetViewProps()
    renderer.RemoveViewProp(actors.GetLastProp())
    return end - 14 * unit


def _paste(canvas: np.ndarray, picture: np.ndarray, x: int, y: int):
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def _write_png(path: Path, canvas: np.ndarray):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(canvas.shape[1], canvas.shape[0], 1)
    pixels = np.ascontiguousarray(canvas[::-1]).reshape(-1, 3)
    image.GetPointData().SetScalars(numpy_to_vtk(pixels, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
