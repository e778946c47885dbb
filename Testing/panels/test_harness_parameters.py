"""The stand-in for Slicer's parameterNodeWrapper behaves as Slicer's.

With SLICER_PYTHON_DIR set, the same tests run on Slicer's own: that they pass on both is what they are for.
"""

import enum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest


@pytest.fixture(autouse=True)
def _harness(medsegai):
    """The harness is installed."""


@pytest.fixture
def node():
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


class Quality(enum.Enum):
    FAST = 1
    BEST = 2


@pytest.fixture
def wrapper_class():
    """A function that makes a wrapper class of type hints and defaults."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    def make(hints: dict, **defaults):
        return parameterNodeWrapper(type("Choices", (), {"__annotations__": hints, **defaults}))

    return make


def texts(node) -> dict[str, str]:
    """What the node keeps."""
    return {name: node.GetParameter(name) for name in node.GetParameterNames()}


# ---- values --------------------------------------------------------------------------------------------------------


def test_defaults_are_written_when_the_wrapper_is_made(wrapper_class, node):
    from slicer import vtkMRMLScalarVolumeNode
    from slicer.parameterNodeWrapper import Default

    hints = {
        "volume": vtkMRMLScalarVolumeNode, "model": str, "tiles": int, "overlap": Annotated[float, Default(0.5)],
        "strict": bool, "folder": Path, "quality": Quality, "names": list[str], "limit": int | None,
    }  # fmt: skip
    choices = wrapper_class(hints, model="hippocampus", strict=True)(node)
    assert choices.volume is None
    assert (choices.model, choices.tiles, choices.overlap, choices.strict) == ("hippocampus", 0, 0.5, True)
    assert (choices.folder, choices.quality, list(choices.names), choices.limit) == (Path(), Quality.FAST, [], None)
    assert texts(node) == {
        "volume": "", "model": "hippocampus", "tiles": "0", "overlap": "0.5", "strict": "True", "folder": ".",
        "quality": "FAST", "names.len": "0", "limit.1": "True",
    }  # fmt: skip


def test_values_are_kept_as_slicer_keeps_them(wrapper_class, node):
    import slicer

    hints = {
        "volume": slicer.vtkMRMLScalarVolumeNode, "overlap": float, "strict": bool, "folder": Path, "quality": Quality,
        "names": list[str], "limit": int | None, "size": tuple[int, int],
    }  # fmt: skip
    choices = wrapper_class(hints, size=(1, 2))(node)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    choices.volume, choices.overlap, choices.strict, choices.folder = volume, 0.1, True, Path("/data/models")
    choices.quality, choices.names, choices.limit, choices.size = Quality.BEST, ["a", "b"], 5, (3, 4)
    assert texts(node) == {
        "volume": "", "overlap": "0.1", "strict": "True", "folder": str(Path("/data/models")), "quality": "BEST",
        "names.len": "2", "names.0": "a", "names.1": "b", "limit.0": "5", "size.0": "3", "size.1": "4",
    }  # fmt: skip
    assert node.GetNodeReference("volume") is volume
    again = wrapper_class(hints, size=(1, 2))(node)
    assert (again.volume, again.overlap, again.folder, again.limit) == (volume, 0.1, Path("/data/models"), 5)
    assert (again.quality, again.names, again.size) == (Quality.BEST, ["a", "b"], (3, 4))


def test_lists_write_through(wrapper_class, node):
    choices = wrapper_class({"names": list[str]})(node)
    choices.names.append("a")
    choices.names += ["b", "c"]
    choices.names[0] = "x"
    del choices.names[1]
    choices.names.sort(reverse=True)
    assert texts(node) == {"names.len": "2", "names.0": "x", "names.1": "c"}
    choices.names.clear()
    assert texts(node) == {"names.len": "0"}


def test_lists_of_nodes_keep_references(wrapper_class, node):
    import slicer

    choices = wrapper_class({"volumes": list[slicer.vtkMRMLScalarVolumeNode]})(node)
    volumes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(2)]
    choices.volumes = volumes
    assert list(choices.volumes) == volumes
    assert node.GetNodeReference("volumes.1") is volumes[1]
    with pytest.raises(TypeError):
        choices.volumes = [node]
    assert list(choices.volumes) == volumes


def test_a_union_of_nodes_takes_each(wrapper_class, node):
    import slicer

    hint = slicer.vtkMRMLSegmentationNode | slicer.vtkMRMLLabelMapVolumeNode | None
    choices = wrapper_class({"reference": hint})(node)
    for class_name in ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"):
        choices.reference = slicer.mrmlScene.AddNewNodeByClass(class_name)
        assert choices.reference.GetClassName() == class_name
    choices.reference = None
    assert choices.reference is None
    with pytest.raises((TypeError, ValueError)):
        choices.reference = node


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [(int, 1.5, TypeError), (int, None, ValueError), (float, "1", TypeError), (str, 1, TypeError),
     (str, None, ValueError), (bool, 1, TypeError), (Path, "x", TypeError), (Quality, "FAST", TypeError),
     (list[str], [1], TypeError)],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(wrapper_class, node, kind, value, error):
    choices = wrapper_class({"parameter": kind})(node)
    before = texts(node)
    with pytest.raises(error):
        choices.parameter = value
    assert texts(node) == before


def test_a_whole_number_is_taken_for_a_real_one(wrapper_class, node):
    choices = wrapper_class({"overlap": float})(node)
    choices.overlap = 1
    assert choices.overlap == 1.0
    assert node.GetParameter("overlap") == "1"


def test_validators_refuse_values(wrapper_class, node):
    from slicer.parameterNodeWrapper import Choice, Exclude, Maximum, Minimum, WithinRange

    hints = {
        "device": Annotated[str, Choice(["auto", "cpu"])], "percent": Annotated[float, WithinRange(0, 100)],
        "tiles": Annotated[int, Minimum(1)], "folds": Annotated[int, Maximum(5)],
        "name": Annotated[str, Exclude(["x"])],
    }  # fmt: skip
    choices = wrapper_class(hints, device="auto", tiles=1)(node)
    wrong = {"device": "gpu", "percent": 101, "tiles": 0, "folds": 6, "name": "x"}
    for name, value in wrong.items():
        with pytest.raises(ValueError):
            setattr(choices, name, value)


def test_a_default_that_is_no_choice_is_refused(wrapper_class, node):
    from slicer.parameterNodeWrapper import Choice

    without_default = wrapper_class({"device": Annotated[str, Choice(["auto", "cpu"])]})
    with pytest.raises(ValueError):
        without_default(node)


def test_reserved_names_and_unknown_types_are_refused(wrapper_class):
    with pytest.raises(ValueError):
        wrapper_class({"connectGui": bool})
    with pytest.raises(Exception, match="size"):
        wrapper_class({"size": complex})


def test_values_are_found_by_name(wrapper_class, node):
    choices = wrapper_class({"tiles": int}, tiles=3)(node)
    choices.setValue("tiles", 4)
    assert choices.getValue("tiles") == 4
    assert choices.default("tiles").value == 3
    assert choices.dataType("tiles") is int
    assert choices.isCached("tiles")
    assert set(choices.allParameters) == {"tiles"}
    with pytest.raises(ValueError):
        choices.getValue("tile")


def test_a_change_is_seen_by_observers_once_and_by_other_wrappers(wrapper_class, node):
    import vtk

    cls, calls = wrapper_class({"tiles": int, "limit": int | None}), []
    choices, other = cls(node), cls(node)
    tag = choices.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: calls.append((choices.tiles, other.tiles)))
    choices.tiles = 7
    choices.limit = 2
    assert calls == [(7, 7), (7, 7)]
    node.SetParameter("tiles", "8")
    assert choices.tiles == 8
    choices.RemoveObserver(tag)
    choices.tiles = 9
    assert len(calls) == 3


def test_a_removed_node_is_no_longer_the_value(wrapper_class, node):
    import slicer

    choices = wrapper_class({"volume": slicer.vtkMRMLScalarVolumeNode})(node)
    choices.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.mrmlScene.RemoveNode(choices.volume)
    assert choices.volume is None


def test_a_wrapper_lets_go_of_the_node(wrapper_class, node):
    import gc

    import vtk

    choices = wrapper_class({"tiles": int})(node)
    assert node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    del choices
    gc.collect()
    assert not node.HasObserver(vtk.vtkCommand.ModifiedEvent)


# ---- widgets -------------------------------------------------------------------------------------------------------


def bound(class_name: str, parameter: str, **properties):
    """A widget that is bound to a parameter, as in a .ui file."""
    import ctk
    import qt
    import slicer

    cls = next(getattr(one, class_name) for one in (qt, ctk, slicer) if hasattr(one, class_name))
    widget = cls()
    widget.setProperty("SlicerParameterName", parameter)
    for name, value in properties.items():
        setattr(widget, name, value)
    return widget


@pytest.fixture
def gui_of():
    """A function that makes a namespace of widgets, as slicer.util.childWidgetVariables gives it."""
    return lambda **widgets: SimpleNamespace(**widgets)


def test_widgets_and_parameters_follow_each_other(wrapper_class, node, gui_of):
    from slicer.parameterNodeWrapper import Choice, WithinRange

    hints = {
        "strict": bool, "device": Annotated[str, Choice(["auto", "cpu"])], "name": str, "tiles": int, "note": str,
        "overlap": Annotated[float, WithinRange(0, 1)], "quality": Quality, "folder": Path, "mirror": bool,
    }  # fmt: skip
    choices = wrapper_class(hints, device="cpu", name="a")(node)
    gui = gui_of(
        strict=bound("QCheckBox", "strict"), device=bound("QComboBox", "device"), name=bound("QLineEdit", "name"),
        tiles=bound("QSpinBox", "tiles"), overlap=bound("ctkSliderWidget", "overlap"), note=bound("QTextEdit", "note"),
        quality=bound("QComboBox", "quality"), folder=bound("ctkPathLineEdit", "folder"),
        mirror=bound("QPushButton", "mirror", checkable=True),
    )  # fmt: skip
    tag = choices.connectGui(gui)
    assert (gui.device.currentText, gui.name.text, gui.strict.checked) == ("cpu", "a", False)
    assert (gui.overlap.minimum, gui.overlap.maximum) == (0, 1)
    gui.strict.checked = True
    gui.device.setCurrentIndex(0)
    gui.name.text, gui.tiles.value, gui.overlap.value = "b", 4, 0.25
    gui.note.setPlainText("x")
    gui.quality.setCurrentIndex(1)
    gui.folder.currentPath = "/data"
    gui.mirror.click()
    expected = [True, "auto", "b", 4, 0.25, "x", Quality.BEST, Path("/data"), True]
    names = ["strict", "device", "name", "tiles", "overlap", "note", "quality", "folder", "mirror"]
    assert [choices.getValue(name) for name in names] == expected
    choices.strict, choices.device, choices.quality = False, "cpu", Quality.FAST
    assert (gui.strict.checked, gui.device.currentIndex, gui.quality.currentIndex) == (False, 1, 0)
    choices.disconnectGui(tag)
    gui.strict.checked = True
    choices.tiles = 9
    assert not choices.strict
    assert gui.tiles.value == 4


def test_a_node_selector_gets_the_types_of_its_parameter(wrapper_class, node, gui_of):
    import slicer

    selector = bound("qMRMLNodeComboBox", "volume", noneEnabled=True)
    selector.setMRMLScene(slicer.mrmlScene)
    choices = wrapper_class({"volume": slicer.vtkMRMLScalarVolumeNode})(node)
    choices.connectGui(gui_of(selector=selector))
    assert tuple(selector.nodeTypes) == ("vtkMRMLScalarVolumeNode",)
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    selector.setCurrentNode(volume)
    assert choices.volume is volume
    choices.volume = None
    assert selector.currentNode() is None
    selector.setMRMLScene(None)


def test_two_guis_show_the_same_parameter(wrapper_class, node, gui_of):
    choices = wrapper_class({"strict": bool})(node)
    first, second = gui_of(box=bound("QCheckBox", "strict")), gui_of(box=bound("QCheckBox", "strict"))
    tags = [choices.connectGui(first), choices.connectGui(second)]
    assert tags[0] != tags[1]
    first.box.checked = True
    assert second.box.checked
    assert choices.strict
    choices.disconnectGui(tags[0])
    second.box.checked = False
    assert first.box.checked
    assert not choices.strict


def test_a_widget_and_its_children_are_a_gui(wrapper_class, node):
    import qt

    frame = qt.QFrame()
    layout = qt.QVBoxLayout(frame)
    box = bound("QCheckBox", "strict")
    layout.addWidget(box)
    choices = wrapper_class({"strict": bool}, strict=True)(node)
    choices.connectGui(frame)
    assert box.checked


@pytest.mark.parametrize(
    ("class_name", "kind"),
    [("QToolButton", bool), ("QGroupBox", bool), ("QRadioButton", bool), ("QPlainTextEdit", str), ("QSpinBox", float),
     ("QSlider", float), ("QSlider", int), ("ctkSliderWidget", float), ("QComboBox", str), ("QLineEdit", int),
     ("QLineEdit", Path), ("QCheckBox", str)],
)  # fmt: skip
def test_a_widget_that_slicer_cannot_bind_is_refused(wrapper_class, node, gui_of, class_name, kind):
    choices = wrapper_class({"parameter": kind})(node)
    with pytest.raises(RuntimeError):
        choices.connectGui(gui_of(widget=bound(class_name, "parameter")))


def test_a_subclass_of_a_widget_is_refused_as_in_slicer(wrapper_class, node, gui_of):
    import qt

    class Box(qt.QCheckBox):
        pass

    box = Box()
    box.setProperty("SlicerParameterName", "strict")
    with pytest.raises(RuntimeError):
        wrapper_class({"strict": bool})(node).connectGui(gui_of(box=box))


def test_an_unknown_parameter_of_a_widget_is_refused(wrapper_class, node, gui_of):
    with pytest.raises(ValueError):
        wrapper_class({"strict": bool})(node).connectGui(gui_of(box=bound("QCheckBox", "strikt")))
