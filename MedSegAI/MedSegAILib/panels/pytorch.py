"""PyTorch in the Slicer application: taken as it is, or installed through the PyTorch extension after one question."""

from __future__ import annotations

import logging

from slicer.i18n import tr as _

from MedSegAICore.errors import DependencyError


def ensureTorch():
    """Make sure that torch can be imported; ask the user once if it has to be installed.

    Called when a model is about to run, never when the module is loaded: everything else works without torch.
    Raises DependencyError that says what to do if torch is not there and was not installed.
    """
    try:
        import torch  # noqa: F401

        return
    except ImportError:
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
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
        raise DependencyError(
            _(
                "PyTorch was not installed. Press Apply to try again, or open the module PyTorch to see what went "
                "wrong and to choose a build by hand."
            )
        )
