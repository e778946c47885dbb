"""How the stand-in for ``slicer.parameterNodeWrapper`` checks values and keeps them in a vtkMRMLScriptedModuleNode.

Names and texts in the node are those of Slicer's wrapper, so that a scene saved by one is read by the other.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass

import slicer


class Default:
    """Annotation of a parameter: its default, or a function that makes it."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


class Validator:
    """Base class of annotations that refuse values."""

    def validate(self, value):
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Choice(Validator):
    """The values that a parameter can have."""

    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"must be one of {self.choices}, not {value!r}")


@dataclass(frozen=True, eq=False)
class Exclude(Validator):
    """Values that a parameter cannot have."""

    excludedValues: list

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"must not be {value!r}")


@dataclass(frozen=True, eq=False)
class WithinRange(Validator):
    """The lowest and the highest value that a parameter can have."""

    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"must be from {self.minimum} to {self.maximum}, not {value!r}")


@dataclass(frozen=True, eq=False)
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"must be at least {self.minimum}, not {value!r}")


@dataclass(frozen=True, eq=False)
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"must be at most {self.maximum}, not {value!r}")


def split_annotations(hint) -> tuple[object, tuple]:
    """The type of a hint, and its annotations."""
    if typing.get_origin(hint) is typing.Annotated:
        kind, *annotations = typing.get_args(hint)
        return kind, tuple(annotations)
    return hint, ()


def node_classes(hint) -> tuple[type, ...]:
    """The node classes of a hint that is one of them or a union of them; empty for any other hint."""
    kind, _ = split_annotations(hint)
    kinds = typing.get_args(kind) if _is_union(kind) else (kind,)
    kinds = tuple(one for one in kinds if one is not type(None))
    return kinds if all(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in kinds) else ()


def _is_union(kind) -> bool:
    return typing.get_origin(kind) is typing.Union or isinstance(kind, types.UnionType)


def storage_for(hint):
    """How values of this type are kept, with the validators of the hint. Raises TypeError for a type without."""
    kind, annotations = split_annotations(hint)
    storage = _storage_without_validators(kind)
    storage.validators = [one for one in annotations if isinstance(one, Validator)]
    return storage


def _storage_without_validators(kind):
    if _is_union(kind):
        return UnionStorage([storage_for(one) for one in typing.get_args(kind)])
    if typing.get_origin(kind) is list:
        return ListStorage(storage_for(typing.get_args(kind)[0]))
    if typing.get_origin(kind) is tuple:
        return TupleStorage([storage_for(one) for one in typing.get_args(kind)])
    if kind in _TEXTS:
        return TextStorage(kind, *_TEXTS[kind])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return TextStorage(kind, next(iter(kind)), lambda value: value.name, lambda text: kind[text])
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeStorage(kind)
    if kind is type(None):
        return NoneStorage()
    raise TypeError(f"Parameters of type {kind} are not known to Slicer's wrapper, or to the harness's stand-in")


class _Storage:
    validators: Sequence[Validator] = ()

    def check(self, value):
        """Raise ValueError or TypeError if the value cannot be kept."""
        self.check_type(value)
        for validator in self.validators:
            validator.validate(value)


# Type: its default, and how it is turned into text and back.
_TEXTS = {
    str: ("", str, str),
    int: (0, str, int),
    float: (0, str, float),
    bool: (False, lambda value: "True" if value else "False", lambda text: text == "True"),
    pathlib.Path: (pathlib.Path(), str, pathlib.Path),
}


class TextStorage(_Storage):
    """One parameter of the node."""

    def __init__(self, kind: type, default, to_text, from_text):
        self.kind, self.default, self._to_text, self._from_text = kind, default, to_text, from_text

    def check_type(self, value):
        if value is None:
            raise ValueError("must not be None")
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"must be of type {self.kind.__name__}, not {value!r}")

    def is_in(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node, name: str, value):
        self.check(value)
        node.SetParameter(name, self._to_text(value))

    def read(self, node, name: str):
        return self._from_text(node.GetParameter(name))

    def remove(self, node, name: str):
        node.UnsetParameter(name)


