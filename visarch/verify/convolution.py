"""Claims about convolution, its transpose and the matrices behind them (note, 1.1 and 1.2)."""

from __future__ import annotations

import numpy as np
import torch

from visarch.blocks.convolution import (
    Conv,
    ConvLayer,
    TransConv,
    conv_matrix,
    conv_output_size,
    implicit_conv,
    trans_conv_output_size,
)
from visarch.reference import convolution as reference
from visarch.verify.claim import (
    EXACT,
    Array,
    Draw,
    Errors,
    cast,
    claim,
    errors,
    run,
    tensor,
    weights,
    wrong,
)


def draw_conv(draw: Draw) -> tuple[Conv, Array]:
    """A convolution of random sizes, and one image that is large enough for it."""
    kernel_size, padding = draw.integer(1, 4 if draw.ndim < 3 else 3), draw.integer(0, 2)
    smallest = max(1, kernel_size - 2 * padding)
    sizes = draw.sizes(smallest, smallest + (5 if draw.ndim < 3 else 3))
    module = Conv(
        draw.integer(1, 3),
        draw.integer(1, 3),
        kernel_size,
        stride=draw.integer(1, 3),
        padding=padding,
        bias=draw.choice([True, False]),
        ndim=draw.ndim,
    )
    return draw.fill(module), draw.array(module.in_channels, *sizes)


def draw_trans_conv(draw: Draw) -> tuple[TransConv, Array]:
    """A transposed convolution of random sizes, and one image on which it leaves something."""
    kernel_size = draw.integer(1, 4 if draw.ndim < 3 else 3)
    padding, stride = draw.integer(0, kernel_size - 1), draw.integer(1, 3)
    smallest = 1
    while (smallest - 1) * stride + kernel_size - 2 * padding < 1:
        smallest += 1
    sizes = draw.sizes(smallest, smallest + (3 if draw.ndim < 3 else 1))
    module = TransConv(
        draw.integer(1, 3),
        draw.integer(1, 3),
        kernel_size,
        stride=stride,
        padding=padding,
        bias=draw.choice([True, False]),
        ndim=draw.ndim,
    )
    return draw.fill(module), draw.array(module.in_channels, *sizes)


def bias_of(module: Conv | TransConv) -> Array:
    """b.view(C', 1, …), zeros where the module has none."""
    bias = np.zeros(module.out_channels) if module.bias is None else weights(module)["bias"]
    return bias.reshape(-1, *(1,) * module.ndim)


