"""Large arrays are taken from memory that the process has, and given back at the end."""

import resource

import pytest
import torch

from MedSegAILib.inference import allocator
from MedSegAILib.inference.allocator import kept_memory

SIZE = 64 * 2**20
PAGES = SIZE // resource.getpagesize()
needs_glibc = pytest.mark.skipif(allocator._glibc() is None, reason="only glibc can be told so")


def page_faults_of_an_array() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(SIZE, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@needs_glibc
def test_after_some_arrays_the_next_needs_no_new_pages():
    with kept_memory():
        # Small objects may take a bite of the free memory, so that the next array does not fit there at first.
        faults = [page_faults_of_an_array() for _ in range(10)]
    assert faults[0] > PAGES / 2
    assert min(faults) < PAGES / 100


@needs_glibc
def test_at_the_end_memory_is_given_back_also_after_an_error():
    with pytest.raises(ValueError, match="in the middle"), kept_memory():
        page_faults_of_an_array()
        held = resident_bytes()
        raise ValueError("in the middle")
    assert held - resident_bytes() > SIZE / 2


def test_without_glibc_nothing_is_changed(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with kept_memory():
        page_faults_of_an_array()
