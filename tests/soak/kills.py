"""A command is killed at some moment, and given again, until it has finished."""

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import runs
from .commands import CHECKPOINT_EVERY, Fate, Start, train

AT_DEED, IN_WRITE = "before a file operation", "in the midst of a write"
SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT, "SIGTERM": signal.SIGTERM}
KINDS = (AT_DEED, IN_WRITE, *SIGNALS)
"""By what a command is killed; a signal is sent at any moment of the time that a run takes."""
ENDS = {0, 130, 143, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, -signal.SIGXFSZ}


class Victim:
    """A run that is killed and gone on with, beside one that nothing happened to."""

    def __init__(self, start: Start, folder: Path, data: Path, task: str) -> None:
        self.start, self.folder, self.data, self.task = start, folder, data, task
        self.straight, self.seconds = runs.straight(start, folder, data, task)
        self.kills: Counter[str] = Counter()
        self.number = 0
        self._renew()

    def _renew(self) -> None:
        self.number += 1
        self.run = self.folder / f"{self.task}-{self.number}"
        self.arguments = train(self.task, self.data, self.run)

    def at_every(self, deeds: Iterable[int]) -> None:
        """Kill a new run when it is about to do its n-th thing to its folder, for each n, and let
        it go on to its end."""
        for number in deeds:
            if self._once(Fate(at=number), AT_DEED) == 0:
                return  # it does not do so much
            assert self._once(Fate(), "never") == 0
            self._compare()

    def at_random(self, seed: int, kills: int, kinds: Sequence[str] = KINDS) -> None:
        """Kill runs at random, and give the command again, until it was killed so often and the
        last run has come to its end."""
        random_ = random.Random(seed)
        while sum(self.kills.values()) < kills:
            kind = random_.choice(kinds)
            if kind == AT_DEED:
                code = self._once(Fate(at=random_.randint(1, 50)), kind)
            elif kind == IN_WRITE:
                fate = Fate(at=random_.randint(1, 50), within=random_.randint(4_000, 60_000))
                code = self._once(fate, kind)
            else:
                code = self._once(Fate(), kind, SIGNALS[kind], random_.uniform(0, self.seconds))
            if code == 0:
                self._compare()
        if self.run.exists():
            assert self._once(Fate(), "never") == 0
            self._compare()

    def _once(
        self, fate: Fate, kind: str, number: int | None = None, seconds: float = 0
    ) -> int | None:
        """Give the command; what it leaves behind is checked."""
        before = runs.step(self.run)
        log = self.folder / f"{self.task}.log"
        command = self.start(log, self.arguments, fate, self.run)
        if number is not None:
            command.wait(seconds)
            command.send(number)
        code = command.wait()
        assert code in ENDS, (code, command.said)
        if kind != "Ctrl-C":  # of which Python tells as it starts, or where it cannot be raised
            assert "Traceback" not in command.said, command.said
        self._check_start(command.said, before)
        if code != 0:
            self.kills[kind] += 1
        if self.run.exists():
            runs.check_whole(self.run)
            self._check_loss(before)
        return code

    def _check_start(self, said: str, before: int | None) -> None:
        """It has gone on from its checkpoint: it never starts over."""
        if "raining " in said and before is not None:
            assert f"Going on after step {before}: training" in said, said

    def _check_loss(self, before: int | None) -> None:
        """What a crash may cost is the steps since the last checkpoint."""
        after = runs.step(self.run)
        if before is not None:
            assert after is not None
            assert after >= before
        # a row is written just before the checkpoint of its step
        assert (after or 0) > runs.logged(self.run) - 1 - CHECKPOINT_EVERY

    def _compare(self) -> None:
        runs.check_same(self.straight, self.run)
        shutil.rmtree(self.run)
        self._renew()


def two_at_once(start: Start, folder: Path, data: Path) -> str:
    """A second command on a run folder is refused and names the first; a killed one does not keep
    it. Returns what the second one was told."""
    run = folder / "shared"
    first = start(folder / "first.log", train("vae", data, run, steps=100_000))
    while "step " not in first.said:
        assert first.wait(0.05) is None, first.said
    second = start(folder / "second.log", train("vae", data, run, steps=100_000))
    assert second.wait() == 2
    assert f"in use by process {first.pid} on {os.uname().nodename}" in second.said, second.said
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    begun = runs.step(run)
    assert begun is not None
    third = start(folder / "third.log", train("vae", data, run, steps=100_000))
    while f"step {begun + 1}/" not in third.said:
        assert third.wait(0.05) is None, third.said
    assert f"Going on after step {begun}: training" in third.said
    third.send(signal.SIGTERM)
    assert third.wait() == 143, third.said
    runs.check_whole(run)
    return second.said.splitlines()[-1]
