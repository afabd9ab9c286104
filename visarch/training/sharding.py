"""Weights of which every process holds a part (FSDP), and plain models made of whole ones."""

import copy
import os
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, TypeGuard

import torch
from accelerate.utils import str_to_bool
from torch import Tensor, nn


def is_sharded_launch() -> bool:
    """Whether the processes were launched to share the weights among them."""
    return bool(str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false")))


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where processes hold parts of it, all of them must call this."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def local(tensors: list[Tensor]) -> list[Tensor]:
    """What this process holds of tensors, sharing their memory."""
    if not any(map(_is_sharded, tensors)):
        return tensors
    return [tensor.to_local() if _is_sharded(tensor) else tensor for tensor in tensors]


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole tensor, shared out as another tensor of that shape is."""
    if not _is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # half a second, for sharded runs alone

    # no source: each process has it whole and takes its part
    mesh, placements = like.device_mesh, like.placements
    return distribute_tensor(tensor.to(like.device), mesh, placements, src_data_rank=None)


def gather(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors, where they are to be kept; elsewhere this process only hands in its parts."""
    gathered = {}
    for name, tensor in tensors.items():
        value = whole(tensor)
        if keep:
            gathered[name] = value if value is tensor else value.cpu()
    return gathered


class Blueprint:
    """A model without its tensors, to build plain copies of it from.

    Once a model is made to work on several processes it cannot be copied any more, and what it
    computes takes all of them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = _copy_with(model, lambda _, tensor: torch.empty_like(tensor, device="meta"))

    def build(self, model: nn.Module, read: Callable[[Tensor], Tensor]) -> nn.Module:
        """A plain copy with, in place of each tensor of the model, what `read` makes of it."""
        tensors = dict(chain(model.named_parameters(), model.named_buffers()))
        copied = _copy_with(self._model, lambda name, _: read(tensors[name].detach()))
        return copied.train(model.training)


def _copy_with(model: nn.Module, replace: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A deep copy of a module with other tensors in place of its own."""
    memo: dict[int, Tensor] = {}
    for name, parameter in model.named_parameters():
        value = replace(name, parameter)
        memo[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
    for name, buffer in model.named_buffers():
        memo[id(buffer)] = replace(name, buffer)
    return copy.deepcopy(model, memo)


def _is_sharded(tensor: Any) -> TypeGuard[Any]:
    """Whether it is a DTensor, whose class is only imported where there is one."""
    return type(tensor) is not nn.Parameter and hasattr(tensor, "placements")
