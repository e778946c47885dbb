"""What needs no cluster: flags, plain data that pickles, and which pictures are kept in whatever order cases come."""

import argparse
import itertools
import pickle
import sys
from functools import cache

import numpy as np
import pytest

from fixtures_dicom import write_series
from MedSegAICore.errors import ClusterError, DependencyError
from MedSegAICore.files import write_image
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image, Label, LabelMap
from MedSegAILib.commands import cluster, cluster_tasks, main, worst_pictures
from MedSegAILib.commands.cases import find_cases
from MedSegAILib.commands.worst_pictures import WorstPictures
from MedSegAILib.models.library import ModelLibrary
from MedSegAIMetricsLib.label_maps import compare_label_maps
from MedSegAIMetricsLib.tables import rows_of

GRID = Grid((4, 5, 6), np.eye(4))


def arguments(*flags):
    parser = argparse.ArgumentParser()
    cluster.add_arguments(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--workers", "0"], "expected how many processes, 1 or more, got '0'"),
        (["--workers", "two"], "expected how many processes, 1 or more, got 'two'"),
        (["--workers", "2", "--scheduler", "tcp://host:8786"], "not allowed with"),
    ],
)
@pytest.mark.parametrize("command", [["segment", "in", "--model", "x", "--output", "out"], ["compare", "a", "b"]])
def test_wrong_flags_are_one_sentence(capsys, command, flags, sentence):
    assert main([*command, *flags]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("address", ["", "nonsense", "tcp://host", "http://host:80", "tcp:/host:8786", "tcp://a b:1"])
def test_what_is_no_address_is_refused_without_waiting(address):
    pytest.importorskip("distributed")
    with (
        pytest.raises(ClusterError, match=r"not an address.*Expected an address such as tcp://host:8786"),
        cluster.connected(arguments("--scheduler", address)),
    ):
        pass


def test_without_dask_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(DependencyError, match="pip install distributed"),
        cluster.connected(arguments("--workers", "2")),
    ):
        pass


def test_a_program_that_is_not_python_cannot_start_workers(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    with pytest.raises(ClusterError, match="this program is no Python"), cluster.connected(arguments("--workers", "2")):
        pass


def test_off_a_worker_nothing_is_cancelled():
    pytest.importorskip("distributed")
    assert not cluster_tasks.cancelled()


def test_cases_of_files_channels_studies_and_failures_can_be_sent_to_another_process(tmp_path):
    (tmp_path / "files").mkdir()
    for name in ("a.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz", "c_0003.nii.gz"):
        write_image(tmp_path / "files" / name, Image(np.full((1, *GRID.shape), 7, np.float32), GRID, {}))
    write_series(tmp_path / "study", np.full(GRID.shape, 7, np.int16))
    card = ModelLibrary().find("hippocampus").card
    cases = find_cases([tmp_path / "files"], ("MR0", "MR1"), card, print)
    cases += find_cases([tmp_path / "study"], ("MR0",), card, print)
    assert sorted(case.name for case in cases) == ["a", "b", "c", "study"]
    sent = {case.name: case for case in pickle.loads(pickle.dumps(cases))}
    assert len(sent["b"].source.files) == 2
    assert sent["b"].read().array.shape == (2, *GRID.shape)
    assert all(file.is_file() for file in sent["study"].source.files)
    said = []
    assert sent["study"].read(said.append).grid.shape == cases[-1].read(said.append).grid.shape
    assert said[0] == said[1]
    assert "series" in said[0]


LACKS = [2, 4, 2, 6, 2]  # the worst are case 3, case 1, and then the first of three equals, case 0


@cache
def compared(number):
    """Rows and comparison of a case whose test lacks LACKS voxels of a cube of 8: the more, the worse its Dice."""
    reference = np.zeros(GRID.shape, np.uint8)
    reference[1:3, 1:3, 1:3] = 1
    test = reference.copy()
    test[tuple(np.argwhere(reference)[: LACKS[number]].T)] = 0
    maps = (LabelMap(array, GRID, (Label(1, "cube", "Cube"),)) for array in (reference, test))
    comparison = compare_label_maps(*maps, measures=("dice",))
    return rows_of(comparison), comparison


def pictures_of(order, several=1):
    """Titles of the worst pictures of five cases that come in this order, spread over so many processes."""
    measures = compared(0)[1].measures
    together, *workers = (WorstPictures(measures, None, print) for _ in range(1 + several))
    for turn, number in enumerate(order):
        together.take(workers[turn % several].add(number, f"case {number}", *compared(number)))
    return [picture.title for picture in together.pictures]


@pytest.mark.parametrize("several", [1, 2, 5])
def test_the_same_worst_pictures_are_kept_in_whatever_order_cases_come(monkeypatch, several):
    monkeypatch.setattr(worst_pictures, "PICTURES", 3)
    for order in list(itertools.permutations(range(5)))[::7]:
        assert pictures_of(order, several) == ["case 3, Cube", "case 1, Cube", "case 0, Cube"]
