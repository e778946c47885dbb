"""The ``medsegai`` command inside Slicer, without a window:

    Slicer --no-main-window --no-splash --python-script medsegai_batch.py segment INPUT --model hippocampus --output DIR

Same arguments, same results and same exit status as ``medsegai``; plain Python can run it too.
"""

import sys
import traceback
from pathlib import Path

CRASHED = 70  # EX_SOFTWARE of sysexits.h: a mistake of the program, unlike the statuses of medsegai


def run() -> int:
    """The exit status, whatever happens: after an exception Slicer would wait for ever without a window."""
    try:
        return run_command()
    except BaseException:
        traceback.print_exc()
        return CRASHED


def run_command() -> int:
    # In a source checkout the packages lie in the folder above; an installed extension has them on the path already.
    module_folder = Path(__file__).resolve().parents[1]
    for folder in (module_folder, module_folder.parent / "MedSegAIMetrics"):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    from MedSegAILib.commands import main

    return main(sys.argv[1:])


def finish(status: int) -> None:
    """Slicer goes on after a script ends unless it is told to exit, and SystemExit alone would not give the status."""
    sys.stdout.flush()
    sys.stderr.flush()
    application = sys.modules.get("slicer")
    if application is not None and hasattr(getattr(application, "app", None), "exit"):
        application.util.exit(status)
    else:
        sys.exit(status)


if __name__ == "__main__":
    finish(run())
