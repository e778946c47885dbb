"""What a segmentation says of where it came from when several runs and a person have worked on it."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fixtures_scene
from fixtures_scene import make_grid, make_volume
from MedSegAICore import mrml
from MedSegAICore.image import Label, LabelMap
from MedSegAICore.mrml_correction import finish_correction, is_draft, resume_correction, start_correction

scene = fixtures_scene.scene
GRID = make_grid((9, 10, 11))
FIRST, SECOND, THIRD = ({"model": {"id": name}, "notice": "Not reviewed."} for name in ("first", "second", "third"))


@pytest.fixture
def volume(scene):
    return make_volume(scene, np.zeros(GRID.shape, np.int16), GRID, "case")


def _run(volume, provenance, node=None, replace=False):
    array = np.zeros(GRID.shape, np.uint8)
    array[2:6, 2:8, 2:5] = 1
    label_map = LabelMap(array, GRID, (Label(1, "left", "Left"),))
    return mrml.segmentation_from_label_map(label_map, volume, node=node, provenance=provenance, replace=replace)


def _of_node(node):
    return json.loads(node.GetAttribute(mrml.PROVENANCE))


def _of_segments(node):
    labels = mrml.label_map_from_segmentation(node).labels
    return {label.id: json.loads(dict(label.tags)[mrml.PROVENANCE]) for label in labels}


def _status(node):
    return {label.id: dict(label.tags)[mrml.STATUS_TAG] for label in mrml.label_map_from_segmentation(node).labels}


def test_runs_into_one_node_are_all_remembered(volume):
    node = _run(volume, FIRST)
    for provenance in (SECOND, THIRD):
        _run(volume, provenance, node)
    assert _of_node(node) == {**THIRD, "earlier": [FIRST, SECOND]}
    assert list(_of_segments(node).values()) == [FIRST, SECOND, THIRD]


def test_a_node_that_was_emptied_begins_anew(volume):
    node = _run(volume, FIRST)
    node.GetSegmentation().RemoveAllSegments()
    assert _of_node(_run(volume, SECOND, node)) == SECOND


def test_a_correction_stays_one_after_a_run_into_it(volume):
    node = start_correction(_run(volume, FIRST))
    finish_correction(node)
    corrected = _of_node(node)
    _run(volume, SECOND, node)
    assert not is_draft(node)
    assert _of_node(node) == {**SECOND, "earlier": [corrected]}
    assert _status(node) == {"left": "completed", "left_1": "inprogress"}
    resume_correction(node)
    assert _status(node) == {"left": "inprogress", "left_1": "inprogress"}
    finish_correction(node)
    assert _status(node) == {"left": "completed", "left_1": "completed"}
    for provenance in (_of_node(node), *_of_segments(node).values()):
        assert "finished_utc" in provenance["correction"]
        assert provenance["notice"] == "Research use only. Corrected by a person."
    assert _of_segments(node)["left"]["correction"]["draft_sha256"] == corrected["correction"]["draft_sha256"]
    assert _of_segments(node)["left_1"]["model"] == {"id": "second"}
