"""The harness for panels: the module MedSegAI loaded outside Slicer, with one warm worker process for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from MedSegAILib.logic import SegmentationLogic

MODULE = Path(__file__).resolve().parents[2] / "MedSegAI" / "MedSegAI.py"
OWN = {name: getattr(SegmentationLogic, name) for name in ("worker", "prepareWorker", "closeWorker")}


@pytest.fixture(scope="session")
def medsegai(tmp_path_factory):
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
    application.forget()
    yield
    failures = [f"{type(error).__name__}: {error}" for error in application.failures]
    application.failures.clear()
    assert not failures, failures


@pytest.fixture(scope="session")
def warm_worker():
    """A worker process for all tests: to import torch in each of them would take longer than the tests."""
    from MedSegAILib.worker.client import Worker

    with Worker() as worker:
        yield worker


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch, warm_worker):
    """Panels use the warm worker; closing one of them ends its run and not the process."""

    def end_run(logic):
        if warm_worker._run is not None:
            warm_worker._run.abandon()

    monkeypatch.setattr(SegmentationLogic, "worker", lambda logic: warm_worker)
    monkeypatch.setattr(SegmentationLogic, "prepareWorker", lambda logic: None)
    monkeypatch.setattr(SegmentationLogic, "closeWorker", end_run)


@pytest.fixture
def own_worker(_one_worker, monkeypatch):
    """For a test of the worker's beginning and end: each panel has one of its own, as in Slicer."""
    for name, method in OWN.items():
        monkeypatch.setattr(SegmentationLogic, name, method)


@pytest.fixture
def open_panel(medsegai, _one_worker):
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
