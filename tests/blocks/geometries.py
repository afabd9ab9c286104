"""Convolutions of every geometry, for the properties to be tried on."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """C, C', F, S, P and the sizes H, … of an input that F fits."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: int
    sizes: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.sizes)

    @property
    def options(self) -> dict[str, int]:
        return {"stride": self.stride, "padding": self.padding}

    def image(self, batch: int = 2) -> Tensor:
        return torch.randn(batch, self.in_channels, *self.sizes, dtype=torch.float64)


@st.composite
def geometries(draw: st.DrawFn, *, transposed: bool = False) -> Geometry:
    """Any that Lemma 1.1, or Lemma 1.3 if transposed, allows; smaller sides in more dimensions."""
    kernel_size, stride = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    padding = draw(st.integers(0, kernel_size - 1 if transposed else 3))
    if transposed:  # (H − 1)S + F − 2P ≥ 1
        smallest = 1 + max(0, -((kernel_size - 2 * padding - 1) // stride))
    else:  # H + 2P ≥ F
        smallest = max(1, kernel_size - 2 * padding)
    ndim = draw(st.sampled_from([1, 2, 3]))
    side = st.integers(smallest, smallest + (6, 4, 2)[ndim - 1])
    return Geometry(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        kernel_size,
        stride,
        padding,
        tuple(draw(side) for _ in range(ndim)),
    )
