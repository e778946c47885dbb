"""A scene that is saved, closed and loaded brings back every choice of both panels; each is set to another value first.

A parameter that somebody adds must be added here, too: the tests fail for one that is left at its default.
"""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_metrics_panel
import fixtures_segmentation_panel
from fixtures_result import add_maps_to
from fixtures_scene import make_grid, make_volume

models = fixtures_segmentation_panel.models
metrics, panel, both, compared = (
    fixtures_metrics_panel.metrics, fixtures_metrics_panel.panel, fixtures_metrics_panel.both,
    fixtures_metrics_panel.compared,
)  # fmt: skip
label_volume, labels, reference, shifted = (
    fixtures_metrics_panel.label_volume, fixtures_metrics_panel.labels, fixtures_metrics_panel.reference,
    fixtures_metrics_panel.shifted,
)  # fmt: skip
CHANNEL = "channelVolume1"


@pytest.fixture
def widget(models, open_panel, medsegai, monkeypatch):
    monkeypatch.setattr(medsegai.MedSegAILogic, "listModels", lambda self: models)
    return open_panel()


def _values(parameters) -> dict:
    """Every parameter; of nodes the names."""
    values = {name: getattr(parameters, name) for name in parameters.allParameters}
    return {name: value.GetName() if hasattr(value, "GetID") else value for name, value in values.items()}


def _through_a_file(widget, path):
    import slicer

    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear(0)
    widget.initializeParameterNode()
    emptied = _values(widget._parameterNode)
    slicer.util.loadScene(str(path))
    widget.initializeParameterNode()
    return emptied


def test_every_choice_of_the_segmentation_panel(widget, medsegai, tmp_path):
    import slicer

    from MedSegAICore.image import Label, LabelMap
    from MedSegAICore.mrml import segmentation_from_label_map
    from MedSegAICore.mrml_correction import draft_of, start_correction

    grid = make_grid((6, 7, 8))
    default = _values(widget._parameterNode)
    volumes = [make_volume(slicer, np.zeros(grid.shape, np.int16), grid, name) for name in ("first", "second", "third")]
    labels = LabelMap(np.ones(grid.shape, np.uint8), grid, (Label(1, "a", "A"),))
    draft = segmentation_from_label_map(labels, volumes[1], "draft", provenance={"model": {"id": "m"}})
    names = ["Anterior probability", "Posterior probability"]
    maps = dict(zip(["uncertainty", *names], add_maps_to(draft), strict=True))
    parameters = widget._parameterNode
    chosen = {
        "inputVolume": volumes[1],
        "modelId": "other",
        "roi": slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region"),
        "registration": "affine",
        "quality": "best",
        "mirroring": True,
        "strict": True,
        "probabilities": True,
        "uncertainty": False,
        "outputSegmentation": slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "output"),
        "resultSegmentation": draft,
        "overlayVolume": maps["Posterior probability"],
        "overlayOpacity": 0.7,
        "correctedSegmentation": start_correction(draft),
    }
    for name, value in chosen.items():
        setattr(parameters, name, value)
    parameters.parameterNode.SetNodeReferenceID(CHANNEL, volumes[2].GetID())
    before = _values(parameters)
    assert [name for name, value in before.items() if value == default[name]] == []
    emptied = _through_a_file(widget, tmp_path / "scene.mrb")
    assert emptied == default
    assert _values(widget._parameterNode) == before
    assert widget._parameterNode.parameterNode.GetNodeReference(CHANNEL).GetName() == "third"
    assert draft_of(widget._parameterNode.correctedSegmentation) is widget._parameterNode.resultSegmentation
    ui = widget.sections[0].ui
    assert (ui.modelComboBox.currentText, ui.inputSelector.currentNode().GetName()) == ("Other", "second")
    assert widget.sections[1].ui.overlayComboBox.currentText == "Probability of Posterior"


def test_every_choice_of_the_metrics_panel(compared, tmp_path):
    import slicer

    widget, parameters = compared.widget, compared.chosen
    first = parameters.resultTable
    first.SetName("first comparison")
    compared.compare()
    chosen = {
        "referenceSegmentId": "posterior",
        "testSegmentId": "anterior",
        "measureCounts": False,
        "measureOverlap": False,
        "measureVolume": False,
        "measureSurface": False,
        "measureLesions": True,
        "percentiles": "90",
        "tolerancesMm": "0.5",
        "surface": "smooth",
        "region": "union",
        "marginMm": 12.5,
        "grid": "test",
        "resultTable": first,
        "allMeasures": True,
    }
    for name, value in chosen.items():
        setattr(parameters, name, value)
    before = _values(parameters)
    shown = fixtures_metrics_panel.rows(compared)
    default = _through_a_file(widget, tmp_path / "scene.mrb")
    assert [name for name, value in before.items() if value == default[name]] == []
    assert _values(widget._parameterNode) == before
    assert (before["referenceNode"], before["resultTable"]) == ("reference", "first comparison")
    assert fixtures_metrics_panel.rows(compared) == shown
    assert slicer.util.getNode("first comparison").GetLocked()
