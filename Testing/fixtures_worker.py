"""Volumes and models for the tests of the worker process, and what the system knows of a process."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fixtures_models import make_model_folder
from MedSegAICore.grid import Grid
from MedSegAICore.image import Image

OBLIQUE = np.array([[0.9, 0.2, 0.1, -20], [-0.25, 1.1, 0.2, 30], [0.05, -0.3, 1.4, 5], [0, 0, 0, 1]])
# In float32, in which the same input always gives the same labels; in 16 bits a CPU rounds now one way, now another.
EXACT = {"device": "cpu", "quality": "best", "mirroring": False}
MIRRORED = {**EXACT, "mirroring": True}
PATIENCE_SECONDS = 60  # until a test gives up; nothing is asserted about time

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


@pytest.fixture(scope="session")
def many_tiles(tmp_path_factory):
    """A model with thousands of quick tiles for MANY_TILES."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "many", patch=(8, 8, 8))


@pytest.fixture(scope="session")
def slow_tiles(tmp_path_factory):
    """A model whose tiles take seconds each, with mirroring, for SLOW_TILES."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "slow", patch=(64, 64, 64))


@pytest.fixture(scope="session")
def quick(tmp_path_factory):
    """A model that is done with QUICK at once."""
    return make_model_folder(tmp_path_factory.mktemp("models") / "quick")


def volume(shape, seed=0, **meta) -> Image:
    array = np.random.default_rng(seed).normal(100, 20, (1, *shape)).astype(np.float32)
    return Image(array, Grid(shape, OBLIQUE), meta)


QUICK, MANY_TILES, SLOW_TILES = volume((20, 30, 26)), volume((64, 64, 64)), volume((100, 96, 96))


def wait_until_in_a_tile(run):
    """Wait until a run of SLOW_TILES, with mirroring, computes its second tile, which takes seconds."""
    while "network" not in [news.stage for news in run.poll(1)]:
        assert not run.done
    time.sleep(0.1)


def exists(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody has asked about yet (a zombie) does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False
    return True


def wait_for(condition) -> bool:
    """Whether the condition comes true before the patience ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
