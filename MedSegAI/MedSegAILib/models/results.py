"""How nnU-Net v2 lays trained models out on disk: one folder per configuration, beside each other in a Dataset folder.

``Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/checkpoint_final.pth``
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedSegAICore.errors import ModelError
from MedSegAILib.inference.postprocessing import Postprocessing
from MedSegAILib.models.checkpoint import load_checkpoint
from MedSegAILib.models.schema import check, damaged, read_json

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
# nnU-Net's preference among configurations of one data set, for a folder that holds several.
CONFIGURATION_ORDER = ("3d_fullres", "3d_cascade_fullres", "3d_lowres", "2d")
# Between trainer, plans and configuration in a folder's name; between two such names in that of their ensemble.
SEPARATOR, ENSEMBLE_SEPARATOR = "__", "___"
POSTPROCESSING_FILE = "postprocessing.json"
NNUNET_POSTPROCESSING = {
    "required": ["postprocessing_fns", "postprocessing_kwargs"],
    "properties": {
        "postprocessing_fns": {"type": "array", "items": {"type": "string"}},
        "postprocessing_kwargs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["labels_or_regions"],
                "properties": {
                    "labels_or_regions": {
                        "type": ["integer", "array"],
                        "items": {"type": ["integer", "array"], "items": {"type": "integer"}},
                    }
                },
            },
        },
    },
}
BEST_FILE = "inference_information.json"
TEXT = {"type": "string"}
BEST = {
    "required": ["best_model_or_ensemble"],
    "properties": {
        "best_model_or_ensemble": {
            "type": "object",
            "required": ["selected_model_or_models"],
            "properties": {
                "selected_model_or_models": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["configuration", "trainer", "plans_identifier"],
                        "properties": {"configuration": TEXT, "trainer": TEXT, "plans_identifier": TEXT},
                    },
                },
                "postprocessing_file": {"type": ["string", "null"]},
            },
        },
    },
}


@dataclass(frozen=True)
class Best:
    """What ``nnUNetv2_find_best_configuration`` chose: one trained folder or several, and what is done in the end.

    ``postprocessing``: of several, the JSON twin of the file that it names, which may be missing. One folder has its
    own.
    """

    folders: tuple[Path, ...]
    postprocessing: Path | None


def is_trained_folder(path: Path) -> bool:
    return (path / "plans.json").is_file() and (path / "dataset.json").is_file()


def folds_of(path: Path) -> tuple[str, ...]:
    """Names of the folds with a checkpoint, numbers first."""
    folds = [f.name[5:] for f in path.glob("fold_*") if any((f / name).is_file() for name in CHECKPOINTS)]
    return tuple(sorted(folds, key=lambda fold: (not fold.isdecimal(), int(fold) if fold.isdecimal() else 0, fold)))


def trained_folders(path: Path) -> list[Path]:
    """Every trained-model folder below a path. Raises ModelError if there is no such path."""
    if not path.is_dir():
        raise ModelError(f"There is no model folder {path}.")
    inside = sorted(file.parent for file in path.glob("**/plans.json") if is_trained_folder(file.parent))
    return [folder for folder in inside if any(folder.glob("fold_*"))]


def trained_folder(path: Path, configuration: str | None = None) -> Path:
    """A trained-model folder: the path itself, or the one below it of this, else of the preferred configuration.

    Raises ModelError if there is none, or no rule to choose between several.
    """
    if is_trained_folder(path):
        return path
    inside = trained_folders(path)
    for name in (configuration,) if configuration else CONFIGURATION_ORDER:
        chosen = [folder for folder in inside if folder.name.endswith(f"{SEPARATOR}{name}")]
        if len(chosen) == 1 and len(inside) > 1:
            return chosen[0]
    if len(inside) == 1:
        return inside[0]
    if inside and configuration:
        raise ModelError(
            f"{path} holds {len(chosen)} models of the configuration {configuration!r}, expected one; its models are "
            f"{', '.join(folder.name for folder in inside)}. Name one of them."
        )
    found = f"it contains {len(inside)} such folders; name one of them" if inside else "nothing like it is inside"
    raise ModelError(
        f"{path} is not a trained model: expected dataset.json, plans.json and fold_0/checkpoint_final.pth, "
        f"but {found}."
    )


def previous_folder(path: Path, stage: str) -> Path:
    """Where the stage of a cascade before that in ``path`` is: beside it, under the same name but the configuration.

    Raises ModelError that says which folder is needed.
    """
    head, separator, _ = path.name.rpartition(SEPARATOR)
    expected = path.parent / f"{head}{separator}{stage}"
    if is_trained_folder(expected):
        return expected
    beside = [folder for folder in path.parent.iterdir() if folder.name.endswith(stage) and is_trained_folder(folder)]
    if len(beside) == 1 and beside[0] != path:
        return beside[0]
    raise ModelError(
        f"The model {path.name} is the second stage of a cascade and needs the labels of the first, but there is no "
        f"folder {expected.name} beside it. Put it into {path.parent}."
    )


def configuration_name(path: Path, plans: Mapping[str, Any], fold: str) -> str:
    """From the folder's name (Trainer__Plans__configuration), the only configuration, or the checkpoint."""
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict):
        return ""
    by_name = path.name.rpartition(SEPARATOR)[2]
    if by_name in configurations:
        return by_name
    if len(configurations) == 1:
        return next(iter(configurations))
    for name in CHECKPOINTS:
        checkpoint = path / f"fold_{fold}" / name
        if checkpoint.is_file():
            arguments = load_checkpoint(checkpoint).get("init_args")
            return str(arguments.get("configuration", "")) if isinstance(arguments, dict) else ""
    return ""


