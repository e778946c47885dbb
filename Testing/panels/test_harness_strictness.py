"""The harness refuses what PythonQt refuses: attributes, signals, arguments, and names of one version of Qt."""

from __future__ import annotations

import functools

import pytest


@pytest.fixture(autouse=True)
def _harness(medsegai):
    """The harness is installed."""


@pytest.fixture
def qt():
    import qt

    return qt


def failures() -> list:
    """The kinds of exception that the harness has caught; they are forgotten."""
    from harness import application

    kinds = [type(error) for error in application.failures]
    application.failures.clear()
    return kinds


# ---- attributes ----------------------------------------------------------------------------------------------------


def test_a_property_is_an_attribute_and_not_a_method(qt):
    button = qt.QPushButton("Apply")
    button.text, button.enabled = "Run", False
    assert button.text == "Run"
    assert not button.isEnabled()
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    button.objectName = "run"
    assert button.objectName == button.name == "run"


@pytest.mark.parametrize("name", ["tooltip", "enable", "_own"])
def test_an_attribute_that_a_widget_lacks_cannot_be_set(qt, name):
    with pytest.raises(AttributeError, match=name):
        setattr(qt.QPushButton(), name, "x")


def test_an_attribute_that_a_widget_made_by_qt_lacks_cannot_be_set(qt):
    table, box = qt.QTableWidget(1, 1), qt.QDialogButtonBox(qt.QDialogButtonBox.Ok)
    with pytest.raises(AttributeError, match="stretch"):
        table.horizontalHeader().stretch = True
    with pytest.raises(AttributeError, match="lable"):
        box.button(qt.QDialogButtonBox.Ok).lable = "x"
    table.horizontalHeader().stretchLastSection = True
    assert table.horizontalHeader().stretchLastSection


def test_a_method_or_signal_cannot_be_overwritten(qt):
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="clicked"):
        button.clicked = print
    with pytest.raises(AttributeError, match="setText"):
        button.setText = "x"


def test_a_property_cannot_get_a_value_of_another_kind(qt):
    with pytest.raises(AttributeError, match="minimum"):
        qt.QSpinBox().minimum = "many"


def test_a_class_of_python_has_its_own_attributes(qt):
    class Panel(qt.QWidget):
        def __init__(self):
            qt.QWidget.__init__(self)
            self.runs = 1

    panel = Panel()
    panel.runs += 1
    panel.visible = False
    assert panel.runs == 2


def test_children_and_dynamic_properties_are_attributes(qt):
    frame = qt.QFrame()
    label = qt.QLabel("x", frame)
    label.name = "resultLabel"
    label.setProperty("SlicerParameterName", "result")
    assert frame.resultLabel is label
    assert label.SlicerParameterName == "result"
    with pytest.raises(AttributeError, match="otherLabel"):
        frame.otherLabel  # noqa: B018


def test_a_list_of_texts_is_a_tuple_as_in_pythonqt(qt):
    browser = qt.QTextBrowser()
    browser.setSearchPaths(["a", "b"])
    assert browser.searchPaths == ("a", "b")


def test_arguments_by_name_are_refused(qt):
    with pytest.raises(TypeError, match="by name"):
        qt.QPushButton(text="Apply")


@pytest.mark.parametrize(
    "name", ["Signal", "Slot", "Property", "QRegExp", "QDesktopWidget", "QStringDecoder", "SIGNAL"]
)
def test_names_of_one_qt_or_of_pyside_are_not_offered(qt, name):
    assert not hasattr(qt, name)


@pytest.mark.parametrize(
    "name",
    ["QShortcut", "QKeySequence", "QAction", "QTimer", "QSettings", "QFileDialog", "QDesktopServices", "QApplication",
     "QRegularExpression", "QSignalMapper", "QClipboard"],
)  # fmt: skip
def test_names_of_both_are_offered(qt, name):
    assert hasattr(qt, name)


def test_members_of_qt_6_are_not_offered(qt):
    with pytest.raises(AttributeError, match=r"Qt 5\.15"):
        qt.QCheckBox().checkStateChanged.connect(print)
    with pytest.raises(AttributeError, match=r"Qt 5\.15"):
        qt.QMouseEvent.position  # noqa: B018


