"""What the panel asks the logic before a run: the protocol, the output, a region around a volume, models to add."""

from __future__ import annotations

import numpy as np
import pytest

import fixtures_scene
from fixtures_models import make_model_folder
from fixtures_scene import GRIDS, bspline_transform, linear_transform, make_grid, make_volume, rotation
from MedSegAICore.errors import InputError, ModelError
from MedSegAICore.mrml_roi import box_of_roi
from MedSegAILib.logic import SegmentationLogic
from MedSegAILib.models.folder import ModelFolder

scene = fixtures_scene.scene


@pytest.fixture
def logic():
    return SegmentationLogic()


@pytest.fixture
def model(tmp_path):
    def make(**options):
        return ModelFolder.open(make_model_folder(tmp_path / "model", **options))

    return make


# ---- the region ----------------------------------------------------------------------------------------------------

PLACES = {
    "where it is": None,
    "moved and turned": [[0.8, -0.6, 0, 12], [0.6, 0.8, 0, -7], [0, 0, 1, 30], [0, 0, 0, 1]],
    "mirrored": [[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    "sheared": [[1, 0.4, 0, 0], [0, 1, 0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", GRIDS)
def test_a_fitted_region_holds_all_voxels_and_no_more_than_it_must(scene, logic, name, place):
    grid = GRIDS[name]
    volume = make_volume(scene, np.zeros(grid.shape, np.int16), grid)
    if PLACES[place] is not None:
        volume.SetAndObserveTransformNodeID(linear_transform(scene, np.array(PLACES[place], float)).GetID())
    region = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    logic.fitRoi(region, volume)
    assert box_of_roi(region, volume) == tuple(slice(0, n) for n in grid.shape)
    if place != "sheared":
        extent = np.multiply(grid.shape, grid.spacing_kji)
        assert np.prod(region.GetSize()) == pytest.approx(np.prod(extent))
    assert region.GetDisplayNode().GetVisibility()
    assert not region.GetDisplayNode().GetFillVisibility()


def test_a_region_around_a_bent_volume_is_upright_and_holds_it(scene, logic):
    grid = make_grid((20, 20, 20), rotation(20, 10, 5))
    volume = make_volume(scene, np.zeros(grid.shape, np.int16), grid)
    volume.SetAndObserveTransformNodeID(bspline_transform(scene).GetID())
    region = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    logic.fitRoi(region, volume)
    assert box_of_roi(region, volume) == (slice(0, 20),) * 3


# ---- the protocol --------------------------------------------------------------------------------------------------


def test_a_volume_as_the_card_wants_it_gives_no_sentence(scene, logic, model):
    volume = make_volume(scene, np.zeros((20, 30, 26), np.int16), make_grid((20, 30, 26)))
    opened = model(card={"input": {"spacing_mm": [[0.9, 1.1]] * 3, "extent_mm": [[20, 40]] * 3}})
    assert logic.checkProtocol(volume, opened) == []


def test_spacing_and_extent_of_what_the_model_would_see_are_compared(scene, logic, model):
    volume = make_volume(scene, np.zeros((20, 30, 60), np.int16), make_grid((20, 30, 60), spacing_ijk=(1, 1, 1)))
    opened = model(card={"title": "Small", "input": {"extent_mm": [[20, 40]] * 3}})
    (sentence,) = logic.checkProtocol(volume, opened)
    assert sentence.startswith("The extent is 60 x 30 x 20 mm, but Small is for 20-40 x 20-40 x 20-40 mm")
    region = scene.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "region")
    logic.fitRoi(region, volume)
    region.SetSize(30, 30, 20)
    assert logic.checkProtocol(volume, opened, roiNode=region) == []
    region.SetCenter(900, 0, 0)
    with pytest.raises(InputError, match="holds no voxel"):
        logic.checkProtocol(volume, opened, roiNode=region)


def test_single_slices_missing_cards_and_volumes_chosen_twice_are_said(scene, logic, model):
    volume = make_volume(scene, np.zeros((1, 30, 26), np.int16), make_grid((1, 30, 26)), "flat")
    sentences = logic.checkProtocol([volume, volume], model(card=False, channels=2))
    assert sentences == [
        "The volume is a single slice, but the model is three-dimensional.",
        "The volume 'flat' is chosen for several channels.",
        "This model has no model card: what it is for and how good it is is unknown.",
    ]


# ---- models --------------------------------------------------------------------------------------------------------


def test_a_model_is_added_in_a_process_of_its_own_and_removed(logic, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEGAI_MODELS", str(tmp_path / "user"))
    source = make_model_folder(tmp_path / "new", card={"id": "new"})
    adding = logic.startAddingModel(source)
    assert "Added new" in adding.finish()
    (model,) = [model for model in logic.listModels() if model.id == "new"]
    assert not logic.isBundled(model)
    with pytest.raises(ModelError, match="new was not added: There is already a model 'new'"):
        logic.startAddingModel(source).finish()
    logic.removeModel(model)
    assert "new" not in [model.id for model in logic.listModels()]


def test_adding_can_be_cancelled(logic, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEGAI_MODELS", str(tmp_path / "user"))
    adding = logic.startAddingModel(make_model_folder(tmp_path / "new", card={"id": "new"}))
    adding.cancel()
    assert adding.done
    assert "new" not in [model.id for model in logic.listModels()]
