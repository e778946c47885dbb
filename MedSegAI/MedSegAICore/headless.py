"""Make a plain Python process look like 3D Slicer to logic code: scene, module logics, readers (PyPI slicer-core).

>>> from MedSegAICore import headless
>>> slicer = headless.start()
>>> volume = slicer.util.loadVolume("brain.nii.gz")

What needs Qt (module panels, layouts, DICOM database, Segment Editor effects) is not there; everything on nodes is.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from MedSegAICore.errors import DependencyError

# Slicer's name of the module: the class that is its logic. Colors comes with the application logic.
MODULE_LOGICS = {
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Reformat": "vtkSlicerReformatLogic",
    "SceneViews": "vtkSlicerSceneViewsModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Volumes": "vtkSlicerVolumesLogic",
}

# The Terminologies logic logs six errors if its share folder lacks these files, so it is given empty lists.
_CATEGORIES = {
    "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#",
    "SegmentationCategoryTypeContextName": "empty",
    "SegmentationCodes": {"Category": []},
}
_REGIONS = {
    "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/anatomic-context-schema.json#",
    "AnatomicContextName": "empty",
    "AnatomicCodes": {"AnatomicRegion": []},
}
_TERMINOLOGIES = {
    "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy": _CATEGORIES,
    "SegmentationCategoryTypeModifier-DICOM-Master": _CATEGORIES,
    "AnatomicRegionAndModifier-DICOM-Master": _REGIONS,
}


def start() -> Any:
    """Return the ``slicer`` package with a scene, an application and modules; start them if that is still to be done.

    In the Slicer application (or where another program has set up a scene) nothing is touched. Calling it again is
    free. To begin with an empty scene, call ``slicer.mrmlScene.Clear(0)``.

    Raises DependencyError if slicer-core is not installed.
    """
    try:
        import slicer
    except ImportError as error:
        raise DependencyError(_MISSING) from error
    if getattr(slicer, "mrmlScene", None) is not None and hasattr(slicer, "app"):
        return slicer
    if not hasattr(slicer, "vtkMRMLScene") or not hasattr(slicer, "vtkSlicerSegmentationsModuleLogic"):
        raise DependencyError(_MISSING)
    _choose_render_window()
    _start_application(slicer)
    return slicer


_MISSING = (
    "Working on Slicer nodes outside the Slicer application needs the package slicer-core, which is not installed "
    'here. Install it with: pip install "medsegai[headless]"'
)


def _choose_render_window():
    """Without a display, draw by EGL at once: trying X11 first only prints an error line."""
    if os.name == "posix" and os.uname().sysname == "Linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def _start_application(slicer):
    import vtk

    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.SetSliceLogics(vtk.vtkCollection())
    application_logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

    temporary = Path(tempfile.mkdtemp(prefix="medsegai-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    _write_share_folder(temporary / "share")

    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace()
    slicer.app = Application(application_logic, scene, str(temporary))
    color_logic = application_logic.GetColorLogic()  # volumes get no color node unless it is registered
    _add_module(slicer, "Colors", color_logic)
    scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # in Slicer its Colors module does this
    for name, class_name in MODULE_LOGICS.items():
        logic_class = getattr(slicer, class_name, None)
        if logic_class is not None:  # the set of wheels' modules changes between versions
            logic = logic_class()
            if hasattr(logic, "SetModuleShareDirectory"):
                logic.SetModuleShareDirectory(str(temporary / "share" / name))
            _add_module(slicer, name, logic)
    _add_remote_io(slicer, temporary)
    slicer.app.subjectHierarchyItems = _SubjectHierarchyItems(slicer, scene)


def _add_module(slicer, name: str, logic):
    logic.SetMRMLScene(slicer.mrmlScene)
    if hasattr(logic, "SetMRMLApplicationLogic"):
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        slicer.app.applicationLogic().SetModuleLogic(name, logic)
    setattr(slicer.modules, name.lower(), Module(name, logic))


def _add_remote_io(slicer, temporary: Path):
    """Scene bundles (.mrb) are read through the data IO manager."""
    cache = temporary / "cache"
    cache.mkdir()
    (cache / ".slicer-cache").touch()  # marks a folder that the cache manager may clear; it warns if there is none
    logic = slicer.vtkMRMLRemoteIOLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    logic.GetCacheManager().SetRemoteCacheDirectory(str(cache))
    logic.AddDataIOToScene()
    slicer.modules.remoteio = Module("RemoteIO", logic)


def _write_share_folder(share: Path):
    folder = share / "Terminologies"
    folder.mkdir(parents=True)
    for name, content in _TERMINOLOGIES.items():
        (folder / f"{name}.term.json").write_text(json.dumps(content), encoding="utf-8")


@dataclass(frozen=True)
class Module:
    """What ``slicer.modules.volumes`` and its like offer here: a name and a logic."""

    name: str
    _logic: Any
    path: str = ""

    def logic(self):
        return self._logic

    def widgetRepresentation(self):
        return None


class Application:
    """The part of ``slicer.app`` that logic code and slicer.util need. There is no window and no event loop."""

    applicationName = "slicer-core"

    def __init__(self, application_logic, scene, temporaryPath: str):
        self._logic, self._scene, self.temporaryPath = application_logic, scene, temporaryPath
        self._io = CoreIOManager()
        self._modules = ModuleManager()

    @property
    def applicationVersion(self) -> str:
        from importlib.metadata import version

        return version("slicer-core")

    def applicationLogic(self):
        return self._logic

    def mrmlScene(self):
        return self._scene

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def moduleManager(self):
        return self._modules

    def layoutManager(self):
        return None

    def processEvents(self, *_):
        pass

    def pauseRender(self):
        pass

    resumeRender = pauseRender

    def testingEnabled(self) -> bool:
        """True: slicer.util then raises or logs where it would open a dialog, which nobody could answer here."""
        return True


class ModuleManager:
    """``slicer.util.getModule(name)`` and ``moduleNames()`` on ``slicer.modules``."""

    def module(self, name: str):
        import slicer

        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        import slicer

        return [module.name for module in vars(slicer.modules).values() if hasattr(module, "name")]

    loadedModuleNames = modulesNames

    def factoryManager(self):
        return self


class _SubjectHierarchyItems:
    """Gives nodes that people see an item in the subject hierarchy, as Slicer's Qt plugins do in the application."""

    def __init__(self, slicer, scene):
        import vtk

        self._slicer, self._scene = slicer, scene
        added, removed = self._on_added, self._on_removed
        added.__func__.CallDataType = removed.__func__.CallDataType = vtk.VTK_OBJECT
        self._tags = (
            scene.AddObserver(scene.NodeAddedEvent, added),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed),
        )

    def _hierarchy(self):
        return self._slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    def _on_added(self, _caller, _event, node):
        shown = node.IsA("vtkMRMLDisplayableNode") or node.IsA("vtkMRMLTableNode") or node.IsA("vtkMRMLTextNode")
        if not shown or node.GetHideFromEditors() or self._scene.IsImporting():
            return
        hierarchy = self._hierarchy()
        if hierarchy and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    def _on_removed(self, _caller, _event, node):
        if node.IsA("vtkMRMLSubjectHierarchyNode") or self._scene.IsClosing():
            return
        hierarchy = self._hierarchy()
        item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
        if item:
            hierarchy.RemoveItem(item, False, False)


