"""Claims about the normalization template and its four selects (note, A and A.1; lecture)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from visarch.blocks.convolution import Conv
from visarch.blocks.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    Normalization,
    normalize,
)
from visarch.blocks.residual import ResidualBlock
from visarch.reference import normalization as reference
from visarch.reference.residual import residual_block as reference_block
from visarch.reference.weights import Weights
from visarch.training.batchnorm import exact_batchnorm_statistics
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


def draw_batch(draw: Draw) -> tuple[Array, int]:
    """A batch (N, C, *spatial) away from zero mean and unit variance, and a G that divides C."""
    groups = draw.integer(1, 3)
    channels = groups * draw.integer(1, 3)
    smallest, largest = {1: (4, 6), 2: (2, 4), 3: (2, 2)}[draw.ndim]
    x = draw.array(draw.integer(2, 3), channels, *draw.sizes(smallest, largest))
    return 2 * x + 1, groups


def layer_is_its_sets(draw: Draw, module: Normalization, x: Array, expected: Any) -> Errors:
    """A layer with random γ and β against the reference's function of the same weights."""
    draw.fill(module)
    return errors(run(module, x), expected(x, weights(module)))


@claim("the template, select by select, is its index sets", "note, A.1")
def template_is_its_sets(draw: Draw) -> Errors:
    x, groups = draw_batch(draw)
    options = {
        "batch": reference.select_batch,
        "layer": reference.select_layer,
        "instance": reference.select_instance,
        "group": reference.select_group(groups),
    }

    def ours(dtype: torch.dtype) -> dict[str, Tensor]:
        return {
            name: normalize(tensor(x, dtype), name, num_groups=groups if name == "group" else None)
            for name in ("batch", "layer", "instance", "group")
        }

    return errors(ours, {name: reference.normalize(x, select) for name, select in options.items()})


