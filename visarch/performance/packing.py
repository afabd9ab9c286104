"""Convolutions and linear layers whose weights lie in memory as oneDNN's kernels read them.

PyTorch's own layers keep their weights in the order of a state dict, and oneDNN brings them into
that of its kernels anew in every call; a bias, an activation or a sum is a pass of its own. Here
weights are laid out once for each shape of input, and all of that is part of the one operation. The
operators are those that PyTorch's compiler emits for frozen weights; called by themselves they need
no compiler.
"""

from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.convolution import Conv, SameConv, TransConv

# its operators are looked up where they are called: a PyTorch without oneDNN has none of them
_ops = torch.ops.mkldnn

_NO_DILATION, _NO_GROUPS = [1, 1], 1


def can_pack(device: torch.device) -> bool:
    """Whether PyTorch was built with oneDNN, and computes with it on such a device."""
    return device.type == "cpu" and torch.backends.mkldnn.is_available()


def least_width(conv: Conv, padding: int) -> int:
    """The width from which on oneDNN is right about a convolution in bf16 or int8.

    oneDNN 3.12 goes wrong on AMX where a convolution with a stride gives a single column (one cause
    is mended in its pull request 5494): narrower images must be made wider.
    """
    if conv.stride == 1 or conv.kernel_size == 1:
        return 0
    return conv.kernel_size + conv.stride - 2 * padding


class Packed(nn.Module):
    """Weights of a layer, laid out for each shape of input that came by, and a bias or none.

    The layer computes in the precision of its weights. Nearly all shapes ask for the same layout,
    which is kept once. A copy or a pickle holds the plain weights, and lays them out again when it
    is used.
    """

    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.precision = weight.dtype
        self.bias = None if bias is None else bias.detach()
        self._plain: Tensor | None = weight.detach()
        self._layouts: dict[Hashable, Tensor] = {}

    @property
    def weight(self) -> Tensor:
        """The weights as a plain tensor."""
        plain = self._plain
        return self._take_back(next(iter(self._layouts.values()))) if plain is None else plain

    def _lay_out(self, weight: Tensor, shape: Any) -> Tensor:
        """The weights as the kernel reads them that takes inputs of this shape."""
        raise NotImplementedError

    def _take_back(self, layout: Tensor) -> Tensor:
        """The plain weights of such a layout."""
        return layout.to_dense()

    def _add_layout(self, shape: Hashable) -> Tensor:
        layout = self._lay_out(self.weight, shape)
        description = _ops._get_mkldnn_serialized_md(layout)
        for known in self._layouts.values():
            if torch.equal(_ops._get_mkldnn_serialized_md(known), description):
                layout = known
        self._layouts[shape] = layout
        self._plain = None
        return layout

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plain": self.weight, "_layouts": {}}


class PackedConv(Packed):
    """y = activation(Conv(x) + added), in channels_last, for a :class:`visarch.Conv` in 2-d.

    With ``reuse`` the result is written over ``added``, of the same shape, which saves one of three
    passes over memory.

    Shapes: x (b, C, H, W), added (b, C', H', W') or (b, C', 1, 1) → (b, C', H', W').
    """

    def __init__(self, conv: Conv, *, activation: Literal["relu"] | None = None) -> None:
        super().__init__(conv.weight, conv.bias)
        self.stride, self.padding = [conv.stride] * 2, [conv.padding] * 2
        self.activation = activation
        self.edges: list[int] | None = None
        if isinstance(conv, SameConv) and conv.kernel_size % 2 == 0:
            # the last row of what symmetric padding gives is never computed
            self.edges, self.padding = [conv.padding, conv.padding - 1] * 2, [0, 0]
        is_low = self.precision == torch.bfloat16
        self.least_width = least_width(conv, self.padding[1]) if is_low else 0

    def forward(self, x: Tensor, added: Tensor | None = None, *, reuse: bool = False) -> Tensor:
        if x.dtype != self.precision:
            x = x.to(self.precision)
        if self.edges is not None:
            x = functional.pad(x, self.edges)
        is_narrow = x.shape[3] < self.least_width
        if is_narrow:
            x = functional.pad(x, [0, self.stride[1]])
        weight = self._layouts.get(x.shape)
        if weight is None:
            weight = self._add_layout(x.shape)
        geometry = self.padding, self.stride, _NO_DILATION, _NO_GROUPS
        if added is not None:
            assert not is_narrow
            how: tuple[Any, ...] = ("add", None, self.activation, [], "")
            if reuse:
                return _ops._convolution_pointwise_.binary(
                    added, x, weight, self.bias, *geometry, *how
                )
            return _ops._convolution_pointwise.binary(x, added, weight, self.bias, *geometry, *how)
        y = _ops._convolution_pointwise.default(
            x, weight, self.bias, *geometry, self.activation or "none", [], ""
        )
        return y[..., :1].contiguous(memory_format=torch.channels_last) if is_narrow else y

    def _lay_out(self, weight: Tensor, shape: Any) -> Tensor:
        return _ops._reorder_convolution_weight(
            weight, self.padding, self.stride, _NO_DILATION, _NO_GROUPS, list(shape)
        )


class PackedTransConv(Packed):
    """y = TransConv(x), in channels_last, for a :class:`visarch.TransConv` in 2-d.

    Shapes: (b, C, H, W) → (b, C', H', W').
    """

    def __init__(self, conv: TransConv) -> None:
        super().__init__(conv.weight, conv.bias)
        self.stride, self.padding = [conv.stride] * 2, [conv.padding] * 2

    def forward(self, x: Tensor) -> Tensor:
        weight = self._layouts.get(x.shape)
        if weight is None:
            weight = self._add_layout(x.shape)
        return _ops._convolution_transpose_pointwise.default(
            x, weight, self.bias, self.padding, [0, 0], self.stride, [1, 1], 1, "none", [], ""
        )

    def _lay_out(self, weight: Tensor, shape: Any) -> Tensor:
        return _ops._reorder_convolution_transpose_weight(
            weight, self.padding, [0, 0], self.stride, [1, 1], 1, list(shape)
        )

    def _take_back(self, layout: Tensor) -> Tensor:
        return layout.to_dense().transpose(0, 1).contiguous()  # (C', C, …) → (C, C', …)


class PackedLinear(Packed):
    """y = activation(x Wᵀ + b), for ``nn.Linear``. Shapes: (…, n) → (…, m)."""

    def __init__(self, linear: nn.Linear, *, activation: Literal["relu"] | None = None) -> None:
        super().__init__(linear.weight, linear.bias)
        self.activation = activation or "none"

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != self.precision:
            x = x.to(self.precision)
        num_rows = x.numel() // x.shape[-1]
        weight = self._layouts.get(num_rows)
        if weight is None:
            weight = self._add_layout(num_rows)
        return _ops._linear_pointwise.default(x, weight, self.bias, self.activation, [], "")

    def _lay_out(self, weight: Tensor, shape: Any) -> Tensor:
        return _ops._reorder_linear_weight(weight, shape)
