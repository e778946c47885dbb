"""A stand-in for ``slicer.parameterNodeWrapper``, for the types and widgets that our panels use.

A class with type hints becomes a view of a vtkMRMLScriptedModuleNode: typed attributes kept in the node, and widgets
bound to them by the dynamic property SlicerParameterName. What Slicer's wrapper refuses, this one refuses, too.
"""

from __future__ import annotations

import types
import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk
from PySide6 import QtWidgets

from harness import parameter_types, parameter_widgets
from harness.parameter_types import Default, split_annotations, storage_for

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class _Parameter:
    """One parameter of a class."""

    basename: str
    hint: object
    storage: object
    default: Default

    def write(self, node, value):
        try:
            self.storage.check(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.basename} {error}") from error
        self.storage.write(node, self.basename, value)


def parameterNodeWrapper(cls=None):
    """Class decorator; see the module's docstring."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        try:
            storage, annotations = storage_for(hint), split_annotations(hint)[1]
        except TypeError as error:
            raise TypeError(f"{name}: {error}") from error
        defaults = [one for one in annotations if isinstance(one, Default)]
        default = Default(getattr(cls, name)) if hasattr(cls, name) else (defaults or [Default(storage.default)])[0]
        parameters[name] = _Parameter(name, hint, storage, default)
        setattr(cls, name, _attribute(name))
    members = {name: value for name, value in vars(_Wrapper).items() if not name.startswith("__")}
    for name, value in {**members, "allParameters": parameters}.items():
        if hasattr(cls, name):
            raise ValueError(f"Slicer's parameterNodeWrapper uses the name {name!r} itself")
        setattr(cls, name, value)
    cls.__init__ = _Wrapper.__init__
    return cls


def _attribute(name: str):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


class _Wrapper:
    """The methods that a wrapped class gets."""

    def __init__(self, parameterNode):
        self.parameterNode, self._bindings, self._updating = parameterNode, {}, False
        self._values = {}
        self._read_all()
        # As in Slicer, values are read when the node changes and not when they are asked for; and the node does not
        # keep the wrapper alive.
        observed, this = parameterNode, weakref.ref(self)
        tag = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: this() and this()._read_all())
        weakref.finalize(self, observed.RemoveObserver, tag)

    def _read_all(self):
        for name, parameter in self.allParameters.items():
            if not parameter.storage.is_in(self.parameterNode, name):
                parameter.write(self.parameterNode, parameter.default.value)
            self._values[name] = parameter.storage.read(self.parameterNode, name)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"There is no parameter {name!r} among {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str):
        return self._values[self._parameter(name).basename]

    def setValue(self, name: str, value):
        parameter = self._parameter(name)
        with slicer.util.NodeModify(self.parameterNode):
            parameter.write(self.parameterNode, value)
            self._values[name] = parameter.storage.read(self.parameterNode, name)

    def default(self, name: str) -> Default:
        return self._parameter(name).default

    def dataType(self, name: str):
        return self._parameter(name).hint

    def isCached(self, name: str) -> bool:
        return self._parameter(name) is not None

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def Modified(self):
        self.parameterNode.Modified()

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui) -> int:
        """Bind all widgets with SlicerParameterName; an unknown name or an unfit widget is an error."""
        is_widget = isinstance(gui, QtWidgets.QWidget)
        mapping = {}
        for widget in gui.findChildren(QtWidgets.QWidget) if is_widget else vars(gui).values():
            name = widget.property(SlicerParameterNamePropertyName)
            if name and name in mapping:
                raise ValueError(f"Two widgets are bound to {name!r}; in Slicer the first one would be forgotten")
            if name:
                mapping[name] = widget
        return self.connectParametersToGui(mapping)

    def connectParametersToGui(self, mapping: dict) -> int:
        for name in mapping:
            self._parameter(name)
        bindings = {name: parameter_widgets.bind(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag = max(self._bindings, default=-1) + 1
        for name, binding in bindings.items():
            binding.write(self.getValue(name))
            binding.connect(lambda name=name, binding=binding: self._changed(name, binding))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        self._bindings[tag] = (bindings, observer)
        return tag

    def disconnectGui(self, tag: int):
        bindings, observer = self._bindings.pop(tag, ({}, None))
        for binding in bindings.values():
            binding.disconnect()
        if observer is not None:
            self.RemoveObserver(observer)

    def _changed(self, name: str, binding):
        """A widget says that the user, or a program, has changed it."""
        with slicer.util.NodeModify(self):
            if not self._updating:
                self.setValue(name, binding.read())

    def _show(self):
        """Show all parameters in all connected widgets."""
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for bindings, _ in list(self._bindings.values()):
                    for name, binding in bindings.items():
                        binding.write(self.getValue(name))
        finally:
            self._updating = False


def isParameterNodeWrapper(class_or_object) -> bool:
    return hasattr(class_or_object, "allParameters")


def make_module() -> types.ModuleType:
    module = types.ModuleType("slicer.parameterNodeWrapper")
    validators = ("Choice", "Default", "Exclude", "Maximum", "Minimum", "Validator", "WithinRange")
    for name in validators:
        setattr(module, name, getattr(parameter_types, name))
    module.Decimals, module.SingleStep = parameter_widgets.Decimals, parameter_widgets.SingleStep
    module.parameterNodeWrapper, module.isParameterNodeWrapper = parameterNodeWrapper, isParameterNodeWrapper
    module.SlicerParameterNamePropertyName = SlicerParameterNamePropertyName
    return module