def dataset_folder(path: Path) -> Path:
    """The path, or the only folder in it that says which of its models is the best: a zip holds it under its name."""
    inside = [file.parent for file in path.glob(f"*/{BEST_FILE}")]
    return inside[0] if len(inside) == 1 and not (path / BEST_FILE).is_file() else path


def read_best(folder: Path) -> Best | None:
    """What a Dataset folder says is its best model; None if it says nothing.

    Raises ModelError if the file is damaged or names a folder that is not there.
    """
    if not (folder / BEST_FILE).is_file():
        return None
    content = read_json(folder / BEST_FILE)
    check(content, BEST, BEST_FILE)
    best = content["best_model_or_ensemble"]
    folders = []
    for chosen in best["selected_model_or_models"]:
        name = SEPARATOR.join(chosen[key] for key in ("trainer", "plans_identifier", "configuration"))
        if Path(name).name != name or not is_trained_folder(folder / name):
            raise ModelError(f"The best model in {folder} is made of {name!r} too, but there is no such folder in it.")
        folders.append(folder / name)
    return Best(tuple(folders), _postprocessing_twin(folder, best.get("postprocessing_file")))


def write_best(folder: Path, names: Sequence[str], postprocessing: Postprocessing) -> None:
    """Say in a Dataset folder that the trained folders of these names are averaged, as ``read_best`` understands it.

    Raises ModelError if a name has not the form that nnU-Net gives its folders.
    """
    keys = ("trainer", "plans_identifier", "configuration")
    parts = [name.split(SEPARATOR) for name in names]
    for name in names:
        if name.count(SEPARATOR) != len(keys) - 1:
            raise ModelError(f"The folder of an ensemble's member is {name}, expected Trainer__Plans__configuration.")
    ensemble = ENSEMBLE_SEPARATOR.join(["ensemble", *names])
    best = {
        "selected_model_or_models": [dict(zip(keys, part, strict=True)) for part in parts],
        "postprocessing_file": f"ensembles/{ensemble}/{POSTPROCESSING_FILE}",
    }
    groups = postprocessing.largest_component
    steps = {
        "postprocessing_fns": ["remove_all_but_largest_component_from_segmentation"] * len(groups),
        "postprocessing_kwargs": [{"labels_or_regions": list(group)} for group in groups],
    }
    (folder / "ensembles" / ensemble).mkdir(parents=True)
    (folder / "ensembles" / ensemble / POSTPROCESSING_FILE).write_text(json.dumps(steps), encoding="utf-8")
    (folder / BEST_FILE).write_text(json.dumps({"best_model_or_ensemble": best}), encoding="utf-8")


def _postprocessing_twin(folder: Path, written: str | None) -> Path | None:
    """nnU-Net names a pickle, which could run code, by its path where it was made; its twin is the same as JSON."""
    made_in = (written or "").replace("\\", "/").split("/")[-2:-1]
    if not made_in or not made_in[0].startswith("ensemble" + ENSEMBLE_SEPARATOR):
        return None
    return folder / "ensembles" / made_in[0] / POSTPROCESSING_FILE


def read_postprocessing(file: Path) -> Postprocessing:
    """nnU-Net lists functions with arguments; it has one function only, which takes all its targets together."""
    content = read_json(file)
    check(content, NNUNET_POSTPROCESSING, POSTPROCESSING_FILE)
    names, kwargs = content["postprocessing_fns"], content["postprocessing_kwargs"]
    if len(names) != len(kwargs):
        raise damaged(POSTPROCESSING_FILE, f"it has {len(kwargs)} postprocessing_kwargs, expected {len(names)}")
    groups = []
    for name, arguments in zip(names, kwargs, strict=True):
        if "remove_all_but_largest_component" not in name:
            raise ModelError(f"postprocessing.json asks for {name!r}, which is not supported.")
        targets = arguments["labels_or_regions"]
        targets = targets if isinstance(targets, list) else [targets]
        groups.append(
            tuple(value for target in targets for value in (target if isinstance(target, list) else [target]))
        )
    return Postprocessing(tuple(groups))
