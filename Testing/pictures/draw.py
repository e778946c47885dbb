"""Draw the panels in all their states: ``python Testing/pictures/draw.py [--all FOLDER]``.

Without ``--all`` the pictures of the documentation are drawn again, in Resources/Screenshots. With it every state of
both panels is drawn at 400 pixels, light and dark, to be looked at after a change; texts that are cut are printed.
Each file beside this one brings a panel into one state, as a user would. See ``python -m harness --help``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SAMPLES = ROOT / "MedSegAI/Resources/SampleData"
SCREENSHOTS = {
    "panel": "MedSegAI_finished",
    "correction": "MedSegAI_correcting",
    "metrics_panel": "MedSegAIMetrics_finished",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="draw every state into this folder")
    folder = parser.parse_args().all
    if folder is None:
        jobs = [(state, ROOT / f"Resources/Screenshots/{name}.png", []) for name, state in SCREENSHOTS.items()]
    else:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        states = sorted(path.stem for path in HERE.glob("MedSegAI*.py"))
        styles = [(state, style) for state in states for style in ("light", "dark")]
        jobs = [(state, folder / f"{state}_{style}.png", ["--panel-only", "--style", style]) for state, style in styles]
    return max(_draw(*job) for job in jobs)


def _draw(state: str, path: Path, options: list[str]) -> int:
    print(path, flush=True)
    module = state.split("_")[0]
    files = [] if state.endswith("_empty") else _files(module)
    command = [sys.executable, "-m", "harness", module, *files, "--script", HERE / f"{state}.py", "--screenshot", path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "Testing")}
    return subprocess.run([*map(str, command), *options], env=environment).returncode


def _files(module: str) -> list[str]:
    """What is loaded: a volume; for a comparison also what two people made of it."""
    volume = ["--volume", str(SAMPLES / "hippocampus_393.nii.gz")]
    reference = ["--segmentation", str(SAMPLES / "hippocampus_393_label.nii.gz")]
    return volume if module == "MedSegAI" else volume + reference


if __name__ == "__main__":
    sys.exit(main())
