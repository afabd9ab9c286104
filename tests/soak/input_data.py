"""Thousands of hostile image files, checked and trained on; what became of them.

python tests/soak/input_data.py [files [seed]]
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.commands import TRAINING, inside, train
from hostile.corpus import Fate, state, write_corpus
from hostile.test_data import named_by_check, used_and_named_by, wrongly_treated


def main(count: int = 2400, seed: int = 0) -> int:
    """Try them; the exit code says whether one was treated wrongly."""
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        root = Path(folder) / "photos"
        told = write_corpus(root, count, seed)
        before = state(root)
        named = named_by_check(root)
        wrong = wrongly_treated(told, told.keys() - named, named)
        fates = Counter(fate for _, fate in told.values())
        print(f"{len(told)} files: {len(told) - len(named)} used, {len(named)} named with a reason")
        print(f"{fates[Fate.USED]} had to be used, {fates[Fate.NAMED]} had to be named")
        for task in TRAINING:
            code, said = train(task, root, Path(folder) / task)
            used, also_named = used_and_named_by(Path(folder) / task)
            wrong += wrongly_treated(told, used, also_named)
            if code or also_named != named:
                wrong.append(f"train {task}: exit code {code}, {said.splitlines()[-1]}")
            print(f"train {task}: exit code {code}, {len(used)} images used")
        if state(root) != before:
            wrong.append("the folder has changed")
    print("\n".join(wrong) or "Each was treated as it should be, and the folder is as it was.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
