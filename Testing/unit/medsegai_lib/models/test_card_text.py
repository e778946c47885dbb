"""A model card as a page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from fixtures_models import make_model_folder
from MedSegAICore.resources import resource
from MedSegAILib.models.card_text import card_html, channel_hint
from MedSegAILib.models.folder import ModelFolder


class _Page(HTMLParser):
    """What a reader sees, and the tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def model(tmp_path):
    def make(**content):
        return ModelFolder.open(make_model_folder(tmp_path / "model", card=content))

    return make


def test_the_bundled_model_tells_what_a_user_asks():
    text = _Page(card_html(ModelFolder.open(resource("Models", "Hippocampus")))).text
    for expected in (
        "Hippocampus, anterior and posterior (MR)",
        "Diagnosis, treatment or any other clinical decision.",
        "Anterior hippocampus",
        "T1-weighted MPRAGE",
        "right-left 0.8-1.25",
        "0.897",
        "0.888-0.906",
        "held-out cases that no fold saw",
        "Of 40 unseen cases the worst had a Dice of 0.84",
        "Cases: 168",
        "CC-BY-SA-4.0",
    ):
        assert expected in text
    assert "fold_0/checkpoint" in text


def test_nothing_in_a_card_becomes_a_tag(model):
    evil = "<img src=x onerror=alert(1)><script>1</script>&amp;"
    performance = {"structure": evil, "measure": evil, "value": 0.5, "ci95": [0.4, 0.6], "n": 3, "cases": evil}
    opened = model(
        title=evil, intended_use=evil, not_for=[evil], limitations=[evil], license=evil, citation=[evil],
        version=evil, training={evil: evil}, performance=[performance],
        input={"protocol": evil, "modality": [evil]},
    )  # fmt: skip
    page = _Page(card_html(opened))
    assert not {"img", "script"} & set(page.tags)
    assert page.text.count(evil) >= 10


def test_a_model_without_a_card_says_so(tmp_path):
    text = _Page(card_html(ModelFolder.open(make_model_folder(tmp_path / "model", card=False)))).text
    assert "This model has no model card: what it is for and how good it is is unknown." in text
    assert "front" in text


def test_headings_are_translated_and_the_cards_text_is_not(model):
    text = _Page(card_html(model(), lambda text: f"«{text}»")).text
    assert "«What it is for»" in text
    assert "Tests of the program." in text
    assert "«Tests of" not in text


def test_one_volume_is_described_by_the_protocol_and_several_by_modality(tmp_path):
    single = ModelFolder.open(make_model_folder(tmp_path / "one", card={"input": {"protocol": "T1, 1 mm"}}))
    assert channel_hint(single, 0) == "T1, 1 mm"
    card = {"input": {
        "protocol": "four sequences", "spacing_mm": [[0.9, 1.1]] * 3,
        "channels": [{"name": "MR0", "modality": ["MR"]}, {"name": "MR1", "modality": ["CT", "PT"]}],
    }}  # fmt: skip
    several = ModelFolder.open(make_model_folder(tmp_path / "two", card=card, channels=2))
    assert [channel_hint(several, number) for number in (0, 1)] == ["MR, 0.9-1.1 mm", "CT or PT"]
    assert channel_hint(ModelFolder.open(make_model_folder(tmp_path / "none", card=False)), 0) == ""
