"""The harness for panels: the module MedSegAI loaded outside Slicer."""

from __future__ import annotations

from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "MedSegAI" / "MedSegAI.py"


@pytest.fixture(scope="session")
def medsegai():
    """The module file MedSegAI.py, imported as Slicer does; skips if PySide6 or slicer-core is not installed."""
    pytest.importorskip("slicer")
    pytest.importorskip("PySide6")
    from harness import application

    application.install()
    return application.load_module(MODULE)


@pytest.fixture(autouse=True)
def _no_failure_in_a_slot(medsegai):
    """Qt and VTK swallow exceptions of slots and observers; here they fail the test. The scene is emptied before."""
    import slicer

    from harness import application

    slicer.mrmlScene.Clear(0)
    application.failures.clear()
    yield
    failures = [f"{type(error).__name__}: {error}" for error in application.failures]
    application.failures.clear()
    assert not failures, failures


@pytest.fixture
def open_panel(medsegai):
    """A function that opens the panel of a module and gives its widget object; all are closed after the test."""
    from harness import application

    opened = []

    def open_one(module=medsegai):
        widget, panel = application.open_panel(module)
        opened.append((widget, panel))
        return widget

    yield open_one
    for widget, panel in opened:
        application.close_panel(widget, panel)
