"""All randomness of a step derives from (seed, step, position in the batch).

So one process or several, interrupted or not, see the same images in the same order and the same
noise: whatever is drawn, is drawn for the whole (global) batch from a generator of its own, and
each process takes its slice.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

import torch
from torch import Tensor

from visarch.performance.uncompiled import uncompiled


def derive_seed(*path: int | str) -> int:
    """A seed for the place that `path` names; different places get unrelated seeds.

    Torch's CPU generator uses 32 bits of it, so 32 bits are what it has.
    """
    return int.from_bytes(blake2b(repr(path).encode(), digest_size=4).digest(), "little")


def seed_step(seed: int, step: int, device: torch.device) -> None:
    """Seed torch's global generators, which dropout draws from, for one step of all processes."""
    value = derive_seed("global", seed, step, 0)  # the 0 keeps masks what they were for old runs
    torch.default_generator.manual_seed(value)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(value)


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_samples: int) -> Tensor:
    """The order in which one epoch visits the samples: a permutation made from (seed, epoch)."""
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    return torch.randperm(num_samples, generator=generator)


def batch_indices(seed: int, step: int, num_samples: int, batch_size: int) -> Tensor:
    """The samples of global batch `step`, counted from 0.

    Batches cut the endless sequence of epochs into equal pieces, so a batch may span the end of an
    epoch, and may be larger than the data.

    Shapes: (batch_size,) int64.
    Raises:
        ValueError: there are no samples.
    """
    if num_samples < 1:
        raise ValueError("num_samples is 0; there must be at least one training sample")
    pieces, start, end = [], step * batch_size, (step + 1) * batch_size
    while start < end:
        epoch, offset = divmod(start, num_samples)
        length = min(end - start, num_samples - offset)
        pieces.append(epoch_order(seed, epoch, num_samples)[offset : offset + length])
        start += length
    return torch.cat(pieces)


class StepNoise:
    """The noise of one step: each call draws for the whole batch and returns this process's part.

    Draw n of step s is made by a CPU generator seeded with (seed, s, n), so the numbers depend
    neither on the device nor on how many processes share the batch, nor on what was drawn before.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        global_batch: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if global_batch % world_size:
            raise ValueError(
                f"a global batch of {global_batch} cannot be shared equally by {world_size} "
                "processes; it must be a multiple of their number"
            )
        self.seed = seed
        self.step = step
        self.global_batch = global_batch
        self.rank = rank
        self.world_size = world_size
        self.device = torch.device(device)
        self._draws = 0

    @property
    def batch_size(self) -> int:
        """How many samples this process has: the first dimension of everything drawn."""
        return self.global_batch // self.world_size

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (b, *shape) float32."""
        return self._draw(shape, torch.Tensor.normal_)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), (b, *shape) float32."""
        return self._draw(shape, torch.Tensor.uniform_)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform integers in 0 … high − 1, (b, *shape) int64."""
        return self._draw(shape, torch.Tensor.random_, 0, high, dtype=torch.int64)

    def fork(self, number: int, batch_size: int) -> "StepNoise":
        """Unrelated noise for another batch, whole on this process: batch `number` of a split."""
        seed = derive_seed("fork", self.seed, self.step, number)
        return StepNoise(seed, self.step, batch_size, device=self.device)

    @uncompiled
    def _draw(
        self,
        shape: tuple[int, ...],
        fill: Callable[..., Tensor],
        *arguments: int,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        generator = torch.Generator().manual_seed(
            derive_seed("noise", self.seed, self.step, self._draws)
        )
        self._draws += 1
        whole = torch.empty(self.global_batch, *shape, dtype=dtype)
        fill(whole, *arguments, generator=generator)
        start = self.rank * self.batch_size
        return whole[start : start + self.batch_size].to(self.device)
