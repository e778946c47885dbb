"""A result is there completely or not at all, and what the system refuses is said in a sentence."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from MedSegAICore.atomic import atomic_path, suffix_of
from MedSegAICore.errors import OutputError


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.nii.gz", ".nii.gz"), ("a.b.SEG.NRRD", ".seg.nrrd"), ("x.1.nrrd", ".nrrd"), ("noext", ""), ("a.tar.gz", ".gz")],
)
def test_the_suffix_that_decides_the_type_is_kept_in_one_piece(name, suffix):
    assert suffix_of(name) == suffix


def test_the_file_appears_under_its_name_only_when_the_block_is_done(tmp_path):
    target = tmp_path / "a.nii.gz"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
    assert os.listdir(tmp_path) == ["a.nii.gz"]
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, exception):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(exception), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise exception
    assert os.listdir(tmp_path) == ["a.json"]
    assert target.read_text() == "old"


def test_the_file_gets_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")]
    assert modes[0] == modes[1]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="folder does not exist"), atomic_path(tmp_path / "no" / "a.json"):
        pytest.fail("the block must not run")


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(OutputError, match="there is a folder of that name"), atomic_path(tmp_path / "a.json"):
        pytest.fail("the block must not run")
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="not a folder"), atomic_path(tmp_path / "file" / "a.json"):
        pytest.fail("the block must not run")


def test_a_name_that_is_too_long_is_named(tmp_path):
    with pytest.raises(OutputError, match="name is too long"), atomic_path(tmp_path / ("a" * 300)) as temporary:
        temporary.touch()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EIO, "error")]
)
def test_an_error_of_the_system_while_writing_becomes_a_sentence(tmp_path, code, words):
    with pytest.raises(OutputError, match=words), atomic_path(tmp_path / "a.json"):
        raise OSError(code, os.strerror(code))
    assert os.listdir(tmp_path) == []


def test_an_error_about_a_file_that_the_block_reads_stays_itself(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.json"):
        Path(tmp_path / "input").read_bytes()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_without_write_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission is missing"), atomic_path(tmp_path / "a.json"):
        pytest.fail("the block must not run")


WRITE_UNTIL_THE_LIMIT = """
import numpy as np, resource, signal, sys
from MedSegAICore.errors import OutputError
from MedSegAICore.files import write_image, write_segmentation
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 255, (60, 60, 60)).astype(np.uint8)
grid = Grid(noise.shape, np.eye(4))
try:
    if sys.argv[1].endswith(".seg.nrrd"):
        write_segmentation(sys.argv[1], LabelMap(noise, grid, (Label(1, "a", "A"),)))
    else:
        write_image(sys.argv[1], Image(noise[None], grid))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="file size limits exist on POSIX only")
@pytest.mark.parametrize("name", ["a.seg.nrrd", "a.nii.gz", "a.nii", "a.nrrd"])
def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path, name):
    """The file size limit of a process stands for a full disk: the system refuses in the middle of the file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", WRITE_UNTIL_THE_LIMIT, str(tmp_path / name)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "would be larger than" in result.stdout, result.stderr
    assert os.listdir(tmp_path) == []