class NodeStorage(_Storage):
    """A node reference, and an empty parameter which says that None was chosen."""

    default = None

    def __init__(self, kind: type):
        self.kind = kind

    def check_type(self, value):
        if value is not None and not isinstance(value, self.kind):
            raise TypeError(f"must be a {self.kind.__name__}, not {value!r}")

    def is_in(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node, name: str, value):
        self.check(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node, name: str):
        return node.GetNodeReference(name)

    def remove(self, node, name: str):
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class NoneStorage(_Storage):
    """The None of an optional type."""

    default, kind = None, type(None)

    def check_type(self, value):
        if value is not None:
            raise ValueError("must be None")

    def is_in(self, node, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node, name: str, value):
        self.check(value)
        node.SetParameter(name, "True")

    def read(self, node, name: str):
        return None

    def remove(self, node, name: str):
        node.UnsetParameter(name)


class UnionStorage(_Storage):
    """One of several types, kept under the number of the type."""

    def __init__(self, storages: list):
        self._storages = storages
        is_optional = len(storages) == 2 and isinstance(storages[1], NoneStorage)
        self.default = None if is_optional else storages[0].default

    def _storage_of(self, value) -> int:
        error = TypeError(f"cannot be {value!r}")
        for index, storage in enumerate(self._storages):
            try:
                # A node type would take None; Slicer's wrapper asks for the type of the value first.
                if value is None and not isinstance(storage, NoneStorage):
                    continue
                storage.check(value)
                return index
            except (TypeError, ValueError) as refused:
                error = refused
        raise error

    def check_type(self, value):
        self._storage_of(value)

    def is_in(self, node, name: str) -> bool:
        return any(storage.is_in(node, f"{name}.{index}") for index, storage in enumerate(self._storages))

    def write(self, node, name: str, value):
        self.check(value)
        self.remove(node, name)
        index = self._storage_of(value)
        self._storages[index].write(node, f"{name}.{index}", value)

    def read(self, node, name: str):
        for index, storage in enumerate(self._storages):
            if storage.is_in(node, f"{name}.{index}"):
                return storage.read(node, f"{name}.{index}")
        raise KeyError(name)

    def remove(self, node, name: str):
        for index, storage in enumerate(self._storages):
            storage.remove(node, f"{name}.{index}")


class TupleStorage(_Storage):
    """A fixed number of values, each under its number."""

    def __init__(self, storages: list):
        self._storages = storages
        self.default = tuple(storage.default for storage in storages)

    def check_type(self, value):
        if len(value) != len(self._storages):
            raise ValueError(f"must have {len(self._storages)} values, not {value!r}")
        for storage, one in zip(self._storages, value, strict=True):
            storage.check(one)

    def is_in(self, node, name: str) -> bool:
        return self._storages[0].is_in(node, f"{name}.0")

    def write(self, node, name: str, value):
        self.check(value)
        for index, storage in enumerate(self._storages):
            storage.write(node, f"{name}.{index}", value[index])

    def read(self, node, name: str):
        return tuple(storage.read(node, f"{name}.{index}") for index, storage in enumerate(self._storages))

    def remove(self, node, name: str):
        for index, storage in enumerate(self._storages):
            storage.remove(node, f"{name}.{index}")


class ListStorage(_Storage):
    """A number of values, each under its number; what is read writes to the node when it is changed."""

    def __init__(self, element):
        self._element = element

    @property
    def default(self):
        return []

    def check_type(self, value):
        for one in value:
            self._element.check(one)

    def _length(self, node, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0

    def is_in(self, node, name: str) -> bool:
        return node.HasParameter(f"{name}.len")

    def write(self, node, name: str, value):
        value = list(value)
        self.check(value)
        before = self._length(node, name)
        for index, one in enumerate(value):
            self._element.write(node, f"{name}.{index}", one)
        node.SetParameter(f"{name}.len", str(len(value)))
        for index in range(len(value), before):
            self._element.remove(node, f"{name}.{index}")

    def read(self, node, name: str):
        values = [self._element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return ObservedList(values, lambda changed: self._write_at_once(node, name, changed))

    def _write_at_once(self, node, name: str, values):
        with slicer.util.NodeModify(node):
            self.write(node, name, values)

    def remove(self, node, name: str):
        for index in range(self._length(node, name)):
            self._element.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class ObservedList(list):
    """A list that is written to the parameter node whenever it is changed."""

    def __init__(self, values, write):
        super().__init__(values)
        self._write = write


def _writing(name: str):
    def change(self, *arguments, **names):
        result = getattr(list, name)(self, *arguments, **names)
        self._write(list(self))
        return self if name.startswith("__i") else result

    return change


for _name in ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
              "__delitem__", "__iadd__", "__setitem__"):  # fmt: skip
    setattr(ObservedList, _name, _writing(_name))
