"""Reading the configuration of a MONAI bundle without running what is in it.

MONAI's own parser imports and calls whatever a bundle names (``_target_``) and evaluates every ``$`` text as Python.
Here ``_target_`` stays a name with arguments (a Component), which others compare with what they know; ``$`` texts are
computed by bundle_expressions.py; and only what is asked for is resolved, so how a bundle finds its training data
does not matter. The syntax is that of https://docs.monai.io/en/stable/config_syntax.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedSegAICore.errors import DependencyError, ModelError
from MedSegAILib.models.bundle_expressions import evaluate
from MedSegAILib.models.schema import read_json

REFERENCE = re.compile(r"@(\w+(?:(?:::|#)\w+)*)")
SEPARATOR = re.compile(r"::|#")
DEEPEST = 60  # references to references …
MOST = 100_000  # entries; references to lists of references could make more of them than there is memory
# What a component may hold beside its arguments; _requires_ is other components to run before, which is not done.
OWN_KEYS = ("_target_", "_disabled_", "_requires_", "_desc_", "_mode_")


@dataclass(frozen=True)
class Component:
    """A class or function that a bundle names, with its arguments resolved. Nothing of it is imported or called.

    ``name``: its last part, e.g. ``Spacingd`` for ``monai.transforms.Spacingd``. ``target``: all of it.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.target.rpartition(".")[2]

    @property
    def is_monai(self) -> bool:
        """Whether it is a class of MONAI, and none that the bundle brings with it."""
        return "." not in self.target or self.target.startswith("monai.")


class BundleConfig:
    """The configuration of a bundle.

    ``root``: the bundle's folder. ``file``: its inference.json, .yaml or .yml.
    Raises ModelError if the file cannot be read; DependencyError if it is YAML and PyYAML is not installed.
    """

    def __init__(self, root: Path, file: Path):
        self.root, self.file = root, file
        self._content = {**_read(file), "bundle_root": "."}  # paths are then below the folder
        self._depth = self._resolved = 0

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def get(self, path: str, default: Any = None) -> Any:
        """What an entry (``a::b``) resolves to; ``default`` if it does not exist."""
        try:
            content = self._find(path)
        except KeyError:
            return default
        return self.resolve(content)

    def components(self, name: str) -> list[Mapping[str, Any]]:
        """The unresolved entries anywhere in the configuration whose target has this name."""
        return list(_targets(self._content, name))

    def resolve(self, content: Any) -> Any:
        """Raises ModelError for a reference that leads nowhere or in a circle, and for what is not computed here."""
        self._depth, self._resolved = self._depth + 1, self._resolved + 1
        try:
            if self._depth > DEEPEST or self._resolved > MOST:
                raise ModelError(f"{self.file.name} of the bundle refers to itself in a circle. Correct it.")
            if isinstance(content, str):
                return self._text(content)
            if isinstance(content, list):
                return [item for entry in content if (item := self.resolve(entry)) is not DISABLED]
            if isinstance(content, dict):
                return self._component(content) if "_target_" in content else self._dict(content)
            return content
        finally:
            self._depth -= 1

    def _component(self, content: Mapping[str, Any]) -> Any:
        if self.resolve(content.get("_disabled_", False)) in (True, "true", "True"):
            return DISABLED
        target, mode = self.resolve(content["_target_"]), content.get("_mode_", "default")
        if not isinstance(target, str) or mode != "default":
            raise ModelError(
                f"{self.file.name} of the bundle has the target {target!r} in the mode {mode!r}, which is not run "
                "here; expected the name of a class."
            )
        return Component(target, self._dict({k: v for k, v in content.items() if k not in OWN_KEYS}))

    def _dict(self, content: Mapping[str, Any]) -> dict[str, Any]:
        resolved = {name: self.resolve(value) for name, value in content.items()}
        return {name: value for name, value in resolved.items() if value is not DISABLED}

    def _text(self, text: str) -> Any:
        if text.startswith("$"):
            names: dict[str, Any] = {}

            def named(match: re.Match) -> str:
                name = f"reference_{len(names)}_"
                names[name] = self._referred(match[1])
                return name

            return evaluate(REFERENCE.sub(named, text[1:]), names)
        if text.startswith("%"):
            return self.resolve(self._macro(text[1:]))
        if match := REFERENCE.fullmatch(text):
            return self._referred(match[1])
        return text

    def _referred(self, path: str) -> Any:
        try:
            return self.resolve(self._find(path))
        except KeyError as error:
            raise ModelError(f"{self.file.name} of the bundle refers to @{path}, which it does not have.") from error

    def _find(self, path: str) -> Any:
        return _at(self._content, path, self)

    def _macro(self, text: str) -> Any:
        """``%entry`` or ``%file::entry``: a part of this or another file of the bundle, as it is written there."""
        name, _, path = text.partition("::")
        if not re.search(r"\.(json|ya?ml)$", name):
            return self._at_or_refuse(self._content, text)
        file = self.file.parent / name
        if not file.is_file():
            file = self.root / name
        if not is_below(self.root, file) or not file.is_file():
            raise ModelError(f"{self.file.name} of the bundle includes {name!r}, which is not a file of the bundle.")
        return self._at_or_refuse(_read(file), path) if path else _read(file)

    def _at_or_refuse(self, content: Any, path: str) -> Any:
        try:
            return _at(content, path, self)
        except KeyError as error:
            raise ModelError(f"{self.file.name} of the bundle includes %{path}, which does not exist.") from error


class _Disabled:
    """Stands for a component that the bundle turns off, until it is left out."""


DISABLED = _Disabled()


def is_below(root: Path, file: Path) -> bool:
    """Whether a path stays in a folder; links in it, which only the user can have made, may lead elsewhere."""
    return Path(os.path.abspath(root)) in Path(os.path.abspath(file)).parents


def _at(content: Any, path: str, config: BundleConfig) -> Any:
    """The entry at ``a::b::0``. Raises KeyError if there is none."""
    for part in SEPARATOR.split(path):
        if isinstance(content, str):  # the entry is itself a reference
            content = config.resolve(content)
        if isinstance(content, Component):
            content = content.arguments
        try:
            content = content[int(part)] if isinstance(content, list) else content[part]
        except (LookupError, TypeError, ValueError) as error:
            raise KeyError(path) from error
    return content


def _targets(content: Any, name: str):
    if isinstance(content, dict):
        if str(content.get("_target_", "")).rpartition(".")[2] == name:
            yield content
        for value in content.values():
            yield from _targets(value, name)
    elif isinstance(content, list):
        for value in content:
            yield from _targets(value, name)


def _read(file: Path) -> dict[str, Any]:
    if file.suffix == ".json":
        return read_json(file)
    try:
        import yaml
    except ImportError as error:
        raise DependencyError(
            f"The bundle's {file.name} is YAML, and the package that reads it is not installed. Run: pip install PyYAML"
        ) from error
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))  # the safe loader makes plain values only
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{file.name} of the bundle cannot be read: {reason}. Copy the model again.") from error
    if _size(content, MOST) >= MOST:  # an alias can stand for a list of aliases
        raise ModelError(f"{file.name} of the bundle has more than {MOST} entries. Copy the model again.")
    if not isinstance(content, dict):
        raise ModelError(f"{file.name} of the bundle is not a list of named entries. Copy the model again.")
    return content


def _size(content: Any, most: int) -> int:
    """How many entries there are, but not more than ``most``."""
    count, waiting = 0, [content]
    while waiting and count < most:
        count, entry = count + 1, waiting.pop()
        waiting += entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ()
    return count