@claim("Conv is its loops", "note, 1.1")
def conv_is_its_loops(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    expected = reference.conv(x, weights(conv), stride=conv.stride, padding=conv.padding)
    return errors(run(conv, x[np.newaxis]), expected[np.newaxis])


@claim("⌊(H + 2P − F)/S⌋ + 1 counts the windows", "note, Lemma 1.1", measure=EXACT)
def lemma_counts_windows(draw: Draw) -> Errors:
    size, stride, padding = draw.integer(1, 40), draw.integer(1, 6), draw.integer(0, 4)
    kernel_size = draw.integer(1, size + 2 * padding)
    windows = reference.window_starts(size + 2 * padding, kernel_size, stride)
    return wrong(conv_output_size(size, kernel_size, stride, padding) == len(windows))


@claim("Conv's output has the lemma's size", "note, Lemma 1.1", measure=EXACT)
def conv_has_the_size(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    sizes = conv(tensor(x)[None]).shape[2:]
    formula = (conv.kernel_size, conv.stride, conv.padding)
    return wrong(
        *(a == conv_output_size(b, *formula) for a, b in zip(sizes, x.shape[1:], strict=True))
    )


@claim("Conv(x) = V vec(x) + b", "note, Fact 1.2")
def conv_is_its_matrix(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    y = reference.conv(x, weights(conv), stride=conv.stride, padding=conv.padding)

    def both_sides(dtype: torch.dtype) -> dict[str, Array]:
        module = cast(conv, dtype)
        product = (conv_matrix(module, x.shape) @ tensor(x, dtype).reshape(-1, 1)).view(y.shape)
        return {
            "Conv": module(tensor(x, dtype)[None])[0].double().numpy(),
            "V": product.double().numpy() + bias_of(conv),
        }

    return errors(both_sides, {"Conv": y, "V": y})


@claim("V has the entries of its definition", "note, Fact 1.2")
def matrix_is_its_definition(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    expected = reference.conv_matrix(
        weights(conv)["weight"], x.shape, stride=conv.stride, padding=conv.padding
    )
    return errors(lambda dtype: conv_matrix(cast(conv, dtype), x.shape).to_dense(), expected)


@claim("V is unique: its columns are Conv of unit vectors", "note, Fact 1.2")
def matrix_is_unique(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    images = torch.eye(x.size, dtype=torch.float64).view(x.size, *x.shape)
    columns = (conv(images) - conv(torch.zeros_like(images))).flatten(1).T.numpy()
    return errors(lambda dtype: conv_matrix(cast(conv, dtype), x.shape).to_dense(), columns)


@claim("V is the Jacobian of Conv", "note, Fact 1.2")
def matrix_is_the_jacobian(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    matrix = conv_matrix(conv, x.shape).to_dense().numpy()

    def jacobian(dtype: torch.dtype) -> Array:
        with torch.enable_grad():
            derivative = torch.autograd.functional.jacobian(
                cast(conv, dtype).requires_grad_(False), tensor(x, dtype)[None]
            )
        return derivative.reshape(matrix.shape).double().numpy()

    return errors(jacobian, matrix)


@claim("V stores the taps inside the image and nothing else", "note, Fact 1.2", measure=EXACT)
def matrix_is_sparse(draw: Draw) -> Errors:
    conv, x = draw_conv(draw)
    matrix = conv_matrix(conv, x.shape)
    ones = np.ones(conv.weight.shape)
    taps = reference.conv_matrix(ones, x.shape, stride=conv.stride, padding=conv.padding)
    stored = np.zeros(taps.shape)
    np.add.at(stored, tuple(matrix.indices().numpy()), 1)
    full_rows = conv.in_channels * conv.kernel_size**conv.ndim
    return wrong(
        matrix.is_sparse,
        np.array_equal(stored, taps),
        conv.padding > 0 or bool(np.all(taps.sum(1) == full_rows)),
    )


@claim("V of the example is the printed 4 × 9 matrix", "note, eq. 2", cases=1)
def matrix_of_the_example(draw: Draw) -> Errors:
    conv = draw.fill(Conv(1, 1, 2, bias=False))
    w1, w2, w3, w4 = conv.weight.flatten().tolist()
    printed = [
        [w1, w2, 0, w3, w4, 0, 0, 0, 0],
        [0, w1, w2, 0, w3, w4, 0, 0, 0],
        [0, 0, 0, w1, w2, 0, w3, w4, 0],
        [0, 0, 0, 0, w1, w2, 0, w3, w4],
    ]
    return errors(lambda dtype: conv_matrix(cast(conv, dtype), (1, 3, 3)).to_dense(), printed)


@claim("TransConv is zeros between pixels, then flipped filters", "note, 1.2")
def trans_conv_is_its_steps(draw: Draw) -> Errors:
    module, x = draw_trans_conv(draw)
    expected = reference.trans_conv(
        x, weights(module), stride=module.stride, padding=module.padding
    )
    return errors(run(module, x[np.newaxis]), expected[np.newaxis])


@claim("TransConv's output has (H − 1)S + F − 2P pixels a side", "note, Lemma 1.3", measure=EXACT)
def trans_conv_has_the_size(draw: Draw) -> Errors:
    module, x = draw_trans_conv(draw)
    formula = (module.kernel_size, module.stride, module.padding)
    answers = []
    for ours, size in zip(module(tensor(x)[None]).shape[2:], x.shape[1:], strict=True):
        gaps, edge = (size - 1) * (module.stride - 1), module.kernel_size - 1 - module.padding
        padded = size + gaps + 2 * edge  # f(H) of the lemma's proof
        answers += [
            ours == trans_conv_output_size(size, *formula),
            ours == conv_output_size(padded, module.kernel_size),
        ]
    return wrong(*answers)


@claim("TransConv(x) = Vᵀ vec(x) + b, V of the implicit convolution", "note, Fact 1.4")
def trans_conv_is_the_transposed_matrix(draw: Draw) -> Errors:
    module, x = draw_trans_conv(draw)
    y = module(tensor(x)[None])[0]
    matrix = conv_matrix(implicit_conv(module), tuple(y.shape)).to_dense().numpy()
    expected = (matrix.T @ x.ravel()).reshape(y.shape) + bias_of(module)
    return errors(run(module, x[np.newaxis]), expected[np.newaxis])


@claim("⟨Conv(y), x⟩ = ⟨y, TransConv(x)⟩: each is the other's adjoint", "note, Fact 1.4")
def trans_conv_is_the_adjoint(draw: Draw) -> Errors:
    module, x = draw_trans_conv(draw)
    module.bias = None
    y = draw.array(*module(tensor(x)[None]).shape[1:])
    down = reference.conv(
        y, weights(implicit_conv(module)), stride=module.stride, padding=module.padding
    )
    expected = np.sum(down * x)

    def inner_product(dtype: torch.dtype) -> float:
        enlarged = cast(module, dtype)(tensor(x, dtype)[None])[0]
        return float((enlarged * tensor(y, dtype)).sum())

    return errors(inner_product, expected)


@claim("the implicit convolution leads back to the input's shape", "note, Fact 1.4", measure=EXACT)
def implicit_conv_recovers_the_shape(draw: Draw) -> Errors:
    module, x = draw_trans_conv(draw)
    enlarged = module(tensor(x)[None])
    return wrong(implicit_conv(module)(enlarged).shape[1:] == x.shape)


@claim("[U_c]_o = [W_o]_c: no flip, no swapped axes", "note, Fact 1.4", measure=EXACT)
def implicit_filters_are_the_weights(draw: Draw) -> Errors:
    module, _ = draw_trans_conv(draw)
    implicit = implicit_conv(module).weight
    # W_o as the algorithm of 1.2 understands it: what one pixel alone is turned into.
    answers = [implicit.shape == module.weight.shape]
    single = TransConv(
        module.in_channels, module.out_channels, module.kernel_size, bias=False, ndim=module.ndim
    ).double()
    single.weight = module.weight
    for c in range(module.in_channels):
        pixel = torch.zeros(1, module.in_channels, *(1,) * module.ndim, dtype=torch.float64)
        pixel[0, c] = 1
        answers.append(torch.equal(single(pixel)[0], implicit[c]))
    return wrong(*answers)


@claim("TransConv undoes no convolution: an image that Conv maps to 0 is lost", "note, 1.2")
def trans_conv_is_no_inverse(draw: Draw) -> Errors:
    conv = draw.fill(Conv(2, 1, 2, stride=2, bias=False, ndim=draw.ndim))
    shape = (2, *draw.sizes(2, 4))
    matrix = conv_matrix(conv, shape).to_dense().numpy()
    lost = np.linalg.svd(matrix)[2][-1]  # a unit vector that V maps to zero: V has more columns
    back = draw.fill(TransConv(1, 2, 2, stride=2, bias=False, ndim=draw.ndim))
    back.weight = conv.weight

    def returned(dtype: torch.dtype) -> torch.Tensor:
        image = tensor(lost.reshape(shape), dtype)[None]
        return cast(back, dtype)(cast(conv, dtype)(image))

    return errors(returned, np.zeros(returned(torch.float64).shape))


@claim("the two transposed examples, entry by entry", "note, eq. 4 and 5", cases=1)
def transposed_examples(draw: Draw) -> Errors:
    x1, x2, x3, x4 = x = draw.array(4)
    two = draw.fill(TransConv(1, 1, 2, bias=False))
    w1, w2, w3, w4 = two.weight.flatten().tolist()
    fourth = [
        [w1 * x1, w2 * x1 + w1 * x2, w2 * x2],
        [w3 * x1 + w1 * x3, w4 * x1 + w3 * x2 + w2 * x3 + w1 * x4, w4 * x2 + w2 * x4],
        [w3 * x3, w4 * x3 + w3 * x4, w4 * x4],
    ]
    one = draw.fill(TransConv(1, 1, 1, stride=2, bias=False))
    w = one.weight.item()
    fifth = [[w * x1, 0, w * x2], [0, 0, 0], [w * x3, 0, w * x4]]
    image = x.reshape(1, 1, 2, 2)
    return errors(
        lambda dtype: {"4": run(two, image)(dtype)[0, 0], "5": run(one, image)(dtype)[0, 0]},
        {"4": fourth, "5": fifth},
    )


@claim("the illustrated sizes: 6 → 3 down, 3 → 5 up", "note, 1.1 and 1.2", measure=EXACT, cases=1)
def illustrated_sizes(draw: Draw) -> Errors:
    down = Conv(1, 1, 3, stride=2, padding=1)(torch.zeros(1, 1, 6, 6))
    up = TransConv(1, 1, 3, stride=2, padding=1)(torch.zeros(1, 1, 3, 3))
    return wrong(down.shape[2:] == (3, 3), up.shape[2:] == (5, 5))


@claim("ConvLayer is ReLU⟨W, Pad(x)⟩, for odd and even k", "lecture, Convolutional Layer")
def conv_layer_is_its_formula(draw: Draw) -> Errors:
    kernel_size = draw.integer(1, 5 if draw.ndim < 3 else 3)
    channels = draw.integer(1, 3)
    layer = ConvLayer(channels, draw.integer(1, 3), kernel_size=kernel_size, ndim=draw.ndim)
    draw.fill(layer)
    x = draw.array(channels, *draw.sizes(1, 5 if draw.ndim < 3 else 3))
    expected = reference.conv_layer(x, weights(layer.conv))
    return errors(run(layer, x[np.newaxis]), expected[np.newaxis])


@claim("ConvLayer keeps the size for every k", "lecture, Convolutional Layer", measure=EXACT)
def conv_layer_keeps_the_size(draw: Draw) -> Errors:
    x = torch.zeros(1, 1, *draw.sizes(1, 8))
    return wrong(
        *(
            ConvLayer(1, 1, kernel_size=kernel_size, ndim=draw.ndim)(x).shape == x.shape
            for kernel_size in range(1, 8)
        )
    )
