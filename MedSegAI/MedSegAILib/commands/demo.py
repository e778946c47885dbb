"""``medsegai demo``: segment the sample volume with the bundled model, and show how good it is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from MedSegAICore.errors import InputError
from MedSegAICore.files import read_label_map
from MedSegAICore.resources import resource
from MedSegAICore.text import format_volume
from MedSegAILib.commands import segment
from MedSegAILib.commands.status import DONE
from MedSegAILib.commands.terminal import say

MODEL = "hippocampus"


def add_parser(subparsers):
    parser = subparsers.add_parser("demo", help="segment the sample volume with the bundled model")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for results (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, mps or cpu (default: %(default)s)")
    parser.add_argument("--no-picture", action="store_true", help="leave out overlay.png, which needs slicer-core")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Raises InputError if the sample is not there; DependencyError if the picture cannot be drawn."""
    samples = _samples()
    inputs = [str(sample["image"]) for sample in samples]
    options = ["--model", MODEL, "--output", str(arguments.output), "--device", arguments.device, "--overwrite"]
    command = segment.parse([*inputs, *options])
    reports = segment.run_cases(command)
    print(f"{'case':<18}{'segment':<26}{'volume':>10}{'reference':>11}{'Dice':>8}{'time':>8}")
    for sample, report in zip(samples, reports, strict=True):
        if report.error:
            raise InputError(report.error)
        _print_rows(sample, report)
    print(f"Written: {', '.join(report.output for report in reports)}")
    if not arguments.no_picture:
        print(f"Written: {_draw(samples[0]['image'], Path(reports[0].output), arguments.output / 'overlay.png')}")
    print("Research use only.")
    return DONE


def _samples() -> list[dict]:
    """Entries of ``SampleData/samples.json`` with full paths. Raises InputError if the file is missing."""
    folder = resource("SampleData")
    listing = folder / "samples.json"
    if not listing.is_file():
        raise InputError(f"The sample volumes are missing: {listing} does not exist. Reinstall the program.")
    entries = json.loads(listing.read_text(encoding="utf-8"))["samples"]
    return [{**entry, "image": folder / entry["image"], "label": folder / entry["label"]} for entry in entries]


def _print_rows(sample: dict, report: segment.Report):
    from MedSegAIMetricsLib import compare

    ours, reference = read_label_map(Path(report.output)), read_label_map(sample["label"])
    names = {label.value: label for label in ours.labels}
    volumes = reference.volumes_ml()
    for truth in reference.labels:
        label = names[truth.value]
        masks = reference.mask(truth), ours.mask(label)
        score = compare(*masks, ours.grid.spacing_kji, [1], ["dice"])[1]["dice"]
        print(
            f"{report.case:<18}{label.name:<26}{format_volume(report.volumes_ml[label.id]):>10}"
            f"{format_volume(volumes[truth.id]):>11}{score:>8.3f}{report.seconds:>7.1f}s"
        )


def _draw(image: Path, segmentation: Path, picture: Path) -> Path:
    """Slicer's own views of the volume and its segmentation, rendered without a window."""
    say("Drawing the picture ...")
    from MedSegAICore.headless import start
    from MedSegAICore.headless_views import save_overview_png

    slicer = start()
    volume = slicer.util.loadVolume(str(image))
    save_overview_png(picture, volume, slicer.util.loadSegmentation(str(segmentation)))
    return picture
