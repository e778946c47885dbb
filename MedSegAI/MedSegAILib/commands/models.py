"""``medsegai models``: list, show, add, remove and verify models."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from MedSegAILib.commands.status import DONE, SOME_FAILED
from MedSegAILib.models.library import ModelLibrary
from MedSegAILib.models.model import Model


def add_parser(subparsers):
    parser = subparsers.add_parser("models", help="list, show, add, remove and verify models")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="the bundled and your own models")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=run_list)
    show = actions.add_parser("show", help="a model's card: what it is for, not for, how good it is")
    show.add_argument("model", metavar="ID_OR_PATH")
    show.add_argument("--json", action="store_true", help="print the card as JSON")
    show.set_defaults(run=run_show)
    add = actions.add_parser("add", help="copy a model, or unpack a zip of one, to your models")
    add.add_argument(
        "source",
        type=Path,
        metavar="MODEL",
        help="nnU-Net v2 model folder, MONAI bundle, TorchScript or ONNX file with a sidecar, or a zip of one",
    )
    add.set_defaults(run=run_add)
    remove = actions.add_parser("remove", help="delete one of your models")
    remove.add_argument("model", metavar="ID")
    remove.set_defaults(run=run_remove)
    verify = actions.add_parser("verify", help="check a model's files and load its weights")
    verify.add_argument("model", metavar="ID_OR_PATH")
    verify.set_defaults(run=run_verify)


def run_list(arguments: argparse.Namespace) -> int:
    library = ModelLibrary()
    models = library.list()
    if arguments.json:
        print(json.dumps([_entry(model, library) for model in models], indent=2))
    else:
        for model in models:
            origin = "bundled" if library.is_bundled(model) else "yours"
            print(f"{model.id:<24} {model.version:<10} {origin:<8} {model.title}")
    for path, error in library.problems().items():
        print(f"medsegai: {path.name} cannot be used: {error}", file=sys.stderr)
    return SOME_FAILED if library.problems() else DONE


def _entry(model: Model, library: ModelLibrary) -> dict:
    return {
        "id": model.id,
        "version": model.version,
        "title": model.title,
        "bundled": library.is_bundled(model),
        "folder": str(model.path),
        "segments": [label.id for label in model.labels],
    }


def run_show(arguments: argparse.Namespace) -> int:
    model = ModelLibrary().find(arguments.model)
    if arguments.json:
        card = dataclasses.asdict(model.card) if model.card else None
        print(json.dumps({"folder": str(model.path), "sha256": model.checksum, "card": card}, indent=2))
    else:
        print(describe(model))
    return DONE


def describe(model: Model) -> str:
    """The card as text, most important first."""
    head = f"{model.title} ({model.id}, version {model.version})"
    segments = ", ".join(label.name for label in model.labels)
    technical = (
        f"{model.format}, {model.configuration_name}, {len(model.folds)} fold(s), "
        f"spacing {' x '.join(f'{s:g}' for s in model.spacing) + ' mm' if model.spacing else 'of the volume'}, "
        f"channels: {', '.join(model.channel_names)}"
    )
    if model.card is None:
        return f"{head}\n\nSegments: {segments}\n{technical}\nThis model has no model card."
    card = model.card
    parts = [f"{head}\n", f"For: {card.intended_use}", *(f"Not for: {text}" for text in card.not_for)]
    parts += [f"\nSegments: {segments}", f"Input: {card.input.protocol}", technical]
    if card.performance:
        parts.append("\nPerformance:")
        parts += [
            f"  {p.structure}: {p.measure} {p.value:.3f} (95 % interval {p.ci95[0]:.3f} to {p.ci95[1]:.3f}, "
            f"n = {p.n}; {p.cases})"
            for p in card.performance
        ]
    parts += ["", *(f"Limitation: {text}" for text in card.limitations)]
    parts += [f"Training {key}: {value}" for key, value in card.training.items()]
    parts += [f"License: {card.license}", *(f"Cite: {text}" for text in card.citation)]
    return "\n".join(parts)


def run_add(arguments: argparse.Namespace) -> int:
    model = ModelLibrary().add(arguments.source)
    print(f"Added {model.id} ({model.title}). Use it with: medsegai segment INPUT --model {model.id} --output DIR")
    return DONE


def run_remove(arguments: argparse.Namespace) -> int:
    ModelLibrary().remove(arguments.model)
    print(f"Removed {arguments.model}.")
    return DONE


def run_verify(arguments: argparse.Namespace) -> int:
    model = ModelLibrary().verify(arguments.model)
    known = "match their checksums" if model.declared_sums else "load (no checksums are listed)"
    print(f"{model.id}: the weights of {len(model.folds)} fold(s) {known}. SHA-256 of the model: {model.checksum}")
    return DONE
