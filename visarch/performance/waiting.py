"""How the threads of a computation wait for each other."""

import os

_SPINS = "3000"


def wait_briefly() -> None:
    """Let threads that wait sleep after some microseconds; to be called before torch is loaded.

    GNU's OpenMP, which torch computes with on Linux, has a thread look 300,000 times whether the
    others are there before it sleeps. Where another program keeps one of the cores busy, that takes
    the time which they would need to get there: training is several times slower than it must be.
    Where the environment says how threads wait, that counts.

    Source: GNU libgomp's manual, GOMP_SPINCOUNT.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
