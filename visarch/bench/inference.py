"""Evaluations of a network without gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visarch.bench.harness import Work


def evaluation(network: Callable[..., Any], *inputs: Tensor, comparable: bool = True) -> Work:
    """What a network makes of inputs, again and again."""

    def call() -> Any:
        with torch.inference_mode():
            return network(*inputs)

    return Work(call, call if comparable else None)
