"""Python packages that a button needs: taken as they are, or installed after one question."""

from __future__ import annotations

import importlib
import logging
import re
import subprocess
from importlib import metadata

import slicer
from slicer.i18n import tr as _

from MedSegAICore.errors import DependencyError


def ensure(requirement: str, why: str):
    """Make sure that a package is installed; ask the user once if it has to be.

    Called when a button is pressed that needs it, never when a module is loaded. ``requirement``: as pip writes it, for
    example "highdicom>=0.25". ``why``: what needs it, as the beginning of a sentence, "Writing DICOM SEG".
    Raises DependencyError, which says what to do, if it is not there and was not installed; without a main window
    and in Slicer's testing mode, where nobody could answer, it is not even asked.
    """
    if _is_installed(requirement):
        return
    if slicer.util.mainWindow() is None or slicer.app.testingEnabled():
        text = _("{why} needs the Python package {package}. Install it with: PythonSlicer -m pip install {package}")
        raise DependencyError(text.format(why=why, package=requirement))
    try:
        agreed = _install(requirement, why)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        logging.exception("Installing %s failed.", requirement)
        raise DependencyError(
            _(
                "The Python package {package} could not be installed ({reason}). {why} needs it. Check the connection "
                "to the internet and try again; the error log has what pip said."
            ).format(package=requirement, reason=_last_line(error), why=why)
        ) from error
    importlib.invalidate_caches()
    if not agreed or not _is_installed(requirement):
        raise DependencyError(
            _("{why} needs the Python package {package}, which was not installed. Try again to be asked again.").format(
                why=why, package=requirement
            )
        )


def _install(requirement: str, why: str) -> bool:
    """Ask and install; whether the user agreed. What pip fails with is raised."""
    packaging = _slicer_packaging()
    question = _("{why} needs the Python package {package}. It is downloaded and installed into Slicer now.").format(
        why=why, package=requirement
    )
    if not slicer.util.confirmOkCancelDisplay(question, _("MedSegAI - Install a Python package")):
        return False
    if packaging is not None:
        packaging.pip_ensure(requirement, prompt_install=False, requester="MedSegAI")
    else:
        slicer.util.pip_install(requirement)
    return True


def _slicer_packaging():
    """Slicer's module for this, which shows progress and checks whether a restart is needed; None before 5.12."""
    try:
        return importlib.import_module("slicer.packaging")
    except ImportError:
        return None


def _is_installed(requirement: str) -> bool:
    packaging = _slicer_packaging()
    if packaging is not None:
        return packaging.pip_check(requirement)
    try:
        metadata.version(re.match(r"[\w.-]+", requirement)[0])
    except metadata.PackageNotFoundError:
        return False
    return True


def _last_line(error: Exception) -> str:
    """What the last line of pip's output, or else the error itself, says."""
    output = getattr(error, "stderr", None) or getattr(error, "output", None) or str(error)
    lines = [line.strip() for line in str(output).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