@claim("BatchNorm in training is select c' = c", "note, A.1; lecture, Batch Normalization")
def batch_norm_is_its_sets(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    return layer_is_its_sets(draw, BatchNorm(x.shape[1]), x, reference.batch_norm)


@claim("LayerNorm is select k' = k", "note, A.1")
def layer_norm_is_its_sets(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    return layer_is_its_sets(draw, LayerNorm(x.shape[1]), x, reference.layer_norm)


@claim("InstanceNorm is select k' = k, c' = c", "note, A.1")
def instance_norm_is_its_sets(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    return layer_is_its_sets(draw, InstanceNorm(x.shape[1]), x, reference.instance_norm)


@claim("GroupNorm is select k' = k, g(c') = g(c)", "note, A.1")
def group_norm_is_its_sets(draw: Draw) -> Errors:
    x, groups = draw_batch(draw)

    def group_norm(x: Array, weights: Weights) -> Array:
        return reference.group_norm(x, weights, num_groups=groups)

    return layer_is_its_sets(draw, GroupNorm(x.shape[1], num_groups=groups), x, group_norm)


@claim("every set has mean 0 and variance v/(v + ε), with 1/|S|", "note, A (decision 8)")
def sets_are_standardized(draw: Draw) -> Errors:
    x, groups = draw_batch(draw)
    selects = {
        "batch": reference.select_batch,
        "layer": reference.select_layer,
        "instance": reference.select_instance,
        "group": reference.select_group(groups),
    }
    name = draw.choice(list(selects))
    sets = {selects[name](index, x.shape).tobytes() for index in np.ndindex(x.shape)}
    masks = [np.frombuffer(each, dtype=bool).reshape(x.shape) for each in sets]
    variances = [np.var(x[mask]) for mask in masks]

    def moments(dtype: torch.dtype) -> Array:
        num_groups = groups if name == "group" else None
        y = normalize(tensor(x, dtype), name, num_groups=num_groups).double().numpy()
        return np.array([[np.mean(y[mask]), np.mean(y[mask] ** 2)] for mask in masks])

    return errors(moments, [[0.0, v / (v + 1e-5)] for v in variances])


@claim("layer norm is group norm with one group, γ and β per channel", "note, A.1 (decision 9)")
def layer_norm_is_one_group(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    layer = draw.fill(LayerNorm(x.shape[1]))
    group = GroupNorm(x.shape[1], num_groups=1).double()
    group.load_state_dict(layer.state_dict())
    # torch.nn.LayerNorm((C, H, W)) has a γ and β for each pixel: here each channel repeats its own.
    shape = x.shape[1:]
    gamma, beta = (
        each.view(-1, *(1,) * draw.ndim).expand(shape) for each in (layer.weight, layer.bias)
    )
    per_pixel = functional.layer_norm(tensor(x), list(shape), gamma, beta)
    return errors(
        lambda dtype: {"group": run(group, x)(dtype), "layer": run(layer, x)(dtype)},
        {"group": per_pixel, "layer": per_pixel},
    )


@claim("instance norm is group norm with G = C", "note, A.1")
def instance_norm_is_c_groups(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    group = GroupNorm(x.shape[1], num_groups=x.shape[1])
    return layer_is_its_sets(draw, group, x, reference.instance_norm)


@claim("channels share a group iff ⌊c'/(C/G)⌋ = ⌊c/(C/G)⌋", "note, A.1", measure=EXACT)
def groups_are_runs_of_channels(draw: Draw) -> Errors:
    x, groups = draw_batch(draw)
    channels = x.shape[1]
    module = draw.fill(GroupNorm(channels, num_groups=groups))
    before = module(tensor(x))
    answers = []
    for c in range(channels):
        changed = x.copy()
        changed[:, c] = 5 * draw.array(*x[:, c].shape)
        moved = (module(tensor(changed)) != before).flatten(2).any(2).any(0)
        size = channels // groups
        answers += [bool(moved[d]) == (d // size == c // size) for d in range(channels)]
    return wrong(*answers)


@claim("BatchNorm at test time uses the moving averages", "note, A.1")
def test_time_uses_moving_averages(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    module = draw.fill(BatchNorm(x.shape[1])).eval()
    return errors(run(module, x), reference.batch_norm(x, weights(module), training=False))


@claim("BatchNorm at test time uses no statistics of the batch", "note, A.1")
def test_time_uses_no_sample(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    module = draw.fill(BatchNorm(x.shape[1])).eval()
    state = weights(module)
    alone = torch.cat([module(tensor(x[k : k + 1])) for k in range(len(x))])
    unchanged = all(np.array_equal(state[name], value) for name, value in weights(module).items())
    return errors(run(module, x), alone) if unchanged else Errors(float("inf"), float("inf"))


@claim("moving averages move by r ← (1 − m) r + m s each batch", "note, A.1")
def moving_averages_move(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    module = draw.fill(BatchNorm(x.shape[1], momentum=draw.choice([0.1, 0.01, 0.5])))
    mean, variance = reference.running_average(x, weights(module), momentum=module.momentum)

    def averages(dtype: torch.dtype) -> dict[str, Tensor]:
        moved = cast(module, dtype)
        moved(tensor(x, dtype))
        return {"mean": moved.running_mean, "variance": moved.running_var}

    return errors(averages, {"mean": mean, "variance": variance})


@claim("a bias before BatchNorm changes nothing: β takes its place", "note, B.1 (decision 5)")
def bias_before_batch_norm_is_idle(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    conv = draw.fill(Conv(x.shape[1], 3, 1, ndim=draw.ndim))
    norm = draw.fill(BatchNorm(3))
    biased = torch.nn.Sequential(conv, norm)
    expected = run(biased, x)(torch.float64)
    conv.bias = None
    return errors(run(biased, x), expected)


@claim(
    "after training: statistics of the full data set, in any batches",
    "lecture, Batch Normalization",
)
def statistics_are_exact(draw: Draw) -> Errors:
    batches = [draw_batch(draw)[0]]
    shape = batches[0].shape[1:]
    batches += [2 * draw.array(draw.integer(1, 4), *shape) for _ in range(draw.integer(0, 3))]
    channels = np.concatenate(batches).swapaxes(0, 1).reshape(shape[0], -1)
    module = draw.fill(BatchNorm(shape[0]))

    def statistics(dtype: torch.dtype) -> dict[str, Tensor]:
        copy = cast(module, dtype)
        exact_batchnorm_statistics(copy, [partial(copy, tensor(x, dtype)) for x in batches])
        return {"mean": copy.running_mean, "variance": copy.running_var}

    return errors(statistics, {"mean": channels.mean(1), "variance": channels.var(1)})


@claim("with these statistics test time is the set as one batch", "lecture, Batch Normalization")
def exact_statistics_are_the_sets(draw: Draw) -> Errors:
    x, _ = draw_batch(draw)
    block = draw.fill(ResidualBlock(x.shape[1], 2, ndim=draw.ndim))

    def at_test(dtype: torch.dtype) -> Tensor:
        copy = cast(block, dtype)
        exact_batchnorm_statistics(copy, [partial(copy, tensor(x, dtype))])
        return copy.eval()(tensor(x, dtype))

    return errors(at_test, reference_block(x, weights(block)))


def gradient_step(features: Tensor, w: Array, target: Array, step: float) -> tuple[Tensor, Tensor]:
    """w and w' = w − η ∂L/∂w for a single fully connected neuron X w under some loss."""
    with torch.enable_grad():
        weight = tensor(w, features.dtype).requires_grad_()
        loss = ((features @ weight).tanh() * tensor(target, features.dtype)).sum()
        (gradient,) = torch.autograd.grad(loss, weight)
    return weight.detach(), weight.detach() - step * gradient


@claim("row normalization: a gradient step keeps the sum of w", "note, A (decision 10)")
def rows_keep_the_sum(draw: Draw) -> Errors:
    num_examples, num_features = draw.integer(2, 6), draw.integer(3, 6)
    x, w = 2 * draw.array(num_examples, num_features) + 1, draw.array(num_features)
    target, step = draw.array(num_examples), 0.1 * draw.integer(1, 10)

    def sum_after(dtype: torch.dtype) -> Tensor:
        return gradient_step(normalize(tensor(x, dtype), "layer"), w, target, step)[1].sum()

    return errors(sum_after, np.sum(w))


@claim("row normalization: it does not keep ‖w‖₁, as is printed", "note, A (decision 10)", cases=1)
def rows_do_not_keep_the_norm(draw: Draw) -> Errors:
    def norms(dtype: torch.dtype) -> list[float]:
        features = normalize(tensor([[3.0, 1.0]], dtype), "layer", epsilon=0.0)  # (1, −1)
        w = tensor([1.0, 0.0], dtype)
        stepped = w - 2.0 * features.T @ tensor([1.0], dtype)
        return [float(w.sum()), float(stepped.sum()), float(w.norm(1)), float(stepped.norm(1))]

    return errors(norms, [1.0, 1.0, 1.0, 3.0])


@claim("column normalization: a constant added to u changes no step", "note, A")
def columns_ignore_a_shift_of_u(draw: Draw) -> Errors:
    x = 2 * draw.array(draw.integer(4, 8), draw.integer(1, 6)) + 1
    u, shift = draw.array(len(x)), 5 * draw.array()

    def step(dtype: torch.dtype) -> Tensor:
        return normalize(tensor(x, dtype), "batch").T @ tensor(u + shift, dtype)

    return errors(step, normalize(tensor(x), "batch").T @ tensor(u))


@claim("column normalization: a feature's offset and scale change no step", "note, A")
def columns_ignore_scale_and_offset(draw: Draw) -> Errors:
    x = draw.array(draw.integer(4, 8), draw.integer(1, 6))
    u = draw.array(len(x))
    scale, offset = np.exp(2 * draw.array(x.shape[1])), 0.1 * draw.array(x.shape[1])
    other = (x + offset) * scale

    def step(batch: Array, dtype: torch.dtype) -> Tensor:
        return normalize(tensor(batch, dtype), "batch", epsilon=0.0).T @ tensor(u, dtype)

    return errors(lambda dtype: step(other, dtype), step(x, torch.float64))
