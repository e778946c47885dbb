"""The panel of MedSegAI with small models and volumes, and what a user does with it.

Use in a test file: ``widget, volume = fixtures_segmentation_panel.widget, …``, then the fixtures of these names.
"""

from __future__ import annotations

import numpy as np
import pytest

from fixtures_scene import make_grid, make_volume

SHAPE = (16, 24, 20)  # two tiles of the model
PATIENCE_SECONDS = 120  # on a busy machine; nothing is asserted about time


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Three models: two that are done at once, and one with thousands of tiles."""
    from fixtures_models import make_model_folder
    from MedSegAILib.models.folder import ModelFolder

    folder = tmp_path_factory.mktemp("models")
    first = make_model_folder(folder / "first", card={"id": "hippocampus", "title": "Random hippocampus"})
    second = make_model_folder(folder / "second", card={"id": "other", "title": "Other"}, seed=3)
    many = make_model_folder(folder / "many", card={"id": "many", "title": "Many tiles"}, patch=(8, 8, 8))
    return [ModelFolder.open(path) for path in (first, second, many)]


@pytest.fixture
def widget(open_panel, models, medsegai, monkeypatch):
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: models)
    return open_panel()


@pytest.fixture
def volume(medsegai):
    import slicer

    noise = np.random.default_rng(0).normal(size=SHAPE)
    return make_volume(slicer, (noise + np.roll(noise, 1, 0)).astype(np.float32), make_grid(SHAPE), "case")


@pytest.fixture
def slow():
    """A function that chooses a volume and a model that take long."""
    return choose_long_run


def choose_long_run(widget):
    import slicer

    noise = np.random.default_rng(1).normal(100, 20, (64, 64, 64)).astype(np.float32)
    widget._parameterNode.inputVolume = make_volume(slicer, noise, make_grid(noise.shape), "long")
    widget._parameterNode.modelId = "many"


def section(widget):
    return widget.sections[0]


def apply(widget):
    """Click Apply and let the event loop run until the run is over."""
    assert section(widget).ui.applyButton.enabled, section(widget).ui.applyButton.toolTip
    section(widget).ui.applyButton.click()
    wait_until_done(widget)


def pick(selector, node):
    """Choose a node as with the mouse."""
    selector.setCurrentNode(node)
    selector.nodeActivated.emit(node)


def wait_until_done(widget, condition=None):
    from harness.event_loop import wait_until

    wait_until(condition or (lambda: not section(widget)._run.running), PATIENCE_SECONDS)


def wait_for_a_tile(widget):
    """Let the event loop run until the network computes tiles."""
    from harness.event_loop import wait_until

    ui = section(widget).ui

    def look():
        assert section(widget)._run.running, ui.statusLabel.text
        return ui.statusLabel.text.startswith("Tile ")

    wait_until(look, PATIENCE_SECONDS)


def segments(node) -> list[str]:
    """The ids of a node's segments."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]
