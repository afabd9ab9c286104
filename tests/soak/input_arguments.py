"""Every flag of every verb with every wild value, and what came of it.

python tests/soak/input_arguments.py [seed [commands]]
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.arguments import NOT_RUN, WILD, flags_of, verb_of
from hostile.commands import TookTooLong, commands, inside, make_runs, typed

from visarch.device import find_device

SECONDS = 10
MEMORY = 4 * 2**30


def main(seed: int = 0, most: int | None = None) -> int:
    """Try them in a random order; the exit code says whether one went wrong."""
    find_device("cpu")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    outcomes: Counter[str] = Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        runs = Path(folder)
        make_runs(runs)
        cases = [
            [*command, flag, value]
            for name, command in commands(runs).items()
            for flag in flags_of(verb_of(name))
            if flag not in NOT_RUN
            for value in WILD
        ]
        random.Random(seed).shuffle(cases)
        for case in cases[:most]:
            try:
                code, said = typed(*case, seconds=SECONDS)
                outcome = f"exit code {code}" if "Traceback" not in said else "traceback"
            except TookTooLong:
                outcome = "stopped after a while"
            except BaseException as error:
                outcome = f"{type(error).__name__}"
                failures += 1
                print(
                    f"{case[-2]} {case[-1][:40]!r} of {' '.join(case[:2])}: {error!r:.300}",
                    flush=True,
                )
            outcomes[outcome] += 1
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