def test_enums_are_integers(qt):
    assert qt.Qt.AlignLeft | qt.Qt.AlignTop == 0x21
    assert qt.QMessageBox.Yes == 0x4000
    assert {qt.Qt.Key_Z: "undo"}[0x5A] == "undo"


# ---- connections ---------------------------------------------------------------------------------------------------


def test_an_unknown_signal_is_refused(qt):
    button = qt.QPushButton()
    with pytest.raises(AttributeError):
        button.pushed.connect(print)
    with pytest.raises(AttributeError, match="pushed"):
        button.connect("pushed()", print)


def test_the_old_style_checks_the_types_of_the_arguments(qt):
    got, box = [], qt.QCheckBox()
    box.connect("toggled(bool)", got.append)
    box.checked = True
    assert got == [True]
    box.disconnect("toggled(bool)", got.append)
    box.checked = False
    assert got == [True]
    for wrong in ("toggled(int)", "toggled()"):
        with pytest.raises(AttributeError, match="no signal"):
            box.connect(wrong, got.append)


def test_the_old_style_knows_the_true_types_of_slicers_signals():
    import slicer

    selector, got = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    with pytest.raises(AttributeError, match=r"but .*currentNodeChanged\(vtkMRMLNode\*\)"):
        selector.connect("currentNodeChanged(QObject*)", got.append)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    selector.setCurrentNode(node)
    assert got[-1] is node
    selector.setMRMLScene(None)


def test_a_function_gets_the_arguments_that_it_takes(qt):
    got, button = [], qt.QPushButton()
    button.clicked.connect(lambda: got.append("none"))
    button.clicked.connect(lambda checked: got.append(checked))
    button.clicked.connect(lambda row=7: got.append(row))  # the trap: the button's state takes the place of the default
    button.clicked.connect(lambda *all: got.append(all))
    button.click()
    assert got == ["none", False, False, (False,)]


def test_a_partial_gets_all_arguments_as_in_pythonqt(qt):
    def show(row):
        return row

    button = qt.QPushButton()
    button.clicked.connect(functools.partial(show, 1))
    button.click()
    assert failures() == [TypeError]  # show(1, False)


def test_a_slot_with_too_many_arguments_fails(qt):
    button = qt.QPushButton()
    button.clicked.connect(lambda checked, more: None)
    button.click()
    assert failures() == [TypeError]


def test_what_cannot_be_called_is_refused(qt):
    with pytest.raises(TypeError, match="cannot be called"):
        qt.QPushButton().clicked.connect(None)


def test_a_method_is_disconnected_again(qt):
    class Section:
        clicks = 0

        def onClick(self, checked=False):
            self.clicks += 1

    section, button = Section(), qt.QPushButton()
    button.clicked.connect(section.onClick)
    button.click()
    button.clicked.disconnect(section.onClick)
    button.click()
    assert section.clicks == 1


def test_a_connection_keeps_the_object_of_its_slot_alive_as_in_pythonqt(qt):
    import gc
    import weakref

    class Section:
        def onClick(self):
            pass

    section, button = Section(), qt.QPushButton()
    reference = weakref.ref(section)
    button.clicked.connect(section.onClick)
    del section
    gc.collect()
    assert reference() is not None
    button.clicked.disconnect(reference().onClick)
    gc.collect()
    assert reference() is None


# ---- what Qt, VTK and Python swallow -------------------------------------------------------------------------------


def test_exceptions_of_timers_observers_threads_and_virtuals_are_caught(qt):
    import threading

    import vtk

    from harness import event_loop

    qt.QTimer.singleShot(0, lambda: 1 / 0)
    event_loop.run_for(0.02)
    assert failures() == [ZeroDivisionError]

    subject = vtk.vtkObject()
    subject.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: [][1])
    subject.Modified()
    assert failures() == [IndexError]

    def run():
        raise KeyError

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failures() == [KeyError]

    class Painted(qt.QWidget):
        def paintEvent(self, event):
            raise ValueError

    painted = Painted()
    painted.show()
    event_loop.run_for(0.05)
    assert set(failures()) == {ValueError}
    painted.close()


