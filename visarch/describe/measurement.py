"""Measuring a network by running it on tensors that have shapes but no numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn

from visarch.blocks.attention import Attn
from visarch.blocks.convolution import Conv, TransConv
from visarch.describe.description import Step
from visarch.describe.receptive_field import IMAGE, NOTHING, Field, through


class Measurement:
    """One image's way through a copy of a network on torch's meta device.

    ``network`` is the copy: it takes no memory, and the model itself is not touched. Once it has
    been called, ``shapes`` holds what came out of each submodule, without the batch axis, and
    ``macs`` the multiply-accumulates that each did itself; then :meth:`add` puts step after step
    together from submodules.
    """

    def __init__(self, model: nn.Module) -> None:
        # What deepcopy finds in its memo it does not copy: here every tensor, for an empty one.
        empty: dict[int, Any] = {id(tensor): tensor.to("meta") for tensor in model.buffers()}
        for weight in model.parameters():
            empty[id(weight)] = nn.Parameter(weight.detach().to("meta"))
        self.network: Any = copy.deepcopy(model, empty).eval()
        self._dtype = next(model.parameters()).dtype
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.macs: dict[str, int] = {}
        for name, module in self.network.named_modules():
            module._forward_hooks.clear()  # the model's own may expect numbers
            module._forward_pre_hooks.clear()
            module.register_forward_hook(self._note(name))
        self.steps: list[Step] = []
        self._fields = {"x": IMAGE}

    def input(self, *shape: int) -> Tensor:
        """A batch of one input of this shape."""
        return torch.empty(1, *shape, device="meta", dtype=self._dtype)

    def add(
        self,
        name: str,
        boxes: Sequence[str],
        inputs: Sequence[str],
        parts: Sequence[str] = (),
        *,
        repeats: int = 1,
        shape: Sequence[int] | None = None,
        field: Field | None = None,
    ) -> None:
        """Append the step that these submodules make of these inputs, one after the other.

        Args:
            name: the note's, in plain letters.
            boxes: what the step does, in words.
            inputs: steps before it, or inputs of the network. Only ``x`` is an image.
            parts: the submodules (or parameters), by name.
            repeats: how many such blocks the part has in a row.
            shape: what comes out, if it is not just what the last part gives.
            field: what a pixel of it sees, if the parts do not tell.
        """
        if field is None:
            seen = reduce(or_, [self._fields.get(source, NOTHING) for source in inputs])
            field = reduce(
                lambda seen, part: through(self.network.get_submodule(part), seen), parts, seen
            )
        self._fields[name] = field

        def belongs(name: str) -> bool:
            return any(name == part or name.startswith(f"{part}.") for part in parts)

        weights = self.network.named_parameters()
        self.steps.append(
            Step(
                name=name,
                boxes=tuple(boxes),
                inputs=tuple(inputs),
                shape=self.shapes[parts[-1]] if shape is None else tuple(shape),
                parameters=sum(weight.numel() for name, weight in weights if belongs(name)),
                macs=sum(macs for name, macs in self.macs.items() if belongs(name)),
                receptive_field=None if math.isinf(field.size) else int(field.size),
                repeats=repeats,
            )
        )

    def _note(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                self.shapes[name] = tuple(output.shape[1:])
                self.macs[name] = _macs(module, inputs[0], output)

        return note


def _macs(module: nn.Module, x: Tensor, y: Tensor) -> int:
    """Multiply-accumulates for a batch of one, those of submodules apart."""
    if isinstance(module, Conv):  # for each output number, the inner product with a filter
        return y.numel() * module.weight[0].numel()
    if isinstance(module, TransConv):  # for each input number, a filter times it
        return x.numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return y.numel() * module.in_features
    if isinstance(module, Attn):  # q kᵀ, and what the softmax makes of it times v
        return 2 * x[0, 0].numel() ** 2 * module.num_heads * module.head_dim
    return 0
