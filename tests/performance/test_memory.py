import platform
import subprocess
import sys

import pytest

from visarch.performance import memory

_FAULTS = """
import resource, torch
from visarch.performance.memory import keep_freed_memory
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**24).fill_(1)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(12):
    faults()  # until no small rest between two pieces goes to a cache of its own
print(faults())
"""


def faults(first: str) -> int:
    """Pages that the system hands out for 64 MiB that were let go of before."""
    return int(subprocess.check_output([sys.executable, "-c", _FAULTS.format(first=first)]))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is of the GNU C library")
def test_freed_memory_is_used_again():
    assert faults("assert keep_freed_memory()") <= 2
    assert faults("") >= 16  # as few as there are where pages are huge


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not memory.keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert not memory.keep_freed_memory()
