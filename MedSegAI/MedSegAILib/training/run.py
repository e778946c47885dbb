"""From a data set on disk to a trained nnU-Net v2 model folder, with a measured performance: the whole of training.

>>> from MedSegAILib.training.run import train
>>> train("Dataset004_Hippocampus", "models/Hippocampus", hold_out=40, settings=TrainingSettings(minutes=60))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MedSegAICore.errors import TrainingError
from MedSegAICore.files import write_json
from MedSegAILib.inference.prediction import Predictor
from MedSegAILib.inference.tiling import predict_logits
from MedSegAILib.models.folder import ModelFolder
from MedSegAILib.models.plans import Configuration
from MedSegAILib.training.dataset import PreparedCase, RawDataset, make_folds, open_dataset
from MedSegAILib.training.evaluation import evaluate, write_evaluation
from MedSegAILib.training.planning import READER, REORIENTING_READER, Fingerprint, make_plans
from MedSegAILib.training.preparation import prepare
from MedSegAILib.training.settings import TrainingSettings

Progress = Callable[[float, str], None]
HOLD_OUT_SEED = 2026
ALL = "all"


@dataclass(frozen=True)
class PlanOptions:
    """What the planner may be told; None leaves a choice to its rules (planning.make_plans)."""

    dimensions: int = 3
    patch_size: Sequence[int] | None = None
    base_features: int = 32
    max_patch_voxels: int | None = None
    residual: bool = False
    convolutions: tuple[int, int] = (2, 2)


def train(
    dataset_folder: Path | str,
    output: Path | str,
    *,
    settings: TrainingSettings | None = None,
    plan_options: PlanOptions | None = None,
    fold: int | str = 0,
    folds: int = 5,
    hold_out: int | Sequence[str] = 0,
    labels: Mapping[str, int] | None = None,
    channel_names: Sequence[str] = ("MRI",),
    resume: bool = False,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ModelFolder:
    """Train one fold of a model folder and measure it on the cases that it did not see.

    The first call plans the data set and freezes ``dataset.json``, ``plans.json`` and ``splits.json`` in ``output``;
    later calls train further folds of the same model. ``fold``: a number below ``folds``, or ``"all"`` to train on
    every case but the held-out ones. ``hold_out``: how many cases (or which, by id) no fold may see; they are the test
    set. ``resume`` continues an interrupted run of this fold.

    Returns the opened model folder. Raises TrainingError or InputError if the data cannot be used, Cancelled when
    ``cancelled()`` turns true (the checkpoint to resume from is kept).
    """
    report = progress or (lambda fraction, message: None)
    settings, output = settings or TrainingSettings(), Path(output)
    dataset = open_dataset(dataset_folder, labels=labels, channel_names=channel_names)
    classes = OutputClasses.of(dataset.label_values, dataset.description.get("regions_class_order"))
    report(0.0, f"reading {len(dataset.cases)} cases")
    splits = _splits(output, dataset, folds, hold_out)
    training_ids, validation_ids = _cases_of_fold(splits, fold)
    visible = dataset.select(training_ids + validation_ids)
    plans = _plans(output, dataset, visible, plan_options or PlanOptions(), settings.batch_size)
    configuration = Configuration.from_plans(plans, next(iter(plans["configurations"])))
    prepared = prepare(visible, configuration, classes.all_values, output / "prepared", report)

    from MedSegAILib.training.trainer import Fold, Trainer

    trainer = Trainer(
        Fold(
            name=str(fold),
            configuration=configuration.name,
            plans=plans,
            dataset=json.loads((output / "dataset.json").read_text(encoding="utf-8")),
            classes=classes.values,
            class_names=classes.foreground,
            cases=[prepared[id] for id in training_ids],
            validate=_validation([prepared[id] for id in validation_ids], configuration, classes),
            regions=classes.regions,
            ignore=classes.ignore,
        ),
        settings,
        output / f"fold_{fold}",
        resume=resume,
    )
    write_json(output / f"fold_{fold}" / "settings.json", {**settings.to_dict(), "precision_used": trainer.precision})
    trainer.run(report, cancelled)
    if validation_ids:
        report(1.0, f"measuring fold {fold} on its {len(validation_ids)} validation cases")
        predictor = Predictor(
            ModelFolder.open(output), settings.device, quality="best", mirroring=False, folds=[str(fold)]
        )
        scores = evaluate(predictor, dataset.select(validation_ids).cases)
        write_evaluation(output / f"fold_{fold}", "validation", scores)
    return ModelFolder.open(output)


def measure_on_held_out(
    dataset_folder: Path | str, output: Path | str, *, device: str = "auto", labels: Mapping[str, int] | None = None,
    channel_names: Sequence[str] = ("MRI",), progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the model (the mean of all its folds) on the held-out cases, which no fold saw.

    Writes ``test.csv`` and ``test.json`` into the model folder; returns the summary (evaluation.summarize).
    Raises TrainingError if no case was held out.
    """
    output = Path(output)
    ids = json.loads((output / "splits.json").read_text(encoding="utf-8"))["test"]
    if not ids:
        raise TrainingError(f"No case of {output.name} was held out, so there is nothing to test it on.")
    cases = open_dataset(dataset_folder, labels=labels, channel_names=channel_names).select(ids).cases
    scores = evaluate(Predictor(ModelFolder.open(output), device, quality="best", mirroring=False), cases, progress)
    return write_evaluation(output, "test", scores)


