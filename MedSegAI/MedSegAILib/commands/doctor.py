"""``medsegai doctor``: what is installed here, and whether it can do the job."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from MedSegAICore.errors import MedSegAIError
from MedSegAILib.commands.status import DONE, SOME_FAILED

REQUIRED = ("numpy", "scipy", "SimpleITK", "pydicom", "torch")
OPTIONAL = {
    "slicer-core": "nodes and pictures without the Slicer application",
    "matplotlib": "plots of training runs",
    "highdicom": "writing DICOM SEG",
}

DRAWING_SECONDS = 60
DRAWING_REMEDY = "Install Mesa's EGL. On Debian and Ubuntu: apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
DRAW_RED = """
import sys, vtk
window, renderer, image = vtk.vtkRenderWindow(), vtk.vtkRenderer(), vtk.vtkWindowToImageFilter()
window.SetOffScreenRendering(1)
window.SetSize(16, 16)
renderer.SetBackground(1, 0, 0)
window.AddRenderer(renderer)
window.Render()
image.SetInput(window)
image.Update()
print(window.GetClassName())
sys.exit(image.GetOutput().GetScalarComponentAsFloat(8, 8, 0, 0) != 255)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the verdict. ``ok`` is None for a fact, False for what needs mending as ``remedy`` says."""

    what: str
    value: str
    ok: bool | None = None
    remedy: str = ""


def add_parser(subparsers):
    parser = subparsers.add_parser("doctor", help="check what is installed and whether it works")
    parser.add_argument("--device", default="auto", help="device to try (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    findings = [*_system(), *_packages(), _device(arguments.device), *_models(), _pictures()]
    broken = [finding for finding in findings if finding.ok is False]
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        marks = {True: "ok  ", False: "NO  ", None: "    "}
        for finding in findings:
            print(f"{marks[finding.ok]}{finding.what:<22}{finding.value}")
            if finding.ok is False:
                print(f"    {'':<22}-> {finding.remedy}")
        print("Ready to segment." if not broken else f"{len(broken)} thing(s) to mend.")
    return SOME_FAILED if broken else DONE


def _system() -> list[Finding]:
    version = platform.python_version()
    python = Finding("Python", version, sys.version_info >= (3, 10), "Install Python 3.10 or later.")
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return [
        python,
        Finding("system", f"{platform.system()} {platform.release()}, {os.cpu_count()} processors"),
        Finding("main memory", f"{memory:.1f} GiB" if memory else "unknown"),
        Finding("free disk here", f"{disk:.1f} GiB", disk > 0.5, "Free some space: results cannot be written."),
    ]


def _packages() -> list[Finding]:
    findings = []
    for package in (*REQUIRED, *OPTIONAL):
        try:
            findings.append(Finding(package, metadata.version(package), True))
        except metadata.PackageNotFoundError:
            if package in REQUIRED:
                remedy = "In Slicer: install the PyTorch extension." if package == "torch" else ""
                findings.append(
                    Finding(package, "missing", False, f"{remedy} Elsewhere: pip install {package}".strip())
                )
            else:
                findings.append(Finding(package, f"not installed (only for {OPTIONAL[package]})"))
    return findings


def _device(name: str) -> Finding:
    def check() -> str:
        from MedSegAILib.inference.devices import choose_device, describe_device, try_convolution

        device = choose_device(name)
        return f"{describe_device(device)}, one convolution in {1000 * try_convolution(device):.0f} ms"

    return _attempt("device", check)


def _models() -> list[Finding]:
    from MedSegAILib.models.library import ModelLibrary

    library = ModelLibrary()
    good = [_attempt(f"model {model.id}", lambda model=model: _verified(library, model.id)) for model in library.list()]
    bad = [
        Finding(f"model {path.name}", str(error), False, "Remove the folder or copy the model again.")
        for path, error in library.problems().items()
    ]
    return [*good, *bad]


def _verified(library, id: str) -> str:
    model = library.verify(id)
    return f"version {model.version}, {len(model.folds)} fold(s), weights load"


def _pictures() -> Finding:
    """Pictures are an extra, without slicer-core. A bad driver may crash, therefore the trial runs in a child."""
    try:
        metadata.version("slicer-core")
    except metadata.PackageNotFoundError:
        return Finding("offscreen pictures", "not possible (slicer-core is not installed)")
    try:
        child = subprocess.run(
            [sys.executable, "-c", DRAW_RED], capture_output=True, text=True, timeout=DRAWING_SECONDS, check=False
        )
        works, window = child.returncode == 0, child.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        works, window = False, ""
    return Finding("offscreen pictures", window if works else "do not work", works, DRAWING_REMEDY)


def _attempt(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, check(), True)
    except MedSegAIError as error:
        return Finding(what, "does not work", False, str(error))
