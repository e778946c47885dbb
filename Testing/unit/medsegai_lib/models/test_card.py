"""The model card: complete, and able to say what of a volume does not fit."""

import json

import jsonschema
import numpy as np
import pytest

from fixtures_models import make_model_folder
from MedSegAICore.errors import ModelError
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image
from MedSegAICore.resources import resource
from MedSegAILib.models.card import ModelCard

CROP = {
    "modality": ["MR"],
    "protocol": "T1, cropped",
    "spacing_mm": [[0.8, 1.2]] * 3,
    "extent_mm": [[28, 50], [36, 66], [20, 54]],
    "orientation": "RAS",
    "series_descriptions": ["hippo"],
}


@pytest.fixture
def content(tmp_path):
    return json.loads(
        (make_model_folder(tmp_path / "model", card={"input": CROP}) / "model_card.json").read_text(encoding="utf-8")
    )


@pytest.fixture(scope="module")
def schema():
    return json.loads(resource("Models", "model_card.schema.json").read_text(encoding="utf-8"))


def image(shape, spacing_ijk, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1), **meta):
    return Image(np.zeros((1, *shape), np.uint8), Grid.from_lps(shape, (0, 0, 0), spacing_ijk, direction), meta)


def test_a_complete_card_is_read_and_fits_the_schema(content, schema):
    card = ModelCard.from_dict(content)
    assert card.input.orientation == "RAS"
    assert card.structures[0].name == "Front part"
    jsonschema.validate(content, schema)


def test_every_shipped_card_fits_the_schema(schema):
    for path in resource("Models").glob("*/model_card.json"):
        jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)
        assert ModelCard.read(path).performance


@pytest.mark.parametrize("name", ["id", "title", "version", "license", "intended_use"])
@pytest.mark.parametrize("value", [None, "", 5])
def test_a_missing_text_is_named(content, schema, name, value):
    content[name] = value
    with pytest.raises(ModelError, match=f"'{name}'"):
        ModelCard.from_dict(content)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../evil"},
        {"input": {"spacing_mm": [[1, 2]]}},
        {"structures": [{"label": 1}]},
        {"performance": [{"structure": "front", "measure": "Dice", "value": 1}]},
    ],
)
def test_damaged_entries_are_refused_by_card_and_schema(content, schema, change):
    content.update(change)
    with pytest.raises(ModelError):
        ModelCard.from_dict(content)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


def test_ranges_must_ascend_and_patterns_must_be_regular_expressions(content):
    content["input"] = {"extent_mm": [[5, 1], [1, 2], [1, 2]]}
    with pytest.raises(ModelError, match="extent_mm"):
        ModelCard.from_dict(content)
    content["input"] = {"series_descriptions": ["("]}
    with pytest.raises(ModelError):
        ModelCard.from_dict(content)


def test_a_fitting_crop_has_no_differences_in_any_orientation(content):
    card = ModelCard.from_dict(content)
    assert card.check(image((36, 50, 35), (1, 1, 1), modality="MR")) == []
    # The same crop stored with I along the patient's front: 35 mm right-left, 50 mm front-back, 36 mm up.
    assert card.check(image((36, 35, 50), (1, 1, 1), (0, 1, 0, 1, 0, 0, 0, 0, 1))) == []


def test_a_whole_brain_is_told_what_differs_with_values(content):
    differences = ModelCard.from_dict(content).check(image((22, 512, 512), (0.45, 0.45, 6.5), modality="CT"))
    assert differences == [
        "The modality is CT, but Random weights is for MR.",
        "The spacing is 0.45 x 0.45 x 6.5 mm, but Random weights is for 0.8-1.2 x 0.8-1.2 x 0.8-1.2 mm "
        "(right-left x anterior-posterior x inferior-superior).",
        "The extent is 230 x 230 x 143 mm, but Random weights is for 28-50 x 36-66 x 20-54 mm "
        "(right-left x anterior-posterior x inferior-superior).",
    ]


def test_text_that_is_not_json_names_the_file(tmp_path):
    (tmp_path / "model_card.json").write_text("{")
    with pytest.raises(ModelError, match="model_card.json"):
        ModelCard.read(tmp_path / "model_card.json")


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"postprocessing": {"largest_components": [[1]]}},  # a typing error must not switch the step off
        {"postprocessing": {"largest_component": [1]}},
        {"postprocessing": {"fill_holes": ["x"]}},
        {"weights_sha256": {"fold_0/checkpoint_final.pth": None}},
        {"weights_sha256": {"fold_0/checkpoint_final.pth": "abc"}},
        {"structures": [{"label": 1, "id": "a", "name": "A", "color": [1, 0]}]},
        {"structures": [{"label": 0, "id": "a", "name": "A"}]},
    ],
)
def test_entries_that_would_be_misread_are_refused_by_card_and_schema(content, schema, change):
    content.update(change)
    with pytest.raises(ModelError):
        ModelCard.from_dict(content)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@pytest.mark.parametrize("same", [{"id": "front"}, {"label": 1}])
def test_two_structures_with_one_id_or_label_are_refused(content, same):
    content["structures"][1] |= same
    with pytest.raises(ModelError, match="structures"):
        ModelCard.from_dict(content)