def test_an_exception_of_an_event_filter_is_not_lost(qt):
    from harness import event_loop

    class Filter(qt.QObject):
        def eventFilter(self, watched, event):
            raise KeyError

    button, one = qt.QPushButton(), Filter()
    button.installEventFilter(one)
    try:  # PySide6 raises it in the next call of Python into Qt
        button.show()
        event_loop.run_for(0.02)
        raised = []
    except KeyError:
        raised = [KeyError]
    button.removeEventFilter(one)
    button.close()
    assert KeyError in failures() + raised


def test_no_panel_calls_what_is_an_attribute_in_pythonqt():
    """These have to stay methods in the harness, so only the source tells."""
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    sources = list(root.glob("MedSegAI*/MedSegAI*/panels/*.py"))
    assert len(sources) > 5
    wrong = [path.name for path in sources for name in ("sizeHint()", "minimumSizeHint()") if name in path.read_text()]
    assert not wrong


def test_an_exception_of_a_destructor_is_caught():
    class Broken:
        def __del__(self):
            raise OSError

    Broken()
    assert failures() == [OSError]


# ---- .ui files -----------------------------------------------------------------------------------------------------

UI = """<ui version="4.0"><class>X</class><widget class="qMRMLWidget" name="X"><layout class="QVBoxLayout">
<item><widget class="qMRMLNodeComboBox" name="selector">
<property name="{property}"><bool>true</bool></property></widget>
</item></layout></widget><connections><connection><sender>X</sender><signal>{signal}</signal>
<receiver>selector</receiver><slot>{slot}</slot></connection></connections></ui>"""
GOOD = {
    "property": "noneEnabled", "signal": "mrmlSceneChanged(vtkMRMLScene*)", "slot": "setMRMLScene(vtkMRMLScene*)",
}  # fmt: skip


def test_connections_of_a_ui_file_are_made(tmp_path):
    import slicer

    path = tmp_path / "x.ui"
    path.write_text(UI.format(**GOOD))
    widget = slicer.util.loadUI(str(path))
    widget.setMRMLScene(slicer.mrmlScene)
    assert widget.selector.mrmlScene() is slicer.mrmlScene
    assert widget.selector.noneEnabled
    widget.setMRMLScene(None)


@pytest.mark.parametrize(
    ("part", "wrong"),
    [("property", "noneEnable"), ("signal", "sceneChanged(vtkMRMLScene*)"), ("signal", "mrmlSceneChanged(QObject*)"),
     ("slot", "setScene(vtkMRMLScene*)")],
)  # fmt: skip
def test_a_mistake_in_a_ui_file_is_refused(tmp_path, part, wrong):
    import slicer

    path = tmp_path / "x.ui"
    path.write_text(UI.format(**{**GOOD, part: wrong}))
    with pytest.raises((RuntimeError, AttributeError), match=wrong.split("(")[0]):
        slicer.util.loadUI(str(path))


# ---- stand-ins -----------------------------------------------------------------------------------------------------


def stand_ins() -> list[type]:
    import ctk
    import slicer

    classes = [*vars(ctk).values(), *vars(slicer).values()]
    return [cls for cls in classes if isinstance(cls, type) and cls.__module__.startswith("harness.")]


def test_a_stand_in_offers_nothing_that_the_real_class_hides():
    from harness import members

    invented = {cls.__name__: members.invented(cls) for cls in stand_ins() if members.is_known(cls.__name__)}
    assert len(invented) >= 4
    assert {name: names for name, names in invented.items() if names} == {}


def test_the_names_of_the_real_classes_are_those_of_the_headers():
    from harness import members

    assert "setSourceVolumeNode" in members.methods("qMRMLSegmentEditorWidget")
    assert "mrmlSceneChanged(vtkMRMLScene*)" in members.signals("qMRMLSegmentEditorWidget")  # inherited
    assert members.qt_base("qMRMLSliderWidget") == "QWidget"
    assert "setCollapsed" not in members.names("ctkCollapsibleButton")  # plain C++, hidden from Python
