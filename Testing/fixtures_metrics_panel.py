"""The panel of MedSegAIMetrics with the bundled expert labels and a shifted copy of them, for its tests."""

from __future__ import annotations

from pathlib import Path

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


@pytest.fixture
def widget(open_panel, metrics):
    return open_panel(metrics)


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
def both(widget, reference, shifted):
    """The panel with reference and test chosen."""
    widget.ui.referenceSelector.setCurrentNode(reference)
    widget.ui.testSelector.setCurrentNode(shifted)
    return widget


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def rows(widget):
    """The texts of the result table, without its header."""
    table = widget.ui.resultsTable
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


def headers(widget):
    table = widget.ui.resultsTable
    return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]


def entries(combo):
    return [combo.itemText(index) for index in range(combo.count)]