def _volume(logics, path: str, properties: dict, messages):
    options = logics.volumes.logic()
    flags = {
        "labelmap": options.LabelMap,
        "center": options.CenterImage,
        "singleFile": options.SingleFile,
        "autoWindowLevel": options.AutoWindowLevel,
        "discardOrientation": options.DiscardOrientation,
    }
    chosen = sum(bit for name, bit in flags.items() if properties.get(name, name == "autoWindowLevel"))
    names = properties.get("fileNames")
    files = None
    if names:
        import vtk

        files = vtk.vtkStringArray()
        for name in names:
            files.InsertNextValue(str(name))
    return options.AddArchetypeVolume(path, _node_name(path, properties), chosen, files, messages)


def _segmentation(logics, path: str, properties: dict, messages):
    scene = logics.segmentations.logic().GetMRMLScene()
    colors = scene.GetNodeByID(properties["colorNodeID"]) if properties.get("colorNodeID") else None
    automatic = properties.get("autoOpacities", True)
    return logics.segmentations.logic().LoadSegmentationFromFile(
        path, automatic, _node_name(path, properties), colors, messages
    )


def _node_name(path: str, properties: dict) -> str:
    return properties.get("name") or re.split(r"\.(?:seg\.)?[A-Za-z0-9]+(?:\.gz)?$", os.path.basename(path))[0]


