"""What ``dataset.json`` of an nnU-Net v2 model says: its channels, its labels, and what its outputs stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from reprlib import repr as shortened
from typing import Any

from MedSegAILib.inference.export import Outputs
from MedSegAILib.models.schema import check, damaged

FILE = "dataset.json"
DATASET = {
    "required": ["labels"],
    "properties": {
        "labels": {"type": "object"},
        "regions_class_order": {"type": ["array", "null"]},
        "channel_names": {"type": ["object", "null"]},
        "modality": {"type": ["object", "null"]},
    },
}
LARGEST_VALUE = 2**16 - 1  # label maps are stored as unsigned integers of 16 bits at most


def read_channels(dataset: Mapping[str, Any], expected: int) -> tuple[str, ...]:
    """Names of the channels in their order. Raises ModelError if they are not as many as expected."""
    check(dataset, DATASET, FILE)
    names = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(names) != expected or not all(key.isdecimal() for key in names):
        raise damaged(FILE, f"channel_names is {shortened(names)}, expected {expected} as in plans.json, by number")
    return tuple(str(names[key]) for key in sorted(names, key=int))


def read_labels(dataset: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Label values by name, of a region several; without the background and the label to ignore."""
    check(dataset, DATASET, FILE)
    labels = {}
    for name, entry in dataset["labels"].items():
        values = entry if isinstance(entry, list) else [entry]
        if not values:
            raise damaged(FILE, f"labels.{name} is {entry}, expected a number or several")
        labels[name] = tuple(_label_value(value, f"labels.{name}") for value in values)
    found = {name: values for name, values in labels.items() if name != "ignore" and set(values) != {0}}
    if not found:
        raise damaged(FILE, f"labels is {shortened(dataset['labels'])}, expected at least one besides the background")
    return found


def foreground_values(dataset: Mapping[str, Any]) -> tuple[int, ...]:
    """Every label value but the background and the one to ignore, ascending: what the next stage of a cascade sees."""
    return tuple(sorted({value for values in read_labels(dataset).values() for value in values} - {0}))


def read_outputs(dataset: Mapping[str, Any]) -> Outputs:
    """What the network's channels mean. Raises ModelError if ``dataset.json`` contradicts itself."""
    labels = read_labels(dataset)
    if any(len(values) > 1 for values in labels.values()):
        order = dataset.get("regions_class_order")
        if not order or len(order) != len(labels):
            raise damaged(FILE, f"regions_class_order is {order}, expected a label for each of {len(labels)} regions")
        values = tuple(_label_value(value, "regions_class_order") for value in order)
        if 0 in values or len(set(values)) < len(values):
            raise damaged(FILE, f"regions_class_order is {order}, expected labels from 1 on, each once")
        return Outputs(values, regions=True)
    values = (0, *sorted(value for (value,) in labels.values()))
    if values != tuple(range(len(values))):
        raise damaged(FILE, f"the values of labels are {shortened(values)}, expected 0, 1, 2 … without gaps")
    return Outputs(values, regions=False)


def names_by_value(dataset: Mapping[str, Any], outputs: Outputs) -> dict[int, str]:
    """The name of each value that the outputs write; a region's is that of its place in the order."""
    labels = read_labels(dataset)
    return dict(
        zip(outputs.values if outputs.regions else [value for (value,) in labels.values()], labels, strict=True)
    )


def identifiers(names: Sequence[str]) -> list[str]:
    """Names as ids: machine-readable, and each another."""
    ids = []
    for name in names:
        base = re.sub(r"\W+", "_", name).strip("_").lower() or "segment"
        candidates = (base if number == 1 else f"{base}_{number}" for number in count(1))
        ids.append(next(candidate for candidate in candidates if candidate not in ids))
    return ids


def _label_value(value: Any, place: str) -> int:
    """A value as a number; nnU-Net reads numbers in quotes too."""
    if not str(value).isdecimal() or int(value) > LARGEST_VALUE:
        raise damaged(FILE, f"{place} holds {shortened(value)}, expected a whole number from 0 to {LARGEST_VALUE}")
    return int(value)
