"""What every test may use: the source folders on the path and the development data, where it is present."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

for folder in (REPOSITORY / "MedSegAI", REPOSITORY / "MedSegAIMetrics", REPOSITORY / "Testing"):
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def shared_data():
    """A function from a relative path to a file or folder of the development data; skips where there is none.

    The data is too large for the repository. It is looked for in the folder that MEDSEGAI_TEST_DATA names, else in
    ``../shared/data`` beside the repository.
    """
    root = Path(os.environ.get("MEDSEGAI_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            pytest.skip(f"development data {relative} is not here (set MEDSEGAI_TEST_DATA)")
        return path

    return find


@pytest.fixture(autouse=True)
def same_threads():
    """What a test does to PyTorch's number of threads, as the workers of a cluster do, ends with the test."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
