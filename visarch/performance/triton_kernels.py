"""GroupNorm with a context, swish and dropout: one Triton kernel each way.

With x of n pixels per example, groups of D channels, and m ∈ {0, 1 / (1 − p)} of dropout,

    x̂ = (x + context − μ) / σ,   h = γ x̂ + β,   y = m h σ(h),

where μ and σ are those of a group of one example. One program computes K neighbouring groups of one
example, as tiles of rows (pixels) × columns (channels). ``WHOLE`` says that one tile holds all the
pixels: it then stays in registers, each input is read once and each output written once. Elsewhere
a program goes over its tiles twice. Sums are taken in fp32, over the pixels of each channel first
and over the channels of its group then, so that D need not be a power of two.

Masks are not stored: Philox makes them from (seed; channel, pixel, example) in both directions.
"""

# mypy: allow-incomplete-defs, allow-untyped-defs
import triton
import triton.language as tl


@triton.jit
def _over_group(values, lane, D: tl.constexpr, K: tl.constexpr):
    """For each channel the sum over the channels of its group; values (C,) are 0 outside."""
    if K == 1:
        return tl.sum(values, 0) + tl.zeros_like(values)
    else:
        same = lane[:, None] // D == lane[None, :] // D
        return tl.sum(tl.where(same, values[None, :], 0.0), 1)


@triton.jit
def _moments(z, mask, count):
    """Mean and sum of squared deviations of each channel over the rows of a tile."""
    mean = tl.sum(tl.where(mask, z, 0.0), 0) / count
    deviation = tl.where(mask, z - mean[None, :], 0.0)
    return mean, tl.sum(deviation * deviation, 0)


@triton.jit
def _swish(z, mean, scale, beta):
    h = (z - mean[None, :]) * scale[None, :] + beta[None, :]
    return h / (1.0 + tl.exp(-h))


@triton.jit
def _through_swish(of_y, z, mask, offset, inverse, gamma, beta):
    """x̂, and ∂h = ∂y σ(h) (1 + h (1 − σ(h))), of a tile; both are 0 outside, as ∂y is."""
    normalized = tl.where(mask, (z - offset[None, :]) * inverse[None, :], 0.0)
    h = gamma[None, :] * normalized + beta[None, :]
    sigmoid = 1.0 / (1.0 + tl.exp(-h))
    return normalized, of_y * sigmoid * (1.0 + h * (1.0 - sigmoid))


