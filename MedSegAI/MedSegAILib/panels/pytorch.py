"""PyTorch in the Slicer application: taken as it is, or installed through the PyTorch extension after one question.

It is looked for and never imported here: that takes seconds in which the window would stand still, and the models run
in a process of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging

from slicer.i18n import tr as _

from MedSegAICore.errors import DependencyError


def isTorchInstalled() -> bool:
    """Whether another Python process of this application could import torch."""
    importlib.invalidate_caches()
    return importlib.util.find_spec("torch") is not None


def ensureTorch():
    """Make sure that torch is installed; ask the user once if it has to be.

    Called when a model is about to run, never when the module is loaded: everything else works without torch.
    Raises DependencyError that says what to do if torch is not there and was not installed.
    """
    if isTorchInstalled():
        return
    logging.info("PyTorch is not installed yet.")
    try:
        import PyTorchUtils
    except ImportError as error:
        raise DependencyError(
            _(
                "Running a model needs PyTorch. Install the extension PyTorch in Slicer's Extensions Manager, restart "
                "Slicer and press Apply again."
            )
        ) from error
    # It chooses the build for this computer's graphics card, shows the download's progress and asks before it starts.
    try:
        installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    except Exception as error:  # what pip and the network raise is theirs
        logging.exception("PyTorch could not be installed.")
        raise DependencyError(
            _(
                "PyTorch could not be installed: {reason}. Check that this computer is connected to the internet and "
                "press Apply again; without a connection, install it once on a network that has one."
            ).format(reason=str(error).strip().rstrip(".") or type(error).__name__)
        ) from error
    if installed is None:
        raise DependencyError(
            _(
                "PyTorch was not installed. Press Apply to try again, or open the module PyTorch to see what went "
                "wrong and to choose a build by hand."
            )
        )
