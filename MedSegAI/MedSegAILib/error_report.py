"""What a user sends to whoever can help: the error, the versions and the model, and nothing about a patient."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path

from MedSegAILib.inference.provenance import software_versions
from MedSegAILib.models.model import Model


def error_report(message: str, log: str, model: Model | None, names: Iterable[str], application: str = "") -> str:
    """Text for a bug report.

    ``log``: what was said before. ``names``: of volumes and other nodes, which may hold a patient's; they are replaced
    by numbers, as the user's home folder is. ``application``: name and version of the program around this one.
    """
    versions = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    lines = [
        f"Error: {message}",
        f"Model: {model.id} {model.version} ({model.format})" if model is not None else "Model: none",
        f"Software: {', '.join(part for part in (application, versions) if part)}",
        f"System: {platform.platform()}",
        "",
        log,
    ]
    return without_names("\n".join(lines).strip(), names)


def without_names(text: str, names: Iterable[str]) -> str:
    """The text with numbers in place of these names, the longest first, and ``~`` in place of the home folder."""
    for number, name in enumerate(sorted({name for name in names if name}, key=len, reverse=True), start=1):
        for written in (repr(name)[1:-1], name):  # sentences hold the name as Python writes it
            text = text.replace(written, f"<node {number}>")
    return text.replace(str(Path.home()), "~")
