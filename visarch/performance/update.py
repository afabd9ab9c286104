"""One pass over the weights at the end of a step: the optimizer, and the average of the weights.

Either reads and writes all weights in memory, and for a network of many weights on few images that
takes about as long as its gradients do. Here the weights go through both piece by piece, while a
piece lies in the processor's cache.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

PIECE = 2**17
"""Weights in a piece: with gradient, two moments and average, 2.6 MB in fp32."""


class Piece(NamedTuple):
    """Some weights of a tensor: from `start` to `stop` in the order of memory."""

    tensor: int
    start: int
    stop: int


def pieces(sizes: Sequence[int], largest: int = PIECE) -> Iterator[list[Piece]]:
    """Lots of at most `largest` weights that cover tensors of these sizes, in their order.

    Tensors are cut between cache lines alone: torch computes the rest of a line, at the end of what
    it is given, by other instructions, and so with other rounding.
    """
    assert largest % _LINE == 0
    lot: list[Piece] = []
    room = largest
    for tensor, size in enumerate(sizes):
        start = 0
        while start < size:
            stop = min(size, start + room)
            lot.append(Piece(tensor, start, stop))
            room, start = room - (stop - start + _LINE - 1) // _LINE * _LINE, stop
            if not room:
                yield lot
                lot, room = [], largest
    if lot:
        yield lot


_LINE = 16
"""Weights in a cache line, in fp32."""
@torch.no_grad()
def update(
    optimizer: torch.optim.Optimizer,
    averages: Mapping[Tensor, Tensor],
    share: float,
    *,
    largest: int = PIECE,
) -> None:
    """The optimizer's step and then the average, to the last bit as over all weights at once.

        w ← optimizer(w, gradient);   average ← average + share · (w − average)

    Args:
        optimizer: torch's AdamW, or SGD with momentum; fused, and without options beyond learning
            rate, decay, betas, ε and Nesterov. Its state stays where it keeps it.
        averages: the average of each weight, laid out in memory as the weight is.
        share: of the new weights in the average.
        largest: weights in a piece.
    """
    apply = _adamw if isinstance(optimizer, torch.optim.AdamW) else _sgd
    for group in optimizer.param_groups:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        states = [_state(optimizer, weight) for weight in weights]
        steps = [state["step"] for state in states if "step" in state]
        if steps:
            torch._foreach_add_(steps, 1)
        columns = [
            [_flat(weight) for weight in weights],
            [_flat(_laid_out(weight.grad, weight)) for weight in weights],
            *([_flat(state[name]) for state in states] for name in _moments(optimizer)),
        ]
        ours = [_flat(averages[weight]) for weight in weights]
        for lot in pieces([weight.numel() for weight in weights], largest):
            parts = [[column[i][start:stop] for i, start, stop in lot] for column in columns]
            apply(group, parts, [steps[i] for i, _, _ in lot] if steps else [])
            averaged = [ours[i][start:stop] for i, start, stop in lot]
            torch._foreach_lerp_(averaged, parts[0], share)


def _moments(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """What the optimizer calls its averages of the gradient."""
    adamw = isinstance(optimizer, torch.optim.AdamW)
    return ("exp_avg", "exp_avg_sq") if adamw else ("momentum_buffer",)


def _state(optimizer: torch.optim.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """The optimizer's state of a weight; before its first step it is that of no gradients yet."""
    state = optimizer.state[weight]
    if not state:
        if isinstance(optimizer, torch.optim.AdamW):
            state["step"] = torch.zeros((), dtype=torch.float32, device=weight.device)
        for name in _moments(optimizer):
            state[name] = torch.zeros_like(weight)
    return state


def _adamw(group: dict[str, Any], parts: list[list[Tensor]], steps: list[Tensor]) -> None:
    beta1, beta2 = group["betas"]
    torch._fused_adamw_(
        *parts,
        [],
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _sgd(group: dict[str, Any], parts: list[list[Tensor]], _: list[Tensor]) -> None:
    torch._fused_sgd_(
        *parts,
        weight_decay=group["weight_decay"],
        momentum=group["momentum"],
        lr=group["lr"],
        dampening=0.0,
        nesterov=group["nesterov"],
        maximize=False,
        is_first_step=False,
    )


def _laid_out(gradient: Tensor, weight: Tensor) -> Tensor:
    """A gradient in the memory layout of its weight."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


def _flat(tensor: Tensor) -> Tensor:
    """A dense tensor as a vector in the order of memory, which they share."""
    return tensor.as_strided((tensor.numel(),), (1,))
