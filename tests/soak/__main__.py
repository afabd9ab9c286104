"""Break everything that can be broken, at length: ``make soak``.

    cd tests && python -m soak [PART[:TASK] …]

prints a table and adds what was seen to ``benchmarks/results/reliability.json``; without names, all
parts are run, on all tasks. Everything is done to `visarch train` on 80 images of 8×8 pixels, in
memory (``/dev/shm``) where there is such a place: most of the time would go into syncing a disk.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from visarch.training.environment import describe_environment

from . import disks, groups, kills, lengths
from .commands import TASKS, Start, forkserver, images, start_really

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "reliability.json"
ENVIRONMENT = ("versions", "platform", "processor", "cores", "threads")
KILLS, REAL_KILLS, SEED = 70, 8, 0
"""Random kills of each task, in forked processes and in real ones."""
EVERY = 5
"""A training is killed before every fifth thing it does to its folder, each task at other ones."""
LONG = 20_000
"""Steps of a long run."""


class Soak:
    """One go at everything; each part returns what it saw."""

    def __init__(self, start: Start, folder: Path) -> None:
        self.start, self.folder = start, folder
        self.data = images(folder / "images.npz")

    def kills(self, task: str) -> dict:
        victim = kills.Victim(self.start, self.folder, self.data, task)
        victim.at_random(SEED, KILLS)
        return {"kills": dict(victim.kills), "runs finished byte for byte": victim.number - 1}

    def deeds(self, task: str) -> dict:
        victim = kills.Victim(self.start, self.folder, self.data, task)
        victim.at_every(range(1 + TASKS.index(task), 1000, EVERY))
        return {"kills": dict(victim.kills), "runs finished byte for byte": victim.number - 1}

    def real(self, task: str) -> dict:
        victim = kills.Victim(start_really, self.folder, self.data, task)
        victim.at_random(SEED, REAL_KILLS, tuple(kills.SIGNALS))
        return {"kills": dict(victim.kills), "runs finished byte for byte": victim.number - 1}

    def locks(self, task: str) -> dict:
        return {"the second is told": kills.two_at_once(self.start, self.folder, self.data)}

    def full(self, task: str) -> dict:
        sufferer = disks.Sufferer(self.start, self.folder, self.data, task)
        sizes = range(2 * disks.PAGE, 500_000, 10 * disks.PAGE)
        return {"disks": len(sizes), "too small": sufferer.full(sizes)}

    def refusing(self, task: str) -> dict:
        sufferer = disks.Sufferer(self.start, self.folder, self.data, task)
        deeds = range(1, 120, 10)
        return {"tried": len(deeds), "refused": sufferer.refusing(deeds, within=4000)}

    def read_only(self, task: str) -> dict:
        sufferer = disks.Sufferer(self.start, self.folder, self.data, task)
        return {"told": sufferer.read_only()}

    def memory(self, task: str) -> dict:
        sufferer = disks.Sufferer(self.start, self.folder, self.data, task)
        return dict(sufferer.short_of_memory(size << 20 for size in range(8)))

    def groups(self, task: str) -> dict:
        return groups.on_one_machine(self.start, self.folder, self.data, task)

    def machines(self, task: str) -> dict:
        return groups.on_two_machines(self.start, self.folder, self.data, task)

    def long(self, task: str) -> dict:
        return lengths.long_run(self.start, self.folder, self.data, task, LONG)


PARTS: dict[str, tuple[Callable[[Soak, str], dict], tuple[str, ...]]] = {
    "kills": (Soak.kills, TASKS),
    "deeds": (Soak.deeds, TASKS),
    "real": (Soak.real, TASKS),
    "locks": (Soak.locks, ("vae",)),
    "full": (Soak.full, TASKS),
    "refusing": (Soak.refusing, TASKS),
    "read-only": (Soak.read_only, TASKS),
    "memory": (Soak.memory, ("vae",)),
    "groups": (Soak.groups, TASKS),
    "machines": (Soak.machines, ("vae",)),
    "long": (Soak.long, TASKS),
}


def main(names: list[str]) -> None:
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    for name, task in _chosen(names or list(PARTS)):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=place) as folder, forkserver() as start:
            seen = PARTS[name][0](Soak(start, Path(folder)), task)
            seen = {key: _without(folder, value) for key, value in seen.items()}
        print(f"{name:10} {task:11} {time.monotonic() - began:6.0f} s  {seen}", flush=True)
        _keep(name, task, seen)


def _chosen(names: list[str]) -> list[tuple[str, str]]:
    chosen = []
    for name in names:
        part, _, task = name.partition(":")
        if part not in PARTS or (task and task not in PARTS[part][1]):
            there_is = ", ".join(f"{name}:{'|'.join(tasks)}" for name, (_, tasks) in PARTS.items())
            sys.exit(f"there is no {name}; there is: {there_is}")
        chosen += [(part, one) for one in PARTS[part][1] if task in ("", one)]
    return chosen


def _without(folder: str, value: object) -> object:
    """What was told, of a folder that others do not have."""
    return value.replace(f"{folder}/", "") if isinstance(value, str) else value


def _keep(name: str, task: str, seen: dict) -> None:
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    environment = describe_environment(torch.device("cpu"), 1)
    kept["environment"] = {name: environment[name] for name in ENVIRONMENT}
    kept.setdefault("seen", {}).setdefault(name, {})[task] = seen
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