# file type of slicer.util.load*: (pattern of the file name, reader on Slicer's own module logic). First match wins.
_READERS: dict[str, tuple[str, Callable | None]] = {
    "SceneFile": (r"\.(mrml|mrb)$", None),
    "SegmentationFile": (r"\.seg\.n(rrd|hdr)$", _segmentation),
    "ModelFile": (r"\.(vtk|vtp|stl|obj|ply)$", lambda m, path, p, msg: m.models.logic().AddModel(path)),
    "TableFile": (r"\.(tsv|csv)$", lambda m, path, p, msg: m.tables.logic().AddTable(path, _node_name(path, p))),
    "TransformFile": (
        r"\.(h5|tfm)$",
        lambda m, path, p, msg: m.transforms.logic().AddTransform(path, m.transforms.logic().GetMRMLScene()),
    ),
    "MarkupsFile": (r"\.mrk\.json$", lambda m, path, p, msg: _by_id(m, m.markups.logic().LoadMarkups(path))),
    "ColorTableFile": (r"\.ctbl$", lambda m, path, p, msg: m.colors.logic().LoadColorFile(path, _node_name(path, p))),
    "TextFile": (r"\.(txt|json|xml)$", lambda m, path, p, msg: m.texts.logic().AddText(path)),
    "VolumeFile": (r"", _volume),
}


def _by_id(modules, node_id: str | None):
    return modules.markups.logic().GetMRMLScene().GetNodeByID(node_id) if node_id else None


class CoreIOManager:
    """What ``slicer.util.load*`` and ``save*`` ask of Slicer's IO manager, on the real readers and storage nodes."""

    def fileType(self, path) -> str:
        name = str(path).lower()
        return next(kind for kind, (pattern, _) in _READERS.items() if re.search(pattern, name))

    def fileWriterFileType(self, node, fileFormat: str = "") -> str:
        return node.GetClassName()

    def loadNodes(self, fileType: str, properties: dict, loadedNodes, messages=None) -> bool:
        import slicer
        import vtk

        # slicer.util passes one and the same default dictionary every time: what is left in it would apply to the
        # next file.
        wanted = dict(properties)
        properties.clear()
        path = os.path.abspath(wanted["fileName"])
        if not os.path.exists(path):
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"There is no file {path}.")
            return False
        if fileType == "SceneFile":
            return self._load_scene(slicer.mrmlScene, path, bool(wanted.get("clear", False)))
        if fileType not in _READERS:
            raise NotImplementedError(f"Files of type {fileType!r} cannot be loaded outside the Slicer application.")
        node = _READERS[fileType][1](slicer.modules, path, wanted, messages)
        if node and loadedNodes is not None:
            loadedNodes.AddItem(node)
        return bool(node)

    @staticmethod
    def _load_scene(scene, path: str, clear: bool) -> bool:
        if path.lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def saveNodes(self, fileType: str, properties: dict, messages=None) -> bool:
        import slicer

        wanted = dict(properties)
        properties.clear()
        path = os.path.abspath(wanted["fileName"])
        if fileType == "SceneFile":
            return self._save_scene(slicer.mrmlScene, path)
        node = slicer.mrmlScene.GetNodeByID(wanted["nodeID"])
        storage = node.GetStorageNode()
        if storage is None or not storage.GetSupportedWriteFileExtension(path):
            node.SetAndObserveStorageNodeID(None)
            node.AddDefaultStorageNode(path)
            storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(int(wanted.get("useCompression", True)))
        return bool(storage.WriteData(node))

    @staticmethod
    def _save_scene(scene, path: str) -> bool:
        scene.SetURL(path)
        scene.SetRootDirectory(os.path.dirname(path))
        return bool(scene.WriteToMRB(path) if path.lower().endswith(".mrb") else scene.Commit())
