"""Exact BatchNorm statistics after training (lecture, "Batch Normalization")."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Moments:
    """Count, mean and variance of the values seen so far, per channel, in float64."""

    count: int
    mean: Tensor
    variance: Tensor

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets: the variance is E[variance] + Var[mean], weighted by count."""
        count = self.count + other.count
        ours, theirs = self.count / count, other.count / count
        shift = other.mean - self.mean
        return Moments(
            count,
            self.mean + theirs * shift,
            ours * self.variance + theirs * other.variance + ours * theirs * shift.square(),
        )


Seen = dict[int, Moments]
"""Moments of what has come by, by the number of the BatchNorm."""


@torch.no_grad()
def exact_batchnorm_statistics(
    model: nn.Module,
    forwards: Iterable[Callable[[], object]],
    gather: Callable[[Seen], list[Seen]] = lambda seen: [seen],
) -> None:
    """Replace every BatchNorm's moving averages by the statistics of the whole training set.

    Each callable runs the model on one batch; together they are the training set, in batches of
    about equal size. For each BatchNorm, with x its input over all batches, examples and pixels,

        running_mean = mean of x,   running_var = mean of (x − running_mean)²

    (|S| in the denominator: these are the values of the set, not estimates from a sample). While
    they are gathered, each BatchNorm normalizes by its batch, as in training, so that no layer's
    statistics depend on another's old ones; everything else is in eval mode, as dropout would
    change the variance (Li et al. 2019, Understanding the Disharmony between Dropout and Batch
    Normalization by Variance Shift). Training flags and batch counts are left as they were.

    Where several processes share the batches, `gather` gives what all of them have seen.

    Source: lecture, "Batch Normalization"; Wu & Johnson 2021, Rethinking "Batch" in BatchNorm.
    """
    norms = [module for module in model.modules() if _has_statistics(module)]
    if not norms:
        return
    numbers = {norm: number for number, norm in enumerate(norms)}
    seen: Seen = {}

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        _add(seen, {numbers[norm]: _moments(inputs[0])})

    modes = [(module, module.training) for module in model.modules()]
    counts = [norm.num_batches_tracked.clone() for norm in norms]  # type: ignore[operator]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.train()
        for forward in forwards:
            forward()
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
        for norm, count in zip(norms, counts, strict=True):
            norm.num_batches_tracked.copy_(count)  # type: ignore[operator]
    whole: Seen = {}
    for share in gather(seen):
        _add(whole, share)
    for number, moments in whole.items():
        norms[number].running_mean.copy_(moments.mean)  # type: ignore[operator]
        norms[number].running_var.copy_(moments.variance)  # type: ignore[operator]


def _add(seen: Seen, new: Seen) -> None:
    for number, moments in new.items():
        seen[number] = seen[number] + moments if number in seen else moments


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(getattr(module, "running_mean", None), Tensor)


def _moments(x: Tensor) -> Moments:
    """The moments of one batch (b, c, *spatial), per channel; half precision is widened first."""
    wide = x if x.dtype == torch.float64 else x.float()
    axes = [axis for axis in range(x.ndim) if axis != 1]
    variance, mean = torch.var_mean(wide, axes, correction=0)
    # to the CPU before float64, which not every device has
    return Moments(x.numel() // x.shape[1], mean.cpu().double(), variance.cpu().double())
