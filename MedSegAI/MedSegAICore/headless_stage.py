"""A scene of its own with one volume and its segments, and Slicer's slice and 3D views of it, drawn offscreen."""

from __future__ import annotations

import numpy as np

from MedSegAICore.image import LabelMap

PERCENTILES = (0.5, 99.7)  # of the voxels' intensities: black and white of the slice views
CT_WINDOWS = (  # median Hounsfield units of the segments are below: black and white
    (-300, (-1350, 150)),  # lung
    (200, (-160, 240)),  # soft tissue
    (np.inf, (-450, 1050)),  # bone
)
SMALLEST_VIEW_MM = 60.0  # a tiny lesion is shown with this much of its surroundings
MARGIN = 3.0  # a view is at most this many times as wide as the segments in it
FRONT = np.array([-0.5, 0.6, 0.4])  # RAS direction from which the 3D view looks, as nearly as the shape allows
SURFACE_TOP, SURFACE_BOTTOM = (0.20, 0.22, 0.26), (0.07, 0.075, 0.09)  # background of the 3D view

_SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLRulerDisplayableManager",
)
_SURFACE_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
)


class Stage:
    """Copies of a volume and a segmentation in a private scene, and pictures of them.

    ``labelMap``: the segments on the volume's grid; the views are aimed at them.
    """

    def __init__(self, volumeNode, segmentationNode, labelMap: LabelMap):
        import slicer
        import vtk

        self._scene = slicer.vtkMRMLScene()
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._logic.SetMRMLScene(self._scene)
        self._logic.SetSliceLogics(vtk.vtkCollection())
        self._logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)
        self._inside = labelMap.layers.any(axis=0)
        self._volume = self._copy_volume(volumeNode)
        self._segmentation = self._copy_segmentation(segmentationNode)
        display = self._segmentation.GetDisplayNode()
        self.colors = {label.id: display.GetSegmentColor(label.id) for label in labelMap.labels}
        self._points = _world_points(labelMap, volumeNode)
        self.center = _fullest_place(self._points)

    def _copy_volume(self, source):
        import slicer
        import vtk

        node = self._scene.AddNewNodeByClass(source.GetClassName())
        matrix = vtk.vtkMatrix4x4()
        source.GetIJKToRASMatrix(matrix)
        node.SetIJKToRASMatrix(matrix)
        node.SetAndObserveImageData(source.GetImageData())
        node.CreateDefaultDisplayNodes()
        self._put_under_same_transform(node, source)
        display = node.GetDisplayNode()
        if display.IsA("vtkMRMLScalarVolumeDisplayNode") and not display.IsA("vtkMRMLVectorVolumeDisplayNode"):
            colors = self._scene.AddNewNodeByClass("vtkMRMLColorTableNode")
            colors.SetTypeToGrey()
            display.SetAndObserveColorNodeID(colors.GetID())
            display.SetAutoWindowLevel(0)
            display.SetWindowLevelMinMax(*gray_range(slicer.util.arrayFromVolume(source), self._inside))
        return node

    def _copy_segmentation(self, source):
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.GetSegmentation().DeepCopy(source.GetSegmentation())
        node.CreateDefaultDisplayNodes()
        self._put_under_same_transform(node, source)
        node.CreateClosedSurfaceRepresentation()
        display = node.GetDisplayNode()
        display.SetAllSegmentsVisibility(True)
        display.SetOpacity2DFill(0.4)
        display.SetOpacity2DOutline(1.0)
        display.SetSliceIntersectionThickness(3)
        return node

    def _put_under_same_transform(self, node, source):
        import vtk

        parent = source.GetParentTransformNode()
        if parent is None:
            return
        world = vtk.vtkGeneralTransform()
        parent.GetTransformToWorld(world)
        transform = self._scene.AddNewNodeByClass("vtkMRMLTransformNode")
        transform.SetAndObserveTransformToParent(world)
        node.SetAndObserveTransformNodeID(transform.GetID())

    def slice_picture(self, orientation: str, size: tuple[int, int], decorate) -> np.ndarray:
        """An RGB picture (height, width, 3) of one slice; ``decorate(renderer, sliceToRAS)`` may add text."""
        import slicer

        window, renderer = _window_and_renderer(size)
        renderer.GetActiveCamera().ParallelProjectionOn()
        mapper = _image_actor(renderer)  # before the managers add theirs: 2D actors are drawn in this order
        _shade(renderer, size)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        with _Managers(factory, _SLICE_MANAGERS, self._logic, renderer) as group:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(self._logic)
            logic.SetMRMLScene(self._scene)
            self._logic.GetSliceLogics().AddItem(logic)
            node = logic.AddSliceNode(orientation)
            node.SetOrientation(orientation)
            node.SetRulerType(node.RulerTypeThin)
            group.SetMRMLDisplayableNode(node)
            logic.GetSliceCompositeNode().SetBackgroundVolumeID(self._volume.GetID())
            logic.ResizeSliceNode(*size)
            self._aim(node, logic, size)
            mapper.SetInputConnection(logic.GetImageDataConnection())
            decorate(renderer, node.GetSliceToRAS())
            return _capture(window)

    def _aim(self, node, logic, size):
        """Center the view on the segments; let the image fill it, as far as the segments are neither cut nor tiny."""
        axes = np.array([[node.GetSliceToRAS().GetElement(row, column) for row in range(3)] for column in range(2)])
        low, high = _extent(np.concatenate(self._points), axes)
        box = np.zeros(6)
        self._volume.GetRASBounds(box)
        corners = np.array([[x, y, z] for x in box[:2] for y in box[2:4] for z in box[4:]])
        volume_low, volume_high = _extent(corners, axes)
        pixels = np.array(size, float)
        whole, cover = ((volume_high - volume_low) / pixels).max(), ((volume_high - volume_low) / pixels).min()
        needed = (1.2 * (high - low) / pixels).max()
        widest = max((MARGIN * (high - low) / pixels).max(), SMALLEST_VIEW_MM / pixels.min())
        scale = min(whole, max(needed, min(cover, widest)))
        field = pixels * scale
        middle = (low + high) / 2
        room = np.maximum(0, (volume_high - volume_low - field) / 2)
        middle = np.clip(middle, (volume_low + volume_high) / 2 - room, (volume_low + volume_high) / 2 + room)
        normal = np.array([node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
        origin = middle @ axes + normal * (self.center @ normal)
        for row in range(3):
            node.GetSliceToRAS().SetElement(row, 3, origin[row])
        node.UpdateMatrices()
        node.SetFieldOfView(field[0], field[1], node.GetFieldOfView()[2])

    def surface_picture(self, size: tuple[int, int], decorate) -> np.ndarray:
        """An RGB picture (height, width, 3) of the segments' surfaces, seen along their thinnest direction."""
        import slicer

        window, renderer = _window_and_renderer(size)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        with _Managers(factory, _SURFACE_MANAGERS, self._logic, renderer) as group:
            logic = slicer.vtkMRMLViewLogic()
            logic.SetMRMLApplicationLogic(self._logic)
            logic.SetMRMLScene(self._scene)
            self._logic.GetViewLogics().AddItem(logic)
            node = logic.AddViewNode("1")
            node.SetBackgroundColor(*SURFACE_BOTTOM)
            node.SetBackgroundColor2(*SURFACE_TOP)
            node.SetBoxVisible(False)
            node.SetAxisLabelsVisible(False)
            node.SetOrientationMarkerType(node.OrientationMarkerTypeAxes)
            node.SetOrientationMarkerSize(node.OrientationMarkerSizeMedium)
            group.SetMRMLDisplayableNode(node)
            camera = renderer.GetActiveCamera()
            _look_at(camera, np.concatenate(self._points), size)
            renderer.ResetCameraClippingRange()
            decorate(renderer, camera)
            return _capture(window)


class _Managers:
    """Slicer's displayable managers on one renderer. Their factory belongs to the process and is given back."""

    def __init__(self, factory, names, logic, renderer):
        self._factory, self._names, self._logic, self._renderer = factory, names, logic, renderer

    def __enter__(self):
        import slicer

        self._previous = self._factory.GetMRMLApplicationLogic()
        self._factory.SetMRMLApplicationLogic(self._logic)
        self._added = [name for name in self._names if not self._factory.IsDisplayableManagerRegistered(name)]
        for name in self._added:
            self._factory.RegisterDisplayableManager(name)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(self._factory, self._renderer)
        return self._group

    def __exit__(self, *_):
        self._group.SetMRMLDisplayableNode(None)
        for name in self._added:
            self._factory.UnRegisterDisplayableManager(name)
        self._factory.SetMRMLApplicationLogic(self._previous)


def _window_and_renderer(size):
    import vtk

    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(8)
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()  # the managers ask the window for one
    interactor.SetRenderWindow(window)
    return window, renderer


def blank_picture(size: tuple[int, int], color, decorate) -> np.ndarray:
    """An RGB picture (height, width, 3) of one color with what ``decorate(renderer)`` adds."""
    window, renderer = _window_and_renderer(size)
    renderer.SetBackground(*color)
    decorate(renderer)
    return _capture(window)


def _image_actor(renderer):
    """Draws what a slice logic blends, as Slicer's slice views do. Returns the mapper that wants its image."""
    import vtk

    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddViewProp(actor)
    return mapper


def _shade(renderer, size):
    """Darken the upper and the lower edge, so that white text and the ruler can be read on a bright image."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    width, height = size
    band = 0.1 * height
    rows = ((0, 150), (band, 0), (height - band, 0), (height, 150))  # height in pixels, opacity
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    for y, _ in rows:
        points.InsertNextPoint(0, y, 0)
        points.InsertNextPoint(width, y, 0)
    for first in (0, 4):
        cells.InsertNextCell(4, [first, first + 1, first + 3, first + 2])
    colors = np.array([[0, 0, 0, opacity] for _, opacity in rows for _ in range(2)], np.uint8)
    data = vtk.vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    data.GetPointData().SetScalars(numpy_to_vtk(colors, deep=True))
    mapper = vtk.vtkPolyDataMapper2D()
    mapper.SetInputData(data)
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    renderer.AddViewProp(actor)


def _capture(window) -> np.ndarray:
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    width, height, _ = grab.GetOutput().GetDimensions()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)
    return pixels[::-1, :, :3].copy()


def gray_range(array: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """The intensities that are shown black and white.

    In Hounsfield units (something as empty as air), one of the usual windows of CT, chosen by what the segments are
    made of; else percentiles of the voxels. ``array`` and ``inside`` (the voxels of all segments): (K, J, I).
    """
    finite = array[np.isfinite(array)]
    low, high = np.percentile(finite, PERCENTILES) if finite.size else (0.0, 1.0)
    if -1100 <= low <= -900:
        segmented = array[inside & np.isfinite(array)]
        density = np.median(segmented) if segmented.size else 40
        return next(window for limit, window in CT_WINDOWS if density < limit)
    return float(low), float(high if high > low else low + 1)


def _world_points(labelMap: LabelMap, volumeNode) -> list[np.ndarray]:
    """World positions (N, 3) of the voxels of every segment that has some; of the volume's corners if none has."""
    from MedSegAICore.mrml_images import transformed

    points = [labelMap.grid.ijk_to_ras_points(np.argwhere(labelMap.mask(label))[:, ::-1]) for label in labelMap.labels]
    points = [p for p in points if len(p)] or [labelMap.grid.corners_ras()]
    parent = volumeNode.GetParentTransformNode()
    if parent is None:
        return points
    import vtk

    world = vtk.vtkGeneralTransform()
    parent.GetTransformToWorld(world)
    return [transformed(p, world) for p in points]


def _fullest_place(points: list[np.ndarray]) -> np.ndarray:
    """R, A and S of the three slices that show most of all segments; the square root favors slices with several."""
    center = np.zeros(3)
    for axis in range(3):
        low = min(p[:, axis].min() for p in points)
        high = max(p[:, axis].max() for p in points)
        edges = np.linspace(low - 0.5, high + 0.5, int(high - low) + 2)
        seen = sum(np.sqrt(np.histogram(p[:, axis], edges)[0]) for p in points)
        best = int(seen.argmax())
        center[axis] = (edges[best] + edges[best + 1]) / 2
    return center


def _extent(points: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    along = points @ axes.T
    return along.min(axis=0), along.max(axis=0)


def _look_at(camera, points: np.ndarray, size):
    """Let the points fill most of the view, seen along their thinnest direction that is not up and down."""
    _, axes = np.linalg.eigh(np.cov((points - points.mean(axis=0)).T) + 1e-6 * np.eye(3))
    thinnest, next_thinnest = (axes[:, n] * (1 if axes[:, n] @ FRONT >= 0 else -1) for n in (0, 1))
    if abs(thinnest[2]) > 0.85:
        thinnest, next_thinnest = next_thinnest, thinnest
    back = thinnest + 0.4 * next_thinnest
    back /= np.linalg.norm(back)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    low, high = _extent(points, np.array([right, np.cross(back, right), back]))
    middle, half = (low + high) / 2, (high - low) / 2 + 1  # a millimeter for the voxels' own size
    distance = max(half[0] * size[1] / size[0], half[1]) / np.tan(np.radians(camera.GetViewAngle() / 2))
    focus = middle @ np.array([right, np.cross(back, right), back])
    camera.SetFocalPoint(*focus)
    camera.SetPosition(*(focus + (0.6 * half[2] + 1.12 * distance) * back))
    camera.SetViewUp(0, 0, 1)
