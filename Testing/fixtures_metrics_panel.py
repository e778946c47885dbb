"""The panel of MedSegAIMetrics with the bundled expert labels and a shifted copy of them, for its tests."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = REPOSITORY / "MedSegAI" / "Resources" / "SampleData" / "hippocampus_393_label.nii.gz"
NAMES = {"anterior": "Anterior", "posterior": "Posterior"}


@pytest.fixture(scope="session")
def metrics(medsegai):
    """The module file MedSegAIMetrics.py, imported as Slicer does."""
    from harness import application

    return application.load_module(REPOSITORY / "MedSegAIMetrics" / "MedSegAIMetrics.py")


class Panel:
    """The opened panel as a user sees it. ``ui``: the named widgets of all its sections."""

    def __init__(self, widget):
        self.widget = widget
        self.comparison, self.result = widget.sections
        self.ui = SimpleNamespace(**{k: v for section in widget.sections for k, v in vars(section.ui).items()})

    @property
    def chosen(self):
        """The parameter node."""
        return self.widget._parameterNode

    @property
    def running(self):
        return self.comparison.run.running

    def compare(self):
        """Press Apply and wait for the end."""
        self.ui.applyButton.click()
        assert self.running, self.ui.statusLabel.text
        self.wait()

    def wait(self, until=lambda: False, seconds=60):
        """Let the window live until the run has ended, or something has happened."""
        end = time.monotonic() + seconds
        while self.running and not until():
            assert time.monotonic() < end, "the comparison does not end"
            slicer.app.processEvents()
            time.sleep(0.002)


@pytest.fixture
def panel(open_panel, metrics):
    return Panel(open_panel(metrics))


@pytest.fixture
def label_volume(metrics):
    """The bundled expert labels as a label map volume node."""
    node = slicer.util.loadLabelVolume(str(SAMPLE))
    node.SetName("expert")
    return node


@pytest.fixture
def labels(label_volume):
    """Their array (K, J, I): 1 is the anterior hippocampus, 2 the posterior."""
    return slicer.util.arrayFromVolume(label_volume).copy()


def segmentation(label_volume, labels, name, ids=("anterior", "posterior")):
    """A segmentation node on the grid of the labels."""
    from MedSegAICore.image import Label, LabelMap
    from MedSegAICore.mrml import grid_from_volume, segmentation_from_label_map

    segments = [Label(value, key, NAMES.get(key, key)) for value, key in enumerate(ids, start=1)]
    return segmentation_from_label_map(LabelMap(labels, grid_from_volume(label_volume), segments), name=name)


@pytest.fixture
def reference(label_volume, labels):
    return segmentation(label_volume, labels, "reference")


@pytest.fixture
def shifted(label_volume, labels):
    """The reference, one voxel (1 mm) to the side."""
    return segmentation(label_volume, np.roll(labels, 1, axis=2), "shifted")


@pytest.fixture
def both(panel, reference, shifted):
    """The panel with reference and test chosen."""
    panel.ui.referenceSelector.setCurrentNode(reference)
    panel.ui.testSelector.setCurrentNode(shifted)
    return panel


@pytest.fixture
def compared(both):
    """The panel with a finished comparison."""
    both.compare()
    return both


def table_nodes():
    return slicer.util.getNodesByClass("vtkMRMLTableNode")


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def rows(panel):
    """The texts of the result table, without its header."""
    table = panel.ui.resultsTable
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def headers(panel):
    table = panel.ui.resultsTable
    return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]


def entries(combo):
    return [combo.itemText(index) for index in range(combo.count)]
