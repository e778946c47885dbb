"""Python packages that are installed when a button needs them, after one question."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from MedSegAICore.errors import DependencyError


class Pip:
    """What Slicer would do: the questions asked, the packages installed, and how that ends."""

    def __init__(self, answer=True, error=None, works=True):
        self.answer, self.error, self.works = answer, error, works
        self.questions, self.installed = [], []

    def confirm(self, text, *_arguments, **_options):
        self.questions.append(text)
        return self.answer

    def install(self, requirement, **_options):
        if self.error:
            raise self.error
        if self.works:
            self.installed.append(requirement)


@pytest.fixture(params=["slicer.packaging", "slicer.util"])
def pip(request, medsegai, monkeypatch):
    """Slicer with and without slicer.packaging (5.12), with a window, without the package."""
    import slicer

    from MedSegAILib.panels import dependencies

    pip = Pip()
    if request.param == "slicer.packaging":
        packaging = SimpleNamespace(
            pip_check=lambda requirement: requirement in pip.installed,
            pip_ensure=lambda requirement, prompt_install, requester: pip.install(requirement),
        )
        monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    else:

        def version(name):
            if not any(requirement.startswith(name) for requirement in pip.installed):
                raise dependencies.metadata.PackageNotFoundError(name)

        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        monkeypatch.setattr(dependencies.metadata, "version", version)
        monkeypatch.setattr(slicer.util, "pip_install", pip.install, raising=False)
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: object())
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False, raising=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", pip.confirm)
    return pip


def ensure():
    from MedSegAILib.panels.dependencies import ensure

    ensure("package>=1", "Doing it")


def test_one_question_and_it_is_there(pip):
    ensure()
    assert pip.questions == [
        "Doing it needs the Python package package>=1. It is downloaded and installed into Slicer now."
    ]
    assert pip.installed == ["package>=1"]
    ensure()
    assert len(pip.questions) == 1


def test_no_is_an_answer(pip):
    pip.answer = False
    with pytest.raises(
        DependencyError, match=r"Doing it needs the Python package package>=1, which was not installed."
    ):
        ensure()
    assert pip.installed == []
    pip.answer = True
    ensure()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (subprocess.CalledProcessError(1, "pip"), "returned non-zero exit status 1"),
        (
            subprocess.CalledProcessError(1, "pip", stderr="long\nNo matching distribution.\n"),
            r"\(No matching distribution\)",
        ),
        (RuntimeError("No network"), r"\(No network\)"),
        (OSError("No space left"), r"\(No space left\)"),
    ],
)
def test_a_failure_is_one_sentence(pip, error, reason):
    pip.error = error
    with pytest.raises(DependencyError, match=reason) as raised:
        ensure()
    assert str(raised.value).startswith("The Python package package>=1 could not be installed (")
    assert "\n" not in str(raised.value)


def test_an_installation_that_left_nothing_is_not_taken_for_one(pip):
    pip.works = False
    with pytest.raises(DependencyError, match="was not installed"):
        ensure()


@pytest.mark.parametrize("kind", ["without a window", "in a test"])
def test_where_nobody_could_answer_nobody_is_asked(pip, kind, monkeypatch):
    import slicer

    if kind == "without a window":
        monkeypatch.setattr(slicer.util, "mainWindow", lambda: None)
    else:
        monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True, raising=False)
    with pytest.raises(DependencyError, match=r"Install it with: PythonSlicer -m pip install package>=1$"):
        ensure()
    assert (pip.questions, pip.installed) == ([], [])


def test_what_is_installed_is_not_asked_for(medsegai, monkeypatch):
    import slicer

    from MedSegAILib.panels.dependencies import ensure

    monkeypatch.setattr(slicer.util, "mainWindow", lambda: pytest.fail("asked"))
    ensure("numpy", "Counting")
