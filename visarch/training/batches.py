"""Batches of a split on the device: read ahead where reading takes its time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visarch.performance.choices import arrange

if TYPE_CHECKING:
    from visarch.data import Batch, Split

_LARGEST_SHARE = 0.1
"""Of an accelerator's free memory, what images may take that are to stay there."""


class Batches:
    """Reads batches of a split, which lie on the device in a memory format.

    What is held in memory is read when it is asked for, which takes no time worth a thread; on an
    accelerator it is moved there once and for all, if there is room. What must be decoded is read
    by a thread, one batch ahead. Either way it is the same batches, and an error in reading one is
    raised when that one is asked for.
    """

    def __init__(
        self, split: "Split", device: torch.device, memory_format: torch.memory_format
    ) -> None:
        self.device, self.memory_format = device, memory_format
        self._split = split.to(device) if _may_stay(split, device) else split
        self._thread = None if split.in_memory else ThreadPoolExecutor(1, "read-ahead")
        self._ahead: dict[int, Future[Batch]] = {}

    def read(self, indices: Tensor) -> "Batch":
        """The samples at `indices` (b,)."""
        return self._read(indices).to(self.device)

    def step(self, number: int, choose: Callable[[int], Tensor], *, last: bool) -> "Batch":
        """The batch of a step; `choose` gives the indices of this step's and of the next one's."""
        if self._thread is None:
            return self.read(choose(number))
        future = self._ahead.pop(number, None) or self._thread.submit(self._read, choose(number))
        self._ahead.clear()
        if not last:
            self._ahead[number + 1] = self._thread.submit(self._read, choose(number + 1))
        return future.result().to(self.device)

    def each(self, pieces: Iterable[Tensor]) -> Iterator["Batch"]:
        """The batches at several lots of indices, one after the other."""
        if self._thread is None:
            yield from map(self.read, pieces)
            return
        ahead: deque[Future[Batch]] = deque()
        for indices in pieces:
            ahead.append(self._thread.submit(self._read, indices))
            if len(ahead) > 1:
                yield ahead.popleft().result().to(self.device)
        while ahead:
            yield ahead.popleft().result().to(self.device)

    def close(self) -> None:
        """Let go of the thread; a batch that it is reading is the last."""
        if self._thread:
            self._thread.shutdown(cancel_futures=True)

    def _read(self, indices: Tensor) -> "Batch":
        batch = self._split.read(indices)
        images = arrange(batch.images, self.memory_format)
        if self.device.type == "cuda" and images.device.type == "cpu":
            images = images.pin_memory()  # or copying it would have the processor wait
        return replace(batch, images=images)


def _may_stay(split: "Split", device: torch.device) -> bool:
    """Whether the images are few enough to lie on the accelerator for the whole training."""
    if device.type != "cuda" or not isinstance(split.images, Tensor):
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return split.images.nbytes <= _LARGEST_SHARE * free
