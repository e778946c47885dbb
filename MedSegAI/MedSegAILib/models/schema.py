"""Reading the JSON files of a model, and refusing what does not fit their schema before anything is made of it.

Of JSON schema the keywords in RULES and ``type``, ``required``, ``properties``, ``additionalProperties``, ``items`` and
``$ref`` are understood; other keywords only describe. Slicer's Python has no package for it.
"""

from __future__ import annotations

import json
import operator
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from MedSegAICore.errors import ModelError


def _is_number(value: Any) -> bool:
    # JSON as Python reads it has NaN, infinity and whole numbers beyond every float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


TYPES = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list | tuple),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and isinstance(value, int),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
# Keyword -> (type that it is about, whether a value obeys it, what it expects)
RULES = {
    "const": ("number", operator.eq, "{}"),
    "minimum": ("number", operator.ge, "at least {}"),
    "exclusiveMinimum": ("number", operator.gt, "more than {}"),
    "maximum": ("number", operator.le, "at most {}"),
    # The $ of JSON schema is the end of a text, Python's $ comes before a last line break too.
    "pattern": ("string", lambda text, pattern: re.search(pattern.replace("$", r"\Z"), text), "text that matches {}"),
    "minItems": ("array", lambda items, count: len(items) >= count, "at least {} entries"),
    "maxItems": ("array", lambda items, count: len(items) <= count, "at most {} entries"),
}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelError that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} of the model in {path.parent} cannot be read: {error}. Copy the model again."
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} of the model in {path.parent} is not a JSON object. Copy the model again.")
    return content


def check(value: Any, schema: Mapping[str, Any], file: str, place: str = "") -> None:
    """Raises ModelError that names the first place in a file (below ``place``) where it does not fit the schema."""
    fault = next(_faults(value, schema, schema, place), None)
    if fault:
        raise damaged(file, fault)


def damaged(file: str, fault: str) -> ModelError:
    """The error for a file of which one thing is wrong: ``fault`` says where, what is there and what was expected."""
    return ModelError(f"{file} is incomplete or damaged: {fault}. Correct it or copy the model again.")


def _faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    expected = _expected(value, schema)
    if expected:
        yield f"{place or 'its content'!r} is {shortened(value)}, expected {expected}"
    elif isinstance(value, dict):
        yield from _faults_of_entries(value, schema, root, f"{place}." if place else "")
    elif isinstance(value, list | tuple) and "items" in schema:
        for number, item in enumerate(value):
            yield from _faults(item, schema["items"], root, f"{place}[{number}]")


def _expected(value: Any, schema: Mapping[str, Any]) -> str | None:
    """What a value should have been, looked at without its entries; None if it fits."""
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(TYPES[name](value) for name in types):
        return " or ".join(types)
    for keyword, (type_name, obeys, expected) in RULES.items():
        if keyword in schema and TYPES[type_name](value) and not obeys(value, schema[keyword]):
            return expected.format(schema[keyword])
    return None


def _faults_of_entries(
    entries: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str
) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name in schema.get("required", ()):
        if name not in entries:
            yield f"{prefix + name!r} is missing"
    for name, value in entries.items():
        if name not in known and others is False:
            yield f"{prefix + name!r} is unknown, expected one of {', '.join(known)}"
        elif rule := known.get(name, others):
            yield from _faults(value, rule, root, prefix + name)
