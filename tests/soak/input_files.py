"""Checkpoints and models cut off and with flipped bits, settings edited; what became of them.

python tests/soak/input_files.py [flips]
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import yaml
from hostile.commands import TRAINING, inside, make_runs
from hostile.test_files import ENDLESS, LAST, USING, WEIGHTS, answered, edited, flipped, truncated

import visarch
from visarch.errors import UserError
from visarch.training.checkpoint import load_checkpoint

MEMORY = 4 * 2**30


def main(flips: int = 2000) -> int:
    """Try them; the exit code says whether a damage was believed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    believed = 0  # or not answered
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        runs = Path(folder)
        make_runs(runs)
        for task in TRAINING:
            run = runs / task
            for name, tensors in (
                (LAST, lambda path: load_checkpoint(path).tensors),
                (WEIGHTS, lambda path: visarch.load(path.parent).state_dict()),
            ):
                before = (run / name).read_bytes()
                for what, contents in (
                    ("cut off", truncated(before)),
                    ("a bit flipped", flipped(before, flips)),
                ):
                    found = outcomes(run / name, contents, tensors)
                    believed += found["believed"]
                    print(f"{task} {name} {what}: {dict(found)}", flush=True)
            believed += edit(run, task)
    return 1 if believed else 0


def outcomes(
    path: Path,
    contents: Iterable[bytes],
    tensors: Callable[[Path], dict[str, torch.Tensor]],
) -> Counter[str]:
    """What becomes of a file with each of these contents; it is put back afterwards."""
    before, right = path.read_bytes(), tensors(path)
    found: Counter[str] = Counter()
    for content in contents:
        path.write_bytes(content)
        try:
            read = tensors(path)
        except UserError:
            found["refused"] += 1
        else:
            same = all(torch.equal(read[name], value) for name, value in right.items())
            found["harmless" if same and read.keys() == right.keys() else "believed"] += 1
    path.write_bytes(before)
    return found


def edit(run: Path, task: str) -> int:
    """Edit each description of a run in every way, and use the run; how often it broke."""
    broke = 0
    for name, read, write in (
        ("config.yaml", yaml.safe_load, yaml.safe_dump),
        ("model/config.json", json.loads, json.dumps),
        ("model/task.json", json.loads, json.dumps),
        ("data.json", json.loads, json.dumps),
    ):
        command = ["train", "--resume"] if name == "config.yaml" else [USING[task][0]]
        outcomes: Counter[object] = Counter()
        for what in edited(run / name, read, write):
            if what in ENDLESS:
                continue
            try:
                outcomes[answered(*command, run)] += 1
            except Exception as error:
                outcomes["broke"] += 1
                print(f"{name} {what}: {error!r:.200}", flush=True)
        print(f"{task} {name} edited: exit codes {dict(outcomes)}", flush=True)
        broke += outcomes["broke"]
    return broke


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