def _validation(cases: Sequence[PreparedCase], configuration: Configuration, classes: OutputClasses):
    """A function from a network to the mean Dice per foreground class on prepared cases; None without cases.

    Measured on the prepared grid and without post-processing: quick, and enough to see a run go wrong.
    """
    if not cases:
        return None
    import torch

    from MedSegAIMetricsLib import compare

    def validate(network) -> dict[str, float]:
        device = next(network.parameters()).device
        scores = []
        for case in cases:
            logits = predict_logits(
                [network], torch.from_numpy(np.array(case.image)), configuration.patch_size,
                outputs=len(classes.values), device=device,
            )  # fmt: skip
            if classes.regions:
                masks = (logits > 0).cpu().numpy()
            else:
                winner = logits.argmax(0).cpu().numpy()
                masks = [winner == number for number in range(1, len(classes.values))]
            values = classes.values if classes.regions else classes.values[1:]
            counted = case.labels != classes.ignore
            scores.append(
                [
                    compare(np.isin(case.labels, v), mask & counted, (1, 1, 1), [1], ["dice"])[1]["dice"]
                    for v, mask in zip(values, masks, strict=True)
                ]
            )
        return dict(zip(classes.foreground, np.mean(scores, axis=0).tolist(), strict=True))

    return validate


@dataclass(frozen=True)
class OutputClasses:
    """What the outputs of a network stand for, from the ``labels`` of ``dataset.json``.

    ``values``: label values per output (background first for labels; none for regions). ``foreground``: names of the
    foreground outputs. ``regions``: whether outputs are overlapping regions. ``ignore``: value of the ignore label.
    """

    values: tuple[tuple[int, ...], ...]
    foreground: tuple[str, ...]
    regions: bool
    ignore: int | None

    @property
    def all_values(self) -> tuple[int, ...]:
        """Every value that a label file may hold, background first."""
        used = {0, *(value for values in self.values for value in values)}
        return (*sorted(used), *(() if self.ignore is None else (self.ignore,)))

    @classmethod
    def of(cls, labels: Mapping[str, Any], regions_class_order: Sequence[int] | None = None) -> OutputClasses:
        """Raises TrainingError if background is not 0, values have gaps, or regions lack their class order."""
        named = {name: tuple(v) if isinstance(v, list | tuple) else (int(v),) for name, v in labels.items()}
        ignore = named.pop("ignore", (None,))[0]
        if named.pop("background", None) != (0,):
            raise TrainingError(f"The labels {dict(labels)} need an entry 'background' of value 0.")
        used = sorted({value for values in named.values() for value in values})
        if used != list(range(1, len(used) + 1)) or ignore not in (None, len(used) + 1):
            raise TrainingError(
                f"The label values are {used}{'' if ignore is None else f' with ignore {ignore}'}, but nnU-Net's "
                "format needs 1, 2, 3 … without gaps, the ignore label last. Renumber them."
            )
        regions = any(len(values) > 1 for values in named.values())
        if regions and len(regions_class_order or ()) != len(named):
            raise TrainingError("Labels that are regions need regions_class_order with one value for each region.")
        values = tuple(named.values()) if regions else tuple(sorted(named.values()))
        names = tuple(named) if regions else tuple(sorted(named, key=named.get))
        return cls(values if regions else ((0,), *values), names, regions, ignore)


