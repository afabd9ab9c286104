"""Several processes that were launched together (`accelerate launch`, `torchrun`) to share work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


class Deal(Protocol):
    """Shares work: what is made of each item, in their order, for every process."""

    def __call__(self, items: Sequence[Item], work: Callable[[Item], Made], /) -> list[Made]: ...


def alone(items: Sequence[Item], work: Callable[[Item], Made]) -> list[Made]:
    """All of the work, by this process."""
    return [work(item) for item in items]


class Team:
    """This process among those that were launched with it; mostly it is the only one.

    All of them must do the same. To be used as a context, at whose end they part.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        """What `--device` says, or with several processes this one's own device."""
        self._state: Any = None
        if os.environ.get("WORLD_SIZE", "1") != "1":
            from accelerate import PartialState

            from visarch.device import as_launched, find_device

            on_cpu = find_device(device).type == "cpu"
            with as_launched():
                self._state = PartialState(cpu=on_cpu)
            self.device = str(self._state.device) if device == "auto" else device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self._state is None or self._state.is_main_process

    def deal(self, items: Sequence[Item], work: Callable[[Item], Made]) -> list[Made]:
        """What is made of each item: they are dealt out in turn, and everyone gets all results."""
        if self._state is None:
            return alone(items, work)
        from accelerate.utils import gather_object

        rank, count = self._state.process_index, self._state.num_processes
        made: list[tuple[int, Made]] = gather_object(
            [(place, work(items[place])) for place in range(rank, len(items), count)]
        )
        return [result for _, result in sorted(made, key=lambda pair: pair[0])]

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        if self._state is not None:
            self._state.destroy_process_group()