@triton.jit
def _dropout(values, seed, sample, row, chunk, threshold, factor):
    """A tile times m; one Philox call decides on eight channels of a pixel, by 16 bits each."""
    if seed is None:
        return values
    else:
        ROWS: tl.constexpr = values.shape[0]
        COLUMNS: tl.constexpr = values.shape[1]
        octet = chunk * (COLUMNS // 8) + tl.arange(0, COLUMNS // 8)
        octets, pixels = tl.broadcast(octet[None, :], row[:, None])
        a, b, c, d = tl.philox(tl.load(seed), octets, pixels, sample, 0)
        words = tl.join(tl.join(a, b), tl.join(c, d))
        halves = tl.join(words & 0xFFFF, words >> 16)  # (rows, columns / 8, 2, 2, 2)
        drawn = tl.reshape(halves, [ROWS, COLUMNS]).to(tl.int32)
        return tl.where(drawn >= threshold, values * factor, 0.0)


@triton.jit
def forward(
    x,
    context,
    weight,
    bias,
    seed,
    y,
    means,
    inverses,
    pixels,
    channels,
    row_stride,
    column_stride,
    epsilon,
    threshold,
    factor,
    D: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """y, and for each example and group μ and 1 / σ.

    Args:
        x, y: (b, C, n), an example's pixels ``row_stride`` and its channels ``column_stride``
            apart.
        context: (b, C), or none.
        seed: one int64, or none for no dropout.
        threshold: p · 2¹⁶.
        factor: 1 / (1 − p).
    """
    num_chunks = tl.cdiv(channels, K * D)
    sample, chunk = tl.program_id(0) // num_chunks, tl.program_id(0) % num_chunks
    lane = tl.arange(0, COLUMNS)
    channel = chunk * (K * D) + lane
    inside = (lane < K * D) & (channel < channels)
    gamma = tl.load(weight + channel, inside, 0.0).to(tl.float32)
    beta = tl.load(bias + channel, inside, 0.0).to(tl.float32)
    shift = tl.zeros([COLUMNS], tl.float32)
    if context is not None:
        shift += tl.load(context + sample * channels + channel, inside, 0.0).to(tl.float32)

    row = tl.arange(0, ROWS)
    start_of_x = x + sample.to(tl.int64) * pixels * channels
    start_of_y = y + sample.to(tl.int64) * pixels * channels
    places = row[:, None] * row_stride + channel[None, :] * column_stride
    mask = (row < pixels)[:, None] & inside[None, :]
    z = tl.load(start_of_x + places, mask, 0.0).to(tl.float32) + shift[None, :]
    mean, squares = _moments(z, mask, pixels if WHOLE else ROWS)
    if not WHOLE:
        for start in range(ROWS, pixels, ROWS):  # as Chan et al. 1983 merge moments
            mask = (start + row < pixels)[:, None] & inside[None, :]
            z = tl.load(start_of_x + start * row_stride + places, mask, 0.0).to(tl.float32)
            count = tl.minimum(ROWS, pixels - start)
            of_tile, squares_of_tile = _moments(z + shift[None, :], mask, count)
            share = count / (start + count)
            squares += squares_of_tile + (of_tile - mean) * (of_tile - mean) * (start * share)
            mean += (of_tile - mean) * share

    of_group = _over_group(tl.where(inside, mean, 0.0), lane, D, K) / D
    between = tl.where(inside, (mean - of_group) * (mean - of_group), 0.0)
    variance = _over_group(squares + pixels * between, lane, D, K) / (pixels * D)
    inverse = 1.0 / tl.sqrt(variance + epsilon)
    group = sample * (channels // D) + channel // D
    tl.store(means + group, of_group, inside & (lane % D == 0))
    tl.store(inverses + group, inverse, inside & (lane % D == 0))

    if WHOLE:
        values = _swish(z, of_group, gamma * inverse, beta)
        values = _dropout(values, seed, sample, row, chunk, threshold, factor)
        tl.store(start_of_y + places, values.to(y.dtype.element_ty), mask)
    else:
        for start in range(0, pixels, ROWS):
            mask = (start + row < pixels)[:, None] & inside[None, :]
            z = tl.load(start_of_x + start * row_stride + places, mask, 0.0).to(tl.float32)
            values = _swish(z + shift[None, :], of_group, gamma * inverse, beta)
            values = _dropout(values, seed, sample, start + row, chunk, threshold, factor)
            pointers = start_of_y + start * row_stride + places
            tl.store(pointers, values.to(y.dtype.element_ty), mask)


@triton.jit
def backward(
    of_y,
    x,
    context,
    weight,
    bias,
    seed,
    means,
    inverses,
    of_x,
    of_context,
    of_weight,
    of_bias,
    pixels,
    channels,
    row_stride,
    column_stride,
    threshold,
    factor,
    D: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """∂x, ∂context, and each example's part of ∂γ and ∂β, (b, C).

    With a = Σ ∂h, b = Σ ∂h x̂ and c = Σ x̂ over the pixels of each channel, and the means over the
    n D numbers of a group,

        ∂x = (γ ∂h − mean(γ ∂h) − x̂ mean(γ ∂h x̂)) / σ,   ∂γ = b,   ∂β = a,   ∂context = Σ ∂x.
    """
    num_chunks = tl.cdiv(channels, K * D)
    sample, chunk = tl.program_id(0) // num_chunks, tl.program_id(0) % num_chunks
    lane = tl.arange(0, COLUMNS)
    channel = chunk * (K * D) + lane
    inside = (lane < K * D) & (channel < channels)
    gamma = tl.load(weight + channel, inside, 0.0).to(tl.float32)
    beta = tl.load(bias + channel, inside, 0.0).to(tl.float32)
    group = sample * (channels // D) + channel // D
    inverse = tl.load(inverses + group, inside, 0.0)
    offset = tl.load(means + group, inside, 0.0)
    if context is not None:
        offset -= tl.load(context + sample * channels + channel, inside, 0.0).to(tl.float32)

    row = tl.arange(0, ROWS)
    start_of_x = x + sample.to(tl.int64) * pixels * channels
    start_of_y = of_y + sample.to(tl.int64) * pixels * channels
    start_of_result = of_x + sample.to(tl.int64) * pixels * channels
    places = row[:, None] * row_stride + channel[None, :] * column_stride
    mask = (row < pixels)[:, None] & inside[None, :]
    z = tl.load(start_of_x + places, mask, 0.0).to(tl.float32)
    slope = tl.load(start_of_y + places, mask, 0.0).to(tl.float32)
    slope = _dropout(slope, seed, sample, row, chunk, threshold, factor)
    normalized, of_h = _through_swish(slope, z, mask, offset, inverse, gamma, beta)
    a, b, c = tl.sum(of_h, 0), tl.sum(of_h * normalized, 0), tl.sum(normalized, 0)
    if not WHOLE:
        for start in range(ROWS, pixels, ROWS):
            mask = (start + row < pixels)[:, None] & inside[None, :]
            z = tl.load(start_of_x + start * row_stride + places, mask, 0.0).to(tl.float32)
            slope = tl.load(start_of_y + start * row_stride + places, mask, 0.0).to(tl.float32)
            slope = _dropout(slope, seed, sample, start + row, chunk, threshold, factor)
            normalized, of_h = _through_swish(slope, z, mask, offset, inverse, gamma, beta)
            a += tl.sum(of_h, 0)
            b += tl.sum(of_h * normalized, 0)
            c += tl.sum(normalized, 0)

    mean_a = _over_group(gamma * a, lane, D, K) / (pixels * D)
    mean_b = _over_group(gamma * b, lane, D, K) / (pixels * D)
    tl.store(of_bias + sample * channels + channel, a, inside)
    tl.store(of_weight + sample * channels + channel, b, inside)
    if context is not None:
        total = (gamma * a - pixels * mean_a - mean_b * c) * inverse
        tl.store(of_context + sample * channels + channel, total, inside)

    if WHOLE:
        direct = gamma[None, :] * of_h - mean_a[None, :] - normalized * mean_b[None, :]
        values = (direct * inverse[None, :]).to(of_x.dtype.element_ty)
        tl.store(start_of_result + places, values, mask)
    else:
        for start in range(0, pixels, ROWS):
            mask = (start + row < pixels)[:, None] & inside[None, :]
            z = tl.load(start_of_x + start * row_stride + places, mask, 0.0).to(tl.float32)
            slope = tl.load(start_of_y + start * row_stride + places, mask, 0.0).to(tl.float32)
            slope = _dropout(slope, seed, sample, start + row, chunk, threshold, factor)
            normalized, of_h = _through_swish(slope, z, mask, offset, inverse, gamma, beta)
            direct = gamma[None, :] * of_h - mean_a[None, :] - normalized * mean_b[None, :]
            values = (direct * inverse[None, :]).to(of_x.dtype.element_ty)
            tl.store(start_of_result + start * row_stride + places, values, mask)
