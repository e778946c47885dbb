"""Which widgets the stand-in for ``slicer.parameterNodeWrapper`` can bind to which parameters: those of Slicer's."""

from __future__ import annotations

import enum
import pathlib
from dataclasses import dataclass

from harness.parameter_types import Choice, Maximum, Minimum, WithinRange, node_classes, split_annotations

_CHECK_BOXES = ("QCheckBox", "ctkCheckBox")
_PUSH_BUTTONS = ("QPushButton", "ctkCheckablePushButton")
_INTEGER = ("QSlider", "QSpinBox")
_REAL = (
    "QDoubleSpinBox",
    "ctkSliderWidget",
    "qMRMLSliderWidget",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "qMRMLSpinBox",
)
_MUST_BE_BOUNDED = ("QSlider", "ctkSliderWidget", "qMRMLSliderWidget")
_COMBO_BOXES = ("QComboBox", "ctkComboBox")


@dataclass
class Decimals:
    """Annotation of a parameter: the number of decimals of its spin box or slider."""

    value: int


@dataclass
class SingleStep:
    """Annotation of a parameter: the step of its spin box or slider."""

    value: float


class Binding:
    """One widget that shows one parameter and sets it."""

    def __init__(self, signal, read, write):
        self._signal, self.read, self.write, self._callback = signal, read, write, None

    def connect(self, callback):
        if self._signal is not None:
            self._callback = lambda *_: callback()
            self._signal.connect(self._callback)

    def disconnect(self):
        if self._callback is not None:
            self._signal.disconnect(self._callback)
            self._callback = None


def bind(widget, hint) -> Binding:
    """The binding of a widget and a parameter with this type hint. Raises RuntimeError if they do not fit."""
    kind, annotations = split_annotations(hint)
    name = type(widget).__name__
    if kind is bool and name in _CHECK_BOXES:
        return _attribute(widget, widget.stateChanged, "checked")
    if kind is bool and name in _PUSH_BUTTONS:
        widget.checkable = True
        return _attribute(widget, widget.toggled, "checked")
    if (kind is int and name in _INTEGER) or (kind in (int, float) and name in _REAL):
        _set_range(widget, kind, annotations)
        return _attribute(widget, widget.valueChanged, "value", kind if kind is int else None)
    if kind in (int, float, str, bool) and name in _COMBO_BOXES:
        return _choices(widget, annotations)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and name in _COMBO_BOXES:
        return _fill(widget, list(kind), getattr(kind, "label", lambda value: value.name))
    if kind is str and name in ("QLineEdit", "QLabel"):
        return _text(widget)
    if kind is str and name == "QTextEdit":
        return Binding(widget.textChanged, widget.toPlainText, widget.setPlainText)
    if kind is pathlib.Path and name == "ctkPathLineEdit":
        return _path(widget, widget.currentPathChanged, "currentPath")
    if kind is pathlib.Path and name == "ctkDirectoryButton":
        return _path(widget, widget.directoryChanged, "directory")
    if node_classes(hint) and name == "qMRMLNodeComboBox":
        widget.nodeTypes = [cls().GetClassName() for cls in node_classes(hint)]
        return Binding(widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Slicer cannot bind {name} {widget.property('objectName')} to a parameter of type {hint}")


def _attribute(widget, signal, name: str, kind=None) -> Binding:
    convert = kind or (lambda value: value)
    return Binding(signal, lambda: convert(getattr(widget, name)), lambda value: setattr(widget, name, convert(value)))


def _set_range(widget, kind, annotations):
    found = {type(one): one for one in annotations}
    is_real = type(widget).__name__ in _REAL
    if is_real and type(widget).__name__ != "ctkDoubleSlider":
        if kind is int:
            widget.decimals = 0
        elif Decimals in found:
            widget.decimals = found[Decimals].value
    if SingleStep in found:
        widget.singleStep = found[SingleStep].value
    lowest, highest = (float("-inf"), float("inf")) if is_real else (-(2**31), 2**31 - 1)
    if WithinRange in found:
        lowest, highest = found[WithinRange].minimum, found[WithinRange].maximum
    else:
        if type(widget).__name__ in _MUST_BE_BOUNDED and not {Minimum, Maximum} <= found.keys():
            raise RuntimeError(f"{widget.property('objectName')} needs a parameter with a range")
        lowest = found[Minimum].minimum if Minimum in found else lowest
        highest = found[Maximum].maximum if Maximum in found else highest
    widget.minimum, widget.maximum = lowest, highest


def _choices(widget, annotations) -> Binding:
    choice = next((one for one in annotations if isinstance(one, Choice)), None)
    if choice is None:
        raise RuntimeError(f"{widget.property('objectName')} needs a parameter with the annotation Choice")
    return _fill(widget, choice.choices, str)


def _fill(widget, values: list, label) -> Binding:
    """Slicer's wrapper, too, replaces the entries: texts of the .ui file are lost, a panel sets its own afterwards."""
    widget.clear()
    for value in values:
        widget.addItem(label(value))

    def write(value):
        widget.currentIndex = values.index(value)

    return Binding(widget.currentIndexChanged, lambda: values[widget.currentIndex], write)


def _text(widget) -> Binding:
    def write(value):
        if value != widget.text:  # or the cursor would move while somebody types
            widget.text = value

    return Binding(getattr(widget, "textChanged", None), lambda: widget.text, write)


def _path(widget, signal, name: str) -> Binding:
    return Binding(signal, lambda: pathlib.Path(getattr(widget, name)), lambda value: setattr(widget, name, str(value)))
