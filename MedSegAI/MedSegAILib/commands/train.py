"""``medsegai train``: from a data set on disk to a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from MedSegAICore.errors import TrainingError
from MedSegAILib.commands.status import DONE
from MedSegAILib.commands.terminal import ProgressLine
from MedSegAILib.training.settings import (
    AUGMENTATIONS,
    LOSSES,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    TrainingSettings,
)

DEFAULTS = TrainingSettings()


def add_parser(subparsers):
    parser = subparsers.add_parser(
        "train",
        help="train a model on your own data",
        description="Train one fold of an nnU-Net v2 model folder, and measure it on cases that it did not see. "
        "DATASET is a data set in nnU-Net's raw layout, or a folder with images/ and labels/ of equal file names. The "
        "first run plans the model and freezes the folds; run again with --fold 1, 2 … for an ensemble.",
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="the model folder")
    _add_data_options(parser.add_argument_group("data"))
    _add_plan_options(parser.add_argument_group("plan (chosen from the data unless given)"))
    _add_run_options(parser.add_argument_group("run"))
    parser.set_defaults(run=run)


def _add_data_options(group):
    group.add_argument("--fold", default="0", help="a number, or all (default: %(default)s)")
    group.add_argument("--folds", type=int, default=5, help="number of folds (default: %(default)s)")
    group.add_argument(
        "--hold-out", default="0", metavar="N|FILE",
        help="cases that no fold may see: how many, or a text file with one id per line",
    )  # fmt: skip
    group.add_argument("--labels", metavar="NAME=VALUE,…", help="for folders without dataset.json: liver=1,tumor=2")
    group.add_argument(
        "--channels", default="MRI", metavar="NAME,…", help="for folders without dataset.json; CT matters"
    )
    group.add_argument("--test", action="store_true", help="train nothing; measure the model on the held-out cases")


def _add_plan_options(group):
    group.add_argument("--dimensions", type=int, choices=(2, 3), default=3)
    group.add_argument("--patch-size", metavar="KxJxI", help="voxels at the plan's spacing, e.g. 40x56x40")
    group.add_argument(
        "--base-features", type=int, default=32, help="channels at full resolution (default: %(default)s)"
    )
    group.add_argument("--max-patch-voxels", type=int, help="bound on the patch; smaller trains on a CPU")
    group.add_argument("--residual", action="store_true", help="residual encoder instead of the plain U-Net")


def _add_run_options(group):
    group.add_argument("--iterations", type=int, default=DEFAULTS.iterations, help="default: %(default)s")
    group.add_argument("--minutes", type=float, help="end after this time; the learning rate decays to that end")
    group.add_argument("--resume", action="store_true", help="go on from the last checkpoint of this fold")
    group.add_argument("--batch-size", type=int)
    group.add_argument("--loss", choices=LOSSES, default=DEFAULTS.loss, help="default: %(default)s")
    group.add_argument("--class-weights", metavar="W,W,…", help="for ce and focal; background first")
    group.add_argument("--optimizer", choices=OPTIMIZERS, default=DEFAULTS.optimizer, help="default: %(default)s")
    group.add_argument("--learning-rate", type=float, help="default: 0.01 for sgd, 0.001 for adamw")
    group.add_argument("--weight-decay", type=float, default=DEFAULTS.weight_decay, help="default: %(default)s")
    group.add_argument("--schedule", choices=SCHEDULES, default=DEFAULTS.schedule, help="default: %(default)s")
    group.add_argument(
        "--augmentation", choices=AUGMENTATIONS, default=DEFAULTS.augmentation, help="default: %(default)s"
    )
    group.add_argument(
        "--mirror-axes", default="", metavar="N,…",
        help="axes 0, 1, 2 that may be flipped; none (the default) where left and right differ",
    )  # fmt: skip
    group.add_argument("--foreground-fraction", type=float, default=DEFAULTS.foreground_fraction)
    group.add_argument("--ema-decay", type=float, default=DEFAULTS.ema_decay, help="average of weights; 0 is off")
    group.add_argument("--precision", choices=PRECISIONS, default=DEFAULTS.precision)
    group.add_argument("--device", default=DEFAULTS.device)
    group.add_argument("--threads", type=int, help="processor threads of torch")
    group.add_argument("--validate-every-minutes", type=float, default=DEFAULTS.validate_every_minutes)
    group.add_argument("--seed", type=int, default=DEFAULTS.seed)


def run(arguments: argparse.Namespace) -> int:
    """Raises TrainingError or InputError if the data or a setting cannot be used; Cancelled on Ctrl-C."""
    from MedSegAILib.training.run import PlanOptions, measure_on_held_out, train

    data = {
        "labels": _labels(arguments.labels),
        "channel_names": [name for name in arguments.channels.split(",") if name],
    }
    with ProgressLine(f"fold {arguments.fold}") as progress:
        if arguments.test:
            summary = measure_on_held_out(
                arguments.dataset, arguments.output, device=arguments.device, progress=progress, **data
            )
            _print_summary(summary)
            return DONE
        model = train(
            arguments.dataset,
            arguments.output,
            settings=_settings(arguments),
            plan_options=PlanOptions(
                dimensions=arguments.dimensions,
                patch_size=_numbers(arguments.patch_size, "x", "--patch-size"),
                base_features=arguments.base_features,
                max_patch_voxels=arguments.max_patch_voxels,
                residual=arguments.residual,
            ),
            fold=arguments.fold,
            folds=arguments.folds,
            hold_out=_hold_out(arguments.hold_out),
            resume=arguments.resume,
            progress=progress,
            **data,
        )
    print(f"Trained fold {arguments.fold} of {model.path}. Folds there: {', '.join(model.folds)}.")
    return DONE


def _settings(arguments: argparse.Namespace) -> TrainingSettings:
    values = {name: value for name, value in vars(arguments).items() if name in vars(DEFAULTS)}
    weights = _numbers(arguments.class_weights, ",", "--class-weights", float)
    axes = _numbers(arguments.mirror_axes, ",", "--mirror-axes") or ()
    return TrainingSettings(**{**values, "class_weights": weights, "mirror_axes": tuple(axes)})


def _numbers(text: str | None, separator: str, option: str, kind: type = int) -> list | None:
    if not text:
        return None
    try:
        return [kind(part) for part in text.split(separator)]
    except ValueError as error:
        raise TrainingError(f"{option} is {text!r}; expected numbers with {separator!r} between them.") from error


def _labels(text: str | None) -> dict[str, int] | None:
    if not text:
        return None
    try:
        return {name.strip(): int(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise TrainingError(f"--labels is {text!r}; expected for example liver=1,tumor=2.") from error


def _hold_out(text: str) -> int | list[str]:
    if text.isdigit():
        return int(text)
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TrainingError(f"--hold-out is {text!r}: neither a number nor a file that can be read.") from error
    return [line.strip() for line in lines if line.strip()]


def _print_summary(summary: dict):
    print(f"{'structure':<28}{'cases':>6}{'Dice':>8}  {'95 % interval':<16}{'HD95 mm':>8}  {'95 % interval':<16}")
    for structure, figures in summary.items():
        dice, distance = figures["dice"], figures["hd95_voxelcenter_maxdir_mm"]
        print(
            f"{structure:<28}{figures['cases']:>6}{dice['mean']:>8.3f}  {_interval(dice):<16}"
            f"{distance.get('mean', float('nan')):>8.2f}  {_interval(distance):<16}"
        )


def _interval(figures: dict) -> str:
    return "{:.3f} to {:.3f}".format(*figures["ci95"]) if figures.get("ci95") else ""
