"""A stand-in for ``slicer.parameterNodeWrapper``, for the types and widgets that our panels use.

A class with type hints becomes a view of a vtkMRMLScriptedModuleNode: typed attributes kept in the node, and widgets
bound to them by the dynamic property SlicerParameterName.
"""

from __future__ import annotations

import types
import typing

import vtk
from PySide6 import QtWidgets

from harness.widgets import qMRMLNodeComboBox


class Choice:
    """Annotation of a parameter: the values that it can have."""

    def __init__(self, choices):
        self.choices = list(choices)


class WithinRange:
    """Annotation of a parameter: the lowest and the highest value that it can have."""

    def __init__(self, minimum: float, maximum: float):
        self.minimum, self.maximum = minimum, maximum


class _Parameter:
    """One parameter of a class: its type, its default, and how the node stores it."""

    def __init__(self, name: str, hint, default):
        self.name = name
        self.type, self.choices, self.range = hint, None, None
        if typing.get_origin(hint) is typing.Annotated:
            self.type, annotation = typing.get_args(hint)
            self.choices = getattr(annotation, "choices", None)
            self.range = annotation if isinstance(annotation, WithinRange) else None
        # Like Slicer's wrapper, this one does not know the spelling A | B.
        several = typing.get_args(self.type) if typing.get_origin(self.type) is typing.Union else (self.type,)
        self.types = tuple(one for one in several if one is not type(None))
        self.is_node = not issubclass(self.types[0], (str, int, float))
        empty = self.choices[0] if self.choices else None if self.is_node else self.type()
        self.default = empty if default is None else default
        self._check(self.default)

    def _check(self, value):
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} must be one of {self.choices}, not {value!r}")
        if not isinstance(value, self.types) and not (self.is_node and value is None):
            raise ValueError(f"{self.name} must be a {self.types[0].__name__}, not {value!r}")
        if self.range and not self.range.minimum <= value <= self.range.maximum:
            raise ValueError(f"{self.name} must be from {self.range.minimum} to {self.range.maximum}, not {value!r}")

    def read(self, node):
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node, value):
        self._check(value)
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
        else:
            node.SetParameter(self.name, str(value))

    def is_in(self, node) -> bool:
        return self.is_node or bool(node.GetParameter(self.name)) or (self.type is str and self.default == "")


def parameterNodeWrapper(cls):
    """Class decorator; see the module's docstring."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    for name, parameter in parameters.items():
        setattr(cls, name, _attribute(parameter))
    members = {name: value for name, value in vars(_Wrapper).items() if not name.startswith("__")}
    for name, value in {**members, "__init__": _Wrapper.__init__, "_parameters": parameters}.items():
        setattr(cls, name, value)
    return cls


def _attribute(parameter: _Parameter):
    return property(
        lambda self: parameter.read(self.parameterNode), lambda self, value: parameter.write(self.parameterNode, value)
    )


class _Wrapper:
    """The methods that a wrapped class gets."""

    def __init__(self, parameterNode):
        self.parameterNode, self._bindings, self._updating = parameterNode, {}, False
        for parameter in self._parameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui) -> int:
        """Bind all widgets with SlicerParameterName; an unknown name or an unfit widget is an error."""
        bindings = []
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                if name not in self._parameters:
                    raise ValueError(f"{widget.objectName()} is bound to {name!r}, which is no parameter")
                bindings.append(_Binding(self, self._parameters[name], widget))
        tag = len(self._bindings) + 1
        observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(bindings))
        self._bindings[tag] = (bindings, observer)
        self._show(bindings)
        return tag

    def disconnectGui(self, tag: int):
        bindings, observer = self._bindings.pop(tag)
        self.parameterNode.RemoveObserver(observer)
        for binding in bindings:
            binding.release()

    def _show(self, bindings):
        if self._updating:
            return
        self._updating = True
        try:
            for binding in bindings:
                binding.show()
        finally:
            self._updating = False


class _Binding:
    """One widget that shows one parameter and sets it."""

    def __init__(self, wrapper, parameter: _Parameter, widget):
        self._wrapper, self._parameter, self._widget = wrapper, parameter, widget
        self._signal, self._get, self._set = self._accessors()
        self._signal.connect(self._changed)

    def _accessors(self):
        widget, parameter = self._widget, self._parameter
        if parameter.is_node and isinstance(widget, qMRMLNodeComboBox):
            widget.nodeTypes = [one().GetClassName() for one in parameter.types]
            return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        if parameter.type is bool and isinstance(widget, QtWidgets.QCheckBox):
            return widget.toggled, widget.isChecked, widget.setChecked
        if parameter.type is float and parameter.range and isinstance(widget, QtWidgets.QDoubleSpinBox):
            widget.setRange(parameter.range.minimum, parameter.range.maximum)
            return widget.valueChanged, lambda: widget.value, widget.setValue
        if parameter.choices and isinstance(widget, QtWidgets.QComboBox):
            widget.clear()
            widget.addItems([str(choice) for choice in parameter.choices])
            return widget.currentIndexChanged, lambda: parameter.choices[widget.currentIndex], self._choose
        raise ValueError(f"{type(widget).__name__} {widget.objectName()} cannot show the parameter {parameter.name}")

    def _choose(self, value):
        self._widget.setCurrentIndex(self._parameter.choices.index(value))

    def _changed(self, *_):
        if not self._wrapper._updating:
            self._parameter.write(self._wrapper.parameterNode, self._get())

    def show(self):
        self._set(self._parameter.read(self._wrapper.parameterNode))

    def release(self):
        self._signal.disconnect(self._changed)


def make_module() -> types.ModuleType:
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper, module.Choice, module.WithinRange = parameterNodeWrapper, Choice, WithinRange
    return module
