"""The ``medsegai`` command: a thin skin over the libraries, one file per sub-command."""

from MedSegAILib.commands.main import main

__all__ = ["main"]
