"""The page of `visarch web` with twenty people on it, most of whom mean no good; what became of it.

python tests/soak/input_page.py [minutes [clients [seed]]]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.commands import inside, make_runs
from hostile.corpus import state
from hostile.page.load import Record, answers, end, load, rest
from hostile.page.served import can_trace, served
from hostile.page.traps import traps


def main(minutes: float = 5, clients: int = 20, seed: int = 0) -> int:
    """Try it; the exit code says whether something went wrong."""
    record = Record()
    traced = can_trace()
    if not traced:
        print("This system does not let us see which files a process opens.")
    with tempfile.TemporaryDirectory() as name, inside(Path(name)):
        folder = Path(name).resolve()
        for part in ("runs", "page"):
            (folder / part).mkdir()
        runs = make_runs(folder / "runs")
        before = state(runs)
        sources = [runs / task for task in ("classifier", "vae", "diffusion")]
        with (
            traps(folder) as (laid, asked),
            served(folder / "page", *sources, traced=traced) as page,
        ):
            right = answers(page.address)
            with page.watched():
                load(page, laid, record, clients, seed, seconds=60 * minutes)
                rest(page, record, right)
            end(page, record, laid, asked, [runs])
        if state(runs) != before:
            record.wrong.append("the runs have changed")
    print(record)
    return 1 if record.wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:])))
