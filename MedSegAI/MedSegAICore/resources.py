"""Where the files that the program ships with lie: models and sample volumes."""

from __future__ import annotations

from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[1]
# Beside the packages in a source checkout and in Slicer's install tree; a package of its own after pip install.
CANDIDATES = (PACKAGES / "Resources", PACKAGES / "MedSegAIResources")


def resource(*parts: str) -> Path:
    """The path of a shipped file or folder, e.g. ``resource("Models")``; it need not exist."""
    root = next((folder for folder in CANDIDATES if folder.is_dir()), CANDIDATES[0])
    return root.joinpath(*parts)
