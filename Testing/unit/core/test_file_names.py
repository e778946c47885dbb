"""Names of files made of names of nodes."""

import pytest

from MedSegAICore.errors import OutputError
from MedSegAICore.file_names import reserved, safe_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("case 1 segmentation", "case 1 segmentation"),
        ("5: T1 / axial", "5_ T1 _ axial"),
        ("Gehirn für Übung", "Gehirn für Übung"),
        ("../../etc/passwd", "etc_passwd"),
        ('a<b>c"d|e?f*g\\h', "a_b_c_d_e_f_g_h"),
        ("line\nbreak\ttab", "line_break_tab"),
        (" .hidden. ", "hidden"),
        ("con", "con_"),
        ("LPT1.x", "LPT1_.x"),  # Windows looks at what is before the first point
        ("nul .a.b", "nul_ .a.b"),
        ("console.1", "console.1"),
        ("病" * 100, "病" * 66),  # 3 bytes each, of which file systems allow 255
        ("😀" * 100, "😀" * 50),
        ("", "segmentation"),
        ("///", "segmentation"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_name_is_made_safe_for_every_system(text, name):
    assert safe_name(text) == name


def test_names_that_are_taken_get_a_number_together(tmp_path):
    (tmp_path / "a.json").write_text("theirs")
    (tmp_path / "a_2.nii.gz").write_text("theirs")
    with reserved(tmp_path, "a", [".nii.gz", ".json"]) as paths:
        assert [path.name for path in paths] == ["a_3.nii.gz", "a_3.json"]
    assert (tmp_path / "a.json").read_text() == (tmp_path / "a_2.nii.gz").read_text() == "theirs"
    assert not (tmp_path / "a.nii.gz").exists()


def test_two_at_the_same_time_get_different_names(tmp_path):
    with reserved(tmp_path, "a", [".dcm"]) as (one,), reserved(tmp_path, "a", [".dcm"]) as (other,):
        assert (one.name, other.name) == ("a.dcm", "a_2.dcm")


def test_nothing_is_left_when_the_writing_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt), reserved(tmp_path, "a", [".nii.gz", ".json"]):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="There is no folder"), reserved(tmp_path / "gone", "a", [".dcm"]):
        pass


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    def full(self, exist_ok=True):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "touch", full)
    with pytest.raises(OutputError, match="No space left on device"), reserved(tmp_path, "a", [".dcm"]):
        pass
