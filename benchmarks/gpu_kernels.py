"""The fused norm at every size that the U-Net normalizes: that it is right, and how fast."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional

from visarch.blocks.normalization import GroupNorm
from visarch.describe.measurement import Measurement
from visarch.models.unet import UNet
from visarch.performance import triton_norm
from visarch.performance.fused_norm import group_norm_swish
from visarch.performance.triton_norm import Tile, tile

BATCH, GROUPS, DROPOUT = 128, 32, 0.1
ROUNDING = 0.02
"""How far results in bf16 may lie from those in float64, of the largest."""
PASSES = 5
"""Tensors that pass through memory: x and y forward, x, ∂y and ∂x backward."""
Norm = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""x, γ, β and context to y."""


def kernels(device: torch.device) -> dict[str, Any]:
    """Errors and times at every size, beside torch's own operators, eager and compiled.

    Raises:
        AssertionError: a result is wrong.
    """
    with torch.device("meta"):
        network = Measurement(UNet())
        network.network(network.input(3, 32, 32), network.input(256))
    sizes = Counter(
        network.shapes[name][:2]
        for name, module in network.network.named_modules()
        if isinstance(module, GroupNorm)
    )
    compiled = torch.compile(_plain, mode="max-autotune-no-cudagraphs")
    rows = []
    print(f"group norm, context, swish and dropout in bf16, batch {BATCH}: μs there and back")
    for (channels, side), count in sorted(sizes.items()):
        inputs = _inputs(channels, side, device)
        row = {"channels": channels, "side": side, "layers": count, "error": _error(inputs)}
        row["seconds"] = _seconds(_ours, inputs)
        row["eager"], row["compiled"] = _seconds(_plain, inputs), _seconds(compiled, inputs)
        row["bytes_per_second"] = PASSES * inputs[0].nbytes / row["seconds"]
        row["best"], row["best_tile"] = min(
            (_with(other, inputs), other._asdict()) for other in _others(channels, side)
        )
        rows.append(row)
        print(
            f"  {channels:4} × {side:2}²  {1e6 * row['seconds']:7.1f}  eager"
            f" {1e6 * row['eager']:7.1f}  compiled {1e6 * row['compiled']:7.1f}"
            f"  {row['bytes_per_second'] / 1e12:.2f} TB/s"
            f"  best tile {1e6 * row['best']:7.1f} {tuple(row['best_tile'].values())}",
            flush=True,
        )
    return {"device": torch.cuda.get_device_name(device), "torch": torch.__version__, "norms": rows}


def _inputs(channels: int, side: int, device: torch.device) -> list[Tensor]:
    x = torch.randn(BATCH, channels, side, side, device=device, dtype=torch.bfloat16)
    tensors = [
        x.contiguous(memory_format=torch.channels_last),
        1 + 0.1 * torch.randn(channels, device=device),
        torch.randn(channels, device=device),
        torch.randn(BATCH, channels, device=device, dtype=torch.bfloat16),
    ]
    return [tensor.requires_grad_() for tensor in tensors]


def _ours(x: Tensor, weight: Tensor, bias: Tensor, context: Tensor) -> Tensor:
    return group_norm_swish(x, weight, bias, GROUPS, context=context, dropout=DROPOUT)


def _plain(
    x: Tensor, weight: Tensor, bias: Tensor, context: Tensor, dropout: float = DROPOUT
) -> Tensor:
    z = x + context[:, :, None, None]
    norm = functional.group_norm(z, GROUPS, weight.to(z.dtype), bias.to(z.dtype))
    return functional.dropout(functional.silu(norm), dropout)


def _error(inputs: list[Tensor]) -> float:
    """The largest difference to float64, of output and gradients, relative to their largest."""
    y = _ours(*inputs)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    kept = (y != 0) / (1 - round(DROPOUT * 2**16) / 2**16)
    expected = _plain(*exact, dropout=0.0) * kept
    slope = torch.randn_like(y)
    found = (y, *torch.autograd.grad(y, inputs, slope))
    right = (expected, *torch.autograd.grad(expected, exact, slope.double()))
    errors = [
        ((a.double() - b).abs().max() / b.abs().max()).item()
        for a, b in zip(found, right, strict=True)
    ]
    assert max(errors) < ROUNDING, f"{tuple(y.shape)}: {errors}"
    assert abs((y != 0).double().mean().item() - 1 + DROPOUT) < 0.002
    return max(errors)


def _seconds(norm: Norm, inputs: list[Tensor]) -> float:
    """Of a forward and a backward pass, as a graph replays them."""
    from triton.testing import do_bench_cudagraph

    slope = torch.randn_like(inputs[0])

    def both() -> None:
        torch.autograd.grad(norm(*inputs), inputs, slope)

    both()
    return 1e-3 * do_bench_cudagraph(both, return_mode="median")


def _with(other: Tile, inputs: list[Tensor]) -> float:
    """Seconds in other tiles; endless in those that the GPU has no room for."""
    from triton.runtime.errors import OutOfResources

    with mock.patch.object(triton_norm, "tile", return_value=other):
        try:
            return _seconds(_ours, inputs)
        except OutOfResources:
            return float("inf")


def _others(channels: int, side: int) -> Iterator[Tile]:
    """Tiles of half, the same and twice the columns, whole or not, with fewer and more warps."""
    chosen = tile(side * side, channels // GROUPS, GROUPS)
    for groups in {
        max(1, chosen.num_groups // 2),
        chosen.num_groups,
        min(GROUPS, chosen.num_groups * 2),
    }:
        columns = max(16, 1 << (groups * channels // GROUPS - 1).bit_length())
        for rows in {chosen.rows, max(1, 2048 // columns), max(1, 4096 // columns)}:
            for warps in (1, 2, 4, 8, 16):
                if 8 <= rows * columns / (32 * warps) <= 64:
                    yield Tile(groups, rows, columns, rows >= side * side, warps)
