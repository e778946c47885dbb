"""A bundle's configuration is read without running what is in it."""

import json

import pytest

from MedSegAICore.errors import ModelError
from MedSegAILib.models.bundle_config import BundleConfig, Component
from MedSegAILib.models.bundle_expressions import evaluate


def config_of(folder, content, **files):
    (folder / "configs").mkdir(exist_ok=True)
    for name, other in {"inference": content, **files}.items():
        (folder / f"configs/{name}.json").write_text(json.dumps(other))
    return BundleConfig(folder, folder / "configs/inference.json")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("list(range(3))", [0, 1, 2]),
        ("[1.5, 1.5] if a else [3.0]", [1.5, 1.5]),
        ("len(b) + 1", 3),
        ("'x/' + c", "x/y"),
        ("os.path.join(c, 'model.pt')", "y/model.pt"),
        ("b[1] * 2 - -1", 41),
        ("not a or 1 < 2 < 3", True),
        ("{'k': (1, None)}['k'][0]", 1),
        ("torch.float32", "float32"),
        ("torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')", None),
        ("monai.utils.CommonKeys.IMAGE", "image"),
    ],
)
def test_harmless_expressions_are_computed(text, value):
    assert evaluate(text, {"a": True, "b": [10, 20], "c": "y"}) == value


def test_a_lambda_is_a_function_of_one_value():
    above = evaluate("lambda x: x > limit", {"limit": 3})
    assert (above(4), above(3)) == (True, False)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir('ran')",
        "open('ran', 'w')",
        "exec('import os')",
        "().__class__.__base__.__subclasses__()",
        "c.format(1)",
        "a.mkdir",
        "os.mkdir('ran')",
        "torch.load('ran')",
        "9 ** 9 ** 9",
        "'x' * 10000000000",
        "range(10000000000)",
        "[x for x in b]",
        "(lambda x: x)(1)",
        "lambda x=open('ran', 'w'): x",
        "f'{a}'",
        "(y := 3)",
        "import glob",
        "1 +",
        "unknown",
        "b[5]",
        "1 / 0",
    ],
)
def test_what_could_do_harm_or_cannot_be_computed_is_refused_in_one_sentence(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"^The bundle computes [^\n]*Python"):
        evaluate(text, {"a": True, "b": [10, 20], "c": "y"})
    assert list(tmp_path.iterdir()) == []


def test_references_lead_to_entries_of_entries_and_are_resolved_there(tmp_path):
    content = {
        "size": 96, "shape": ["@size", "@size", 48], "options": {"deep": {"overlap": 0.25}},
        "inferer": {"_target_": "monai.inferers.SlidingWindowInferer", "roi_size": "@shape",
                    "overlap": "@options#deep::overlap", "last": "@shape::2", "half": "$@size // 2"},
        "text": "name@example.org",
    }  # fmt: skip
    config = config_of(tmp_path, content)
    inferer = config.get("inferer")
    assert (inferer.name, inferer.is_monai) == ("SlidingWindowInferer", True)
    assert inferer.arguments == {"roi_size": [96, 96, 48], "overlap": 0.25, "last": 48, "half": 48}
    assert config.get("text") == "name@example.org"
    assert config.get("inferer::roi_size::0") == 96
    assert config.get("nothing", "else") == "else"


def test_macros_include_parts_of_this_and_of_other_files_of_the_bundle(tmp_path):
    config = config_of(
        tmp_path, {"a": {"b": "@c"}, "c": 1, "here": "%a", "there": "%train.json::net"}, train={"net": {"x": "@c"}}
    )
    assert config.get("here") == {"b": 1}
    assert config.get("there") == {"x": 1}


def test_a_macro_may_not_leave_the_bundle(tmp_path):
    (tmp_path / "secret.json").write_text('{"key": 1}')
    (tmp_path / "bundle").mkdir()
    config = config_of(tmp_path / "bundle", {"a": "%../../secret.json::key", "b": "%absent.json"})
    for name in "ab":
        with pytest.raises(ModelError, match="not a file of the bundle"):
            config.get(name)


def test_what_is_turned_off_is_left_out(tmp_path):
    content = {"list": [{"_target_": "A", "_disabled_": True}, {"_target_": "B", "_disabled_": "$1 > 2"}]}
    assert config_of(tmp_path, content).get("list") == [Component("B")]


def test_only_what_is_asked_for_is_resolved(tmp_path):
    content = {"datalist": "$list(sorted(glob.glob('/data/*')))", "size": 3, "run": ["$@evaluator.run()"]}
    assert config_of(tmp_path, content).get("size") == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": "@a"}, "circle"),
        ({"a": "%a"}, "circle"),
        ({"a": ["@b"], "b": {"c": "@a"}}, "circle"),
        ({"a": "@b::c", "b": [1]}, "does not have"),
        ({"a": "%b::c"}, "does not exist"),
        ({"a": {"_target_": "X", "_mode_": "callable"}}, "callable"),
        ({"a": {"_target_": ["X"]}}, "name of a class"),
    ],
)
def test_what_cannot_be_resolved_is_named(tmp_path, content, words):
    with pytest.raises(ModelError, match=words):
        config_of(tmp_path, content).get("a")


def test_references_that_multiply_come_to_an_end(tmp_path):
    content = {f"a{n}": [f"@a{n + 1}"] * 10 for n in range(30)}
    with pytest.raises(ModelError, match="circle"):
        config_of(tmp_path, {**content, "a30": 1}).get("a0")


def test_aliases_of_yaml_that_multiply_come_to_an_end(tmp_path):
    pytest.importorskip("yaml")
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))]
    (tmp_path / "inference.yaml").write_text("\n".join(lines))
    with pytest.raises(ModelError, match="more than 100000 entries"):
        BundleConfig(tmp_path, tmp_path / "inference.yaml")
