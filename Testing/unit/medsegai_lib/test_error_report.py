"""The text that a user copies after a failure."""

from pathlib import Path

from MedSegAILib.error_report import error_report, without_names


def test_a_report_has_error_versions_and_log_and_no_names():
    log = f"12:00:00 Started on Doe^John\n12:00:01 Doe^John T1 in {Path.home() / 'data'}"
    text = error_report("'Doe^John' was removed.", log, None, ["Doe^John", "Doe^John T1", ""], "Slicer 5.10.0")
    assert text.startswith("Error: '<node 2>' was removed.\nModel: none\nSoftware: Slicer 5.10.0, medsegai ")
    assert "torch " in text
    assert "12:00:01 <node 1> in ~" in text
    assert "Doe" not in text
    assert str(Path.home()) not in text


def test_longer_names_are_replaced_first():
    for name in ("Doe\\John", "Doe 'J' \"John\"", "Doe\tJohn"):
        assert "Doe" not in without_names(f"{name!r} was removed; {name}", [name])
    assert without_names("MR 1 brain and MR 1", ["MR 1", "MR 1 brain"]) == "<node 1> and <node 2>"
