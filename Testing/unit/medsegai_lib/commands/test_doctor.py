"""`medsegai doctor` finds what is broken, and survives it."""

import importlib.util
import json

import pytest

from MedSegAILib.commands import main


def findings(capsys):
    status = main(["doctor", "--device", "cpu", "--json"])
    return status, {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}


@pytest.mark.skipif(importlib.util.find_spec("vtk") is None, reason="needs slicer-core")
def test_a_rendering_library_that_crashes_is_a_finding_and_no_crash(monkeypatch, capsys):
    """VTK ends the process with a segmentation fault where the library that it is told to draw with is missing."""
    monkeypatch.setenv("VTK_DEFAULT_OPENGL_WINDOW", "no such window")
    status, found = findings(capsys)
    assert status == 1
    assert found["offscreen pictures"]["ok"] is False
    assert "apt-get install libegl1" in found["offscreen pictures"]["remedy"]
    assert found["device"]["ok"]


def test_a_missing_package_and_a_missing_device_say_what_to_do(monkeypatch, capsys):
    from importlib import metadata

    from MedSegAILib.commands import doctor

    monkeypatch.setattr(doctor, "REQUIRED", ("numpy", "no-such-package"))
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("no-such-package")
    assert main(["doctor", "--device", "cuda:77"]) == 1
    out = capsys.readouterr().out
    assert "pip install no-such-package" in out
    assert "cuda:77 was asked for" in out
    assert "2 thing(s) to mend" in out