def _splits(output: Path, dataset: RawDataset, folds: int, hold_out: int | Sequence[str]) -> dict[str, Any]:
    """``{"test": […], "folds": [{"train", "val"}, …]}``, frozen in ``splits.json`` by the first call."""
    ids = [case.id for case in dataset.cases]
    path = output / "splits.json"
    if path.is_file():
        splits = json.loads(path.read_text(encoding="utf-8"))
        known = {*splits["test"], *splits["folds"][0]["train"], *splits["folds"][0]["val"]}
        if known != set(ids):
            raise TrainingError(
                f"{path} was made for other cases than the {len(ids)} of {dataset.name}; use a new folder."
            )
        return splits
    if isinstance(hold_out, int):
        if not 0 <= hold_out <= len(ids) - 2:
            raise TrainingError(f"{hold_out} of {len(ids)} cases cannot be held out; at least two must be left.")
        hold_out = [str(id) for id in np.random.default_rng(HOLD_OUT_SEED).permutation(sorted(ids))[:hold_out]]
    dataset.select(hold_out)
    splits = {"test": sorted(hold_out), "folds": make_folds([id for id in ids if id not in set(hold_out)], folds)}
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, splits)
    return splits


def _cases_of_fold(splits: Mapping[str, Any], fold: int | str) -> tuple[list[str], list[str]]:
    if fold == ALL:
        return sorted(splits["folds"][0]["train"] + splits["folds"][0]["val"]), []
    if str(fold) not in map(str, range(len(splits["folds"]))):
        raise TrainingError(f"There is no fold {fold!r}; choose 0 to {len(splits['folds']) - 1}, or 'all'.")
    chosen = splits["folds"][int(fold)]
    return chosen["train"], chosen["val"]


def _plans(
    output: Path, dataset: RawDataset, visible: RawDataset, options: PlanOptions, batch_size: int | None
) -> dict[str, Any]:
    """The plan in ``plans.json``, made by the first call from the cases that are not held out."""
    path = output / "plans.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    random = np.random.default_rng(0)
    # A network sees arrays, not patients: if cases are stored in several orientations, all are turned to one.
    mixed = len({case.read_image().grid.orientation for case in visible.cases}) > 1
    turned = (case.read_turned("RAS" if mixed else None) for case in visible.cases)
    fingerprints = [Fingerprint.of(image, labels, random) for image, labels in turned]
    plans = make_plans(
        dataset.name, fingerprints, dataset.description, dimensions=options.dimensions, patch_size=options.patch_size,
        batch_size=batch_size, base_features=options.base_features, max_patch_voxels=options.max_patch_voxels,
        residual=options.residual, convolutions=options.convolutions, reader=REORIENTING_READER if mixed else READER,
    )  # fmt: skip
    write_json(output / "dataset.json", {**dataset.description, "numTraining": len(visible.cases)})
    write_json(path, plans)
    return plans
