"""Convolution, its transpose, and the matrices that both of them are (note, sections 1.1 and 1.2).

One class serves 1-d signals, 2-d images and 3-d volumes: ``ndim`` says how many spatial axes
there are, and every formula below holds for each axis on its own.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_CONVOLUTION = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def conv_output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """Side of a convolution's output: ⌊(H + 2P − F) / S⌋ + 1.

    Raises:
        ValueError: for sizes that are not positive integers, or if the window F is larger than the
            padded side H + 2P.

    Source: note, Lemma 1.1.
    """
    _check_window("conv_output_size", size, kernel_size, stride, padding)
    if kernel_size > size + 2 * padding:
        raise ValueError(
            f"kernel_size F = {kernel_size} does not fit a side of {size} padded by {padding} on "
            f"both ends: F must be at most H + 2P = {size + 2 * padding}"
        )
    return (size + 2 * padding - kernel_size) // stride + 1


def trans_conv_output_size(size: int, kernel_size: int, stride: int = 1, padding: int = 0) -> int:
    """Side of a transposed convolution's output: (H − 1)S + F − 2P.

    Raises:
        ValueError: for sizes that are not positive integers, P > F − 1, or if nothing would be
            left.

    Source: note, Lemma 1.3.
    """
    _check_window("trans_conv_output_size", size, kernel_size, stride, padding)
    _check_implicit_padding(kernel_size, padding)
    output = (size - 1) * stride + kernel_size - 2 * padding
    if output < 1:
        raise ValueError(
            f"a side of {size} under kernel_size F = {kernel_size}, stride S = {stride}, padding "
            f"P = {padding} gives (H − 1)S + F − 2P = {output}: it must be at least 1, so choose "
            f"P ≤ {((size - 1) * stride + kernel_size - 1) // 2}"
        )
    return output


class _Kernels(nn.Module):
    """What Conv and TransConv share: sizes, a kernel for each pair of channels, and a bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        _check_sizes(
            type(self).__name__, in_channels, out_channels, kernel_size, stride, padding, ndim
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ndim = ndim
        window = (kernel_size,) * ndim
        self.weight = nn.Parameter(torch.empty(*self._kernel_channels(), *window))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        _initialize(self.weight, self.bias)

    def _kernel_channels(self) -> tuple[int, int]:
        """The order of the weight's first two axes."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, {self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, bias={self.bias is not None}, ndim={self.ndim}"
        )


class Conv(_Kernels):
    """Conv (note, section 1.1): one filter W_o slides over the image for each output channel o.

    y[o, i] = ⟨W_o, x̃[:, iS : iS + F]⟩ + b_o, where x̃ is x with P zeros on every edge.

    Parameters are named and shaped as in ``torch.nn.Conv{1,2,3}d``: ``weight`` (C', C, F, …) and
    ``bias`` (C').

    Shapes: (b, C, H, …) → (b, C', H', …), with H' from :func:`conv_output_size`.

    Raises:
        ValueError: for sizes that are not positive integers, an input with another number of
            axes or channels, or an input smaller than the window.

    Source: note, section 1.1; initial values as in He et al. 2015 with a = √5 (torch's own).
    """

    def _kernel_channels(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b d *out"]:
        check_input("Conv", x, self.in_channels, self.ndim)
        for size in x.shape[2:]:
            self.output_size(size)
        convolve = _CONVOLUTION[self.ndim]
        return convolve(x, self.weight, self.bias, stride=self.stride, padding=self.padding)

    def output_size(self, size: int) -> int:
        """Side of the output for one side of the input, as :func:`conv_output_size`."""
        return conv_output_size(size, self.kernel_size, self.stride, self.padding)


class SameConv(Conv):
    """A convolution with the lecture's Pad: ⌊k/2⌋ zeros before the image, what is needed after it.

    At stride 1 the output is as large as the input for every k, even or odd; at stride S it has
    ⌈H / S⌉ pixels a side. Symmetric padding by ⌊k/2⌋ gives one row too many when k is even: the
    last one, which is dropped.

    Shapes: (b, C, H, …) → (b, C', ⌈H / S⌉, …).

    Source: lecture, "Convolutional Layer".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        bias: bool = False,
        ndim: int = 2,
    ) -> None:
        _check_positive("SameConv", "kernel_size", kernel_size)
        padding = kernel_size // 2
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            bias=bias,
            ndim=ndim,
        )

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b d *out"]:
        y = super().forward(x)
        if self.kernel_size % 2 == 1:
            return y
        return crop(y, [self.output_size(size) for size in x.shape[2:]])

    def output_size(self, size: int) -> int:
        """⌈H / S⌉."""
        return -(-size // self.stride)


class ConvLayer(nn.Module):
    """Convolutional layer (lecture): z = ReLU(⟨W, Pad(x)⟩), as large as x.

    Shapes: (b, C, H, …) → (b, C', H, …).

    Raises:
        ValueError: as :class:`Conv`.

    Source: lecture, "Convolutional Layer". The lecture's layer has no bias; ``bias=True`` adds one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        bias: bool = False,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        self.conv = SameConv(in_channels, out_channels, kernel_size, bias=bias, ndim=ndim)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b d *spatial"]:
        return functional.relu(self.conv(x))


class TransConv(_Kernels):
    """TransConv (note, section 1.2): a convolution that enlarges by the factor S.

    Defined as a stride-1 convolution with flipped filters over x with S − 1 zeros between its
    pixels and F − 1 − P zeros on its edges; equal to Vᵀ vec(x) + b for the matrix V of the
    implicit convolution (Fact 1.4, :func:`implicit_conv`), which is how it is computed.

    Parameters are named and shaped as in ``torch.nn.ConvTranspose{1,2,3}d``: ``weight``
    (C, C', F, …), which is U_c of Fact 1.4 as it stands, and ``bias`` (C').

    Shapes: (b, C, H, …) → (b, C', H', …), with H' from :func:`trans_conv_output_size`.

    Raises:
        ValueError: for sizes that are not positive integers, P > F − 1, or an input with another
            number of axes or channels.

    Source: note, section 1.2.
    """

    def _kernel_channels(self) -> tuple[int, int]:
        _check_implicit_padding(self.kernel_size, self.padding)
        return self.in_channels, self.out_channels

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> Float[Tensor, "b d *out"]:
        check_input("TransConv", x, self.in_channels, self.ndim)
        for size in x.shape[2:]:
            trans_conv_output_size(size, self.kernel_size, self.stride, self.padding)
        convolve = _TRANSPOSED[self.ndim]
        return convolve(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


def conv_matrix(conv: Conv, input_shape: tuple[int, ...]) -> Tensor:
    """The matrix V of a convolution: Conv(x) = (V vec(x)).view(C', H', …) + b.view(C', 1, …).

    Entry V[(o, i), (c, iS + f − P)] is W_o[c, f]; whatever would fall on the padding is left out.
    Built from the weights' indices, so that gradients reach the weights through V.

    Args:
        conv: the convolution.
        input_shape: (C, H, …), without a batch axis.

    Returns:
        A coalesced sparse COO tensor of shape (C'·H'·…, C·H·…).

    Raises:
        ValueError: if the shape has other channels or axes than the convolution, or is too small.

    Source: note, Fact 1.2.
    """
    channels, *sizes = input_shape
    if channels != conv.in_channels or len(sizes) != conv.ndim:
        raise ValueError(
            f"input_shape {tuple(input_shape)} does not fit this {conv.ndim}-d convolution: "
            f"it must be (C, …) with C = {conv.in_channels} and {conv.ndim} spatial sizes"
        )
    out_channels, window, device = conv.out_channels, conv.kernel_size, conv.weight.device
    out_sizes = [conv.output_size(size) for size in sizes]

    # Which input pixel each window element meets, axis by axis: (H', F).
    pixels = [
        conv.stride * torch.arange(n, device=device)[:, None]
        + torch.arange(window, device=device)
        - conv.padding
        for n in out_sizes
    ]
    # The same over all axes at once, with axes (H'…, F…) after the loop.
    pixel = torch.zeros((1,) * (2 * conv.ndim), dtype=torch.long, device=device)
    inside = torch.ones((1,) * (2 * conv.ndim), dtype=torch.bool, device=device)
    for axis, (index, size) in enumerate(zip(pixels, sizes, strict=True)):
        shape = [1] * (2 * conv.ndim)
        shape[axis], shape[conv.ndim + axis] = index.shape
        index = index.view(shape)
        pixel = pixel * size + index
        inside = inside & (index >= 0) & (index < size)

    # Every axis of V's entries in row-major order of (row, column): o, i…, c, f….
    num_positions, num_pixels, num_taps = math.prod(out_sizes), math.prod(sizes), window**conv.ndim
    grid = (out_channels, num_positions, channels, num_taps)
    pixel = pixel.reshape(1, num_positions, 1, num_taps)
    kept = inside.reshape(1, num_positions, 1, num_taps).expand(grid)
    row = torch.arange(out_channels * num_positions, device=device).view(grid[0], grid[1], 1, 1)
    column = torch.arange(channels, device=device).view(1, 1, -1, 1) * num_pixels + pixel
    weight = conv.weight.reshape(out_channels, 1, channels, num_taps)
    return torch.sparse_coo_tensor(
        torch.stack([row.expand(grid)[kept], column.expand(grid)[kept]]),
        weight.expand(grid)[kept],
        (out_channels * num_positions, channels * num_pixels),
        is_coalesced=True,
        check_invariants=False,  # true by construction
    )


def implicit_conv(trans_conv: TransConv) -> Conv:
    """The convolution whose matrix V gives TransConv(x) = (Vᵀ vec(x)).view(C', H', …) + b.

    Its filters are [U_c]_o = [W_o]_c: the very tensor that ``trans_conv`` holds (shared, not
    copied), and it has no bias. It maps the enlarged shape back to the shape before.

    Source: note, Fact 1.4.
    """
    with torch.device("meta"):  # its own weight would only be thrown away
        conv = Conv(
            trans_conv.out_channels,
            trans_conv.in_channels,
            trans_conv.kernel_size,
            stride=trans_conv.stride,
            padding=trans_conv.padding,
            bias=False,
            ndim=trans_conv.ndim,
        )
    conv.weight = trans_conv.weight
    return conv


def crop(x: Float[Tensor, "b c *spatial"], sizes: Sequence[int]) -> Float[Tensor, "b c *out"]:
    """The first ``sizes`` pixels of x along its spatial axes."""
    for axis, size in enumerate(sizes, start=2):
        x = x.narrow(axis, 0, size)
    return x


def pad_to_multiple(
    x: Float[Tensor, "b c *spatial"], multiple: int
) -> Float[Tensor, "b c *padded"]:
    """x with zeros after its end along each spatial axis, up to a multiple of ``multiple``."""
    missing = [-size % multiple for size in x.shape[2:]]
    if not any(missing):
        return x
    return functional.pad(x, [n for size in reversed(missing) for n in (0, size)])


def check_input(box: str, x: Tensor, channels: int, ndim: int) -> None:
    """Refuse an input whose axes or channels are not those that the box was made for."""
    if x.ndim != ndim + 2 or x.shape[1] != channels:
        axes = {1: "length", 2: "height, width", 3: "depth, height, width"}[ndim]
        raise ValueError(
            f"{box} was given an input of shape {tuple(x.shape)}: this one is {ndim}-d with "
            f"{channels} channels, so it takes (batch, {channels}, {axes})"
        )


def _initialize(weight: Tensor, bias: Tensor | None) -> None:
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(bias, -bound, bound)


def _check_sizes(
    box: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int,
    padding: int,
    ndim: int,
) -> None:
    _check_positive(box, "in_channels", in_channels)
    _check_positive(box, "out_channels", out_channels)
    _check_positive(box, "kernel_size", kernel_size)
    _check_positive(box, "stride", stride)
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"{box}: padding is {padding!r}: it must be an integer of at least 0")
    if ndim not in (1, 2, 3):
        raise ValueError(f"{box}: ndim is {ndim!r}: it must be 1, 2 or 3")


def _check_window(place: str, size: int, kernel_size: int, stride: int, padding: int) -> None:
    # Sizes are symbols while a program is exported: they are compared, not asked for their type.
    if size < 1 or kernel_size < 1 or stride < 1 or padding < 0:
        raise ValueError(
            f"{place}: size {size}, kernel_size {kernel_size} and stride {stride} must be at least "
            f"1, and padding {padding} at least 0"
        )


def _check_positive(box: str, name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{box}: {name} is {value!r}: it must be an integer of at least 1")


def _check_implicit_padding(kernel_size: int, padding: int) -> None:
    if padding > kernel_size - 1:
        raise ValueError(
            f"TransConv: padding P = {padding} is more than F − 1 = {kernel_size - 1}: with "
            f"kernel_size F = {kernel_size} it must lie between 0 and {kernel_size - 1}"
        )
