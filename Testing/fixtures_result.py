"""What the tests of the result section share: the panel with a segmentation in it, and its widgets as a user sees them.

Use in a test file: ``section = fixtures_result.section`` and so on, after the fixtures of ``panels/conftest.py``.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from fixtures_scene import make_volume

SAMPLES = Path(__file__).resolve().parents[1] / "MedSegAI" / "Resources" / "SampleData"

PROVENANCE = {
    "model": {"id": "hippocampus", "version": "1.0.0"},
    "run": {"quality": "standard", "device": "CPU"},
    "time_utc": "2026-11-21T12:20:33+02:00",
    "warnings": ["The spacing is 3 mm."],
}


@pytest.fixture
def widget(open_panel):
    return open_panel()


@pytest.fixture
def section(widget):
    """The result section of an open panel."""
    return widget.sections[1]


@pytest.fixture
def hippocampus(medsegai):
    """A segmentation with the expert's labels of the bundled volume, as if a model had made it."""
    return segmentation_of_the_sample()


@pytest.fixture
def chosen(section, hippocampus):
    """The result section with the segmentation of the sample chosen."""
    section.ui.segmentationSelector.setCurrentNode(hippocampus)
    return section


def segmentation_of_the_sample(provenance=PROVENANCE):
    import slicer

    from MedSegAICore import mrml
    from MedSegAICore.files import read_label_map
    from MedSegAICore.image import Label, LabelMap

    label_map = read_label_map(SAMPLES / "hippocampus_303_label.nii.gz")
    labels = (Label(1, "anterior", "Anterior", (1, 0, 0)), Label(2, "posterior", "Posterior", (0, 1, 0)))
    volume = make_volume(slicer, np.zeros(label_map.grid.shape, np.int16), label_map.grid, "hippocampus_303")
    return mrml.segmentation_from_label_map(
        LabelMap(label_map.array, label_map.grid, labels), volume, provenance=provenance
    )


def add_maps_to(segmentation):
    """The maps that a run makes on request."""
    import slicer

    from MedSegAICore import mrml_maps
    from MedSegAICore.image import Image
    from MedSegAICore.mrml import grid_from_volume
    from MedSegAILib.segmentation_export import reference_volume

    volume = reference_volume(segmentation)
    grid = grid_from_volume(volume)
    values = np.random.default_rng(0).random((2, *grid.shape)).astype(np.float32)
    (unsure,) = mrml_maps.add_maps(segmentation, volume, "uncertainty", Image(values[:1], grid), ["uncertainty"])
    names = ["Anterior probability", "Posterior probability"]
    assert slicer.mrmlScene.IsNodePresent(unsure)
    return unsure, *mrml_maps.add_maps(segmentation, volume, "probabilities", Image(values, grid), names)


def shown(section):
    """The rows of the table: name, ticked, volume."""
    import qt

    table = section.ui.resultsTable
    return [
        (table.item(row, 0).text(), table.item(row, 0).checkState() == qt.Qt.Checked, table.item(row, 1).text())
        for row in range(table.rowCount)
    ]


def wait(condition, seconds=5.0):
    """Let the window live until the condition holds."""
    import slicer

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        slicer.app.processEvents()
        time.sleep(0.005)


def settle():
    """Let the timers that are due now run."""
    import slicer

    for _ in range(5):
        slicer.app.processEvents()
