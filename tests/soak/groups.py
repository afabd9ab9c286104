"""Several processes that train together, on one machine or, as network namespaces, on two."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import runs
from .commands import Command, Fate, Start, images, train

PROMPTLY = 60.0
"""Seconds after which nobody may still wait for a process that is gone."""


class NoNetworks(Exception):
    """This process may not make network namespaces."""


class Group:
    """Processes with what tells each its place, as `torchrun` would set it."""

    def __init__(
        self, start: Start, folder: Path, size: int, networks: Sequence["Machine"] = ()
    ) -> None:
        self.start, self.folder, self.size = start, folder, size
        self.machines = networks
        self.address = networks[0].address if networks else "127.0.0.1"

    def train(self, task: str, data: Path | Sequence[Path], run: Path, **flags: object) -> None:
        """Start all of them; each may have data of its own."""
        port = 29_500 if self.machines else _free_port()
        each = [data] * self.size if isinstance(data, Path) else data
        self.commands = [
            self.start(
                self.folder / f"rank-{rank}.log",
                train(task, each[rank], run, **flags),
                self._fate(rank, port),
            )
            for rank in range(self.size)
        ]

    def _fate(self, rank: int, port: int) -> Fate:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.size}
        meeting = {"MASTER_ADDR": self.address, "MASTER_PORT": port}
        environment = {name: str(value) for name, value in (place | meeting).items()}
        if not self.machines:
            return Fate(environment=environment)
        machine = self.machines[rank % len(self.machines)]
        environment |= {"GLOO_SOCKET_IFNAME": machine.interface}
        return Fate(environment=environment, network=machine.name)

    def finish(self) -> None:
        """Wait until all are done, with success."""
        for command in self.commands:
            assert command.wait() == 0, command.said

    def wait_for(self, words: str) -> None:
        """Until the first of them has said something."""
        while words not in self.commands[0].said:
            assert self.commands[0].wait(0.05) is None, self.commands[0].said

    def check_stops(self, code: int, words: str, but: Sequence[Command] = ()) -> float:
        """All others stop by themselves and say why; returns the seconds that this took."""
        began = time.monotonic()
        for command in self.commands:
            if command in but:
                continue
            assert command.wait(PROMPTLY) == code, command.said
            assert "Traceback" not in command.said, command.said
            assert words in command.said, command.said
        return time.monotonic() - began


def same_losses(one: Path, other: Path) -> float:
    """The largest difference between what two runs logged, relative to its size."""
    ours, theirs = runs.metrics(one), runs.metrics(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    differences = [
        abs(float(a[name]) - float(b[name])) / max(1.0, abs(float(a[name])))
        for a, b in zip(ours, theirs, strict=True)
        for name in a
        if a[name] != b[name]  # not both are infinite, as a loss may be that is not defined
    ]
    return max(differences)


def one_is_killed(group: Group, task: str, data: Path, run: Path) -> float:
    """Kill the last process in the midst of training; returns after how many seconds the others
    had stopped."""
    group.train(task, data, run, steps=100_000, checkpoint_every=5)
    group.wait_for("step 1/")
    while (runs.step(run) or 0) < 5:
        time.sleep(0.05)
    victim = group.commands[-1]
    victim.send(signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    seconds = group.check_stops(1, "Another process of this training has ended", [victim])
    runs.check_whole(run)
    return seconds


def goes_on(start: Start, folder: Path, task: str, data: Path, run: Path, size: int) -> None:
    """Go on with a run with another number of processes, for a few steps."""
    done = runs.step(run)
    assert done is not None
    copy = folder / f"{run.name}-on-{size}"
    shutil.copytree(run, copy)
    group = Group(start, folder, size)
    group.train(task, data, copy, steps=done + 4, checkpoint_every=5)
    group.finish()
    assert f"Going on after step {done}: training" in group.commands[0].said
    assert runs.step(copy) == done + 4


def on_one_machine(start: Start, folder: Path, data: Path, task: str) -> dict[str, float]:
    """Two and four processes beside one; one that is killed, and going on with more and fewer."""
    alone, _ = runs.straight(start, folder, data, task)
    seen = {}
    for size in (2, 4):
        group = Group(start, folder, size)
        group.train(task, data, folder / f"{task}-of-{size}")
        group.finish()
        seen[f"difference of {size}"] = same_losses(alone, folder / f"{task}-of-{size}")
    killed = folder / f"{task}-killed"
    seen["seconds to stop"] = one_is_killed(Group(start, folder, 2), task, data, killed)
    for size in (1, 4):
        goes_on(start, folder, task, data, killed, size)
    refuses_other_data(start, folder, task, data)
    return seen


def on_two_machines(start: Start, folder: Path, data: Path, task: str) -> dict[str, float]:
    """The same with a process on each of two machines.

    Raises:
        NoNetworks: see `two_machines`.
    """
    alone, _ = runs.straight(start, folder, data, task)
    with two_machines() as machines:
        group = Group(start, folder, 2, machines)
        group.train(task, data, folder / f"{task}-of-2")
        group.finish()
        killed = folder / f"{task}-killed"
        seconds = one_is_killed(group, task, data, killed)
    goes_on(start, folder, task, data, killed, 1)
    difference = same_losses(alone, folder / f"{task}-of-2")
    return {"difference of 2": difference, "seconds to stop": seconds}


def refuses_other_data(start: Start, folder: Path, task: str, data: Path) -> None:
    """A process with other images than the first, or with none, keeps all from beginning."""
    run = folder / "never"
    for name, words in (("other.npz", "holds other images for"), ("gone.npz", "gone.npz")):
        other = folder / name
        if name == "other.npz":
            images(other, 81)
        group = Group(start, folder, 2)
        group.train(task, [data, other], run)
        group.check_stops(2, words)
        assert not run.exists()


def _free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Machine:
    """A network namespace with one cable to the other machine."""

    def __init__(self, number: int) -> None:
        self.name = f"visarch-{os.getpid()}-{number}"
        self.interface = f"cable{number}"
        self.address = f"10.77.0.{number}"


@contextmanager
def two_machines() -> Iterator[list[Machine]]:
    """Two network namespaces with a cable between them.

    Raises:
        NoNetworks: only root may make them, with iproute2.
    """
    machines = [Machine(1), Machine(2)]
    try:
        for machine in machines:
            _ip("netns", "add", machine.name)
        one, other = machines
        peer = ["peer", "name", other.interface, "netns", other.name]
        _ip("-n", one.name, "link", "add", one.interface, "type", "veth", *peer)
        for machine in machines:
            _ip(
                "-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", machine.interface
            )
            _ip("-n", machine.name, "link", "set", machine.interface, "up")
            _ip("-n", machine.name, "link", "set", "lo", "up")
        yield machines
    finally:
        for machine in machines:
            subprocess.run(["ip", "netns", "delete", machine.name], capture_output=True)


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoNetworks("there is no iproute2") from error
    if done.returncode:
        raise NoNetworks(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
