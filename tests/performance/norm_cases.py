"""The kernels of triton_norm beside the definition in float64.

``test_triton_norm.py`` runs this file in a Python of its own: on a GPU where there is one, and in
Triton's interpreter elsewhere, which must be chosen before Triton is imported.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch.blocks.normalization import GroupNorm
from visarch.describe.measurement import Measurement
from visarch.models.unet import UNet
from visarch.performance import fused_norm, triton_norm
from visarch.performance.fused_norm import group_norm_swish

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GROUPS = 32
ROUNDING = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}

# e^{−h} may be infinite in fp32, as NumPy remarks in the interpreter: σ(h) = 1 / (1 + ∞) is right
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")


@pytest.fixture(autouse=True)
def _kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_norm, "_has_kernels", lambda x: True)


def norms_of_the_unet() -> list[tuple[int, ...]]:
    """(channels, side) of whatever the note's U-Net normalizes in an image of 32 × 32."""
    with torch.device("meta"):
        found = Measurement(UNet())
        found.network(found.input(3, 32, 32), found.input(256))
    modules = found.network.named_modules()
    return sorted(
        {found.shapes[name][:2] for name, module in modules if isinstance(module, GroupNorm)}
    )


def inputs(
    *shape: int, dtype: torch.dtype = torch.float32, context: bool = True, last: bool = True
) -> list[Tensor]:
    """x, γ, β and, if asked for, a context."""
    x = torch.randn(shape).to(dtype)
    if last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    tensors = [x, 1 + 0.3 * torch.randn(shape[1]), torch.randn(shape[1])]
    if context:
        tensors.append(torch.randn(shape[:2]).to(dtype))
    return [tensor.to(DEVICE).requires_grad_() for tensor in tensors]


def definition(
    x: Tensor, weight: Tensor, bias: Tensor, context: Tensor | None = None, groups: int = GROUPS
) -> Tensor:
    if context is not None:
        x = x + context.view(*context.shape, *(1,) * (x.ndim - 2))
    return functional.silu(functional.group_norm(x, groups, weight, bias, 1e-5))


def assert_close(
    ours: Tensor, expected: Tensor, rounding: float, size: Tensor | None = None
) -> None:
    """Equal up to the rounding of the largest number, or of another size."""
    difference = (ours.double() - expected).abs().max()
    assert difference <= rounding * (expected if size is None else size).abs().max()


def compare(tensors: list[Tensor], groups: int = GROUPS, dropout: float = 0.0) -> Tensor:
    """Output and all gradients beside the definition's; what was dropped is seen from zeros."""
    x, weight, bias, *context = tensors
    y = group_norm_swish(
        x, weight, bias, groups, context=context[0] if context else None, dropout=dropout
    )
    gradient = torch.randn_like(y)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = definition(*exact, groups=groups)
    if dropout:
        expected = expected * (y != 0) / (1 - round(dropout * 2**16) / 2**16)
    ours = torch.autograd.grad(y, tensors, gradient)
    theirs = torch.autograd.grad(expected, exact, gradient.double())

    assert y.dtype == x.dtype
    assert y.stride() == x.stride()
    rounding = ROUNDING[x.dtype]
    assert [gradient.dtype for gradient in ours] == [tensor.dtype for tensor in tensors]
    assert_close(y, expected.detach(), rounding)
    for mine, other in zip(ours[:3], theirs[:3], strict=True):
        assert_close(mine, other, rounding)
    if context:  # ∂context = Σ ∂x, where what is summed may cancel
        assert_close(ours[3], theirs[3], rounding, theirs[0].abs().flatten(2).sum(2))
    return y


@pytest.mark.parametrize(("channels", "side"), norms_of_the_unet())
def test_every_norm_of_the_unet(channels: int, side: int):
    compare(inputs(2, channels, side, side, context=channels <= 1024))


def test_the_unet_has_groups_of_2_to_64_channels_some_of_them_no_power_of_two():
    sizes = {channels // GROUPS for channels, _ in norms_of_the_unet()}
    assert sizes >= {2, 4, 6, 8, 12, 16, 32, 40, 64}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("channels", "side"), [(64, 32), (192, 16), (2048, 4)])
def test_low_precision_is_rounded_only_in_what_is_given_and_returned(channels, side, dtype):
    compare(inputs(2, channels, side, side, dtype=dtype))


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((2, 64, 40, 40), 32),  # pixels in several tiles, the last of which is not full
        ((2, 6, 5, 7), 3),
        ((3, 40, 9), 8),
        ((2, 12, 3, 4, 5), 4),
        ((2, 40, 1, 1), 5),
        ((2, 1, 6, 6), 1),
        ((2, 33, 4, 4), 33),
        ((2, 300, 9, 9), 1),
        ((2, 96, 3, 3), 6),
    ],
)
@pytest.mark.parametrize("last", [True, False], ids=["channels last", "contiguous"])
def test_other_sizes(shape, groups, last):
    compare(inputs(*shape, last=last), groups)


def test_no_samples():
    tensors = inputs(0, 64, 4, 4)
    y = group_norm_swish(*tensors[:3], GROUPS, context=tensors[3])
    gradients = torch.autograd.grad(y.sum(), tensors)
    assert y.shape == (0, 64, 4, 4)
    assert [gradient.shape for gradient in gradients] == [tensor.shape for tensor in tensors]


def test_numbers_far_outside_the_range_of_the_exponential():
    x, weight, bias = inputs(2, 64, 8, 8, context=False)
    y = group_norm_swish(x, 200 * weight, bias, GROUPS)
    assert_close(y, definition(x.double(), 200 * weight.double(), bias.double()), 2e-6)
    gradients = torch.autograd.grad(y.sum(), (x, weight, bias))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("side", [8, 40])
def test_small_deviations_from_a_large_mean_are_not_lost(side: int):
    x, weight, bias = inputs(2, 64, side, side, context=False)
    x = (x + 1000).detach().requires_grad_()
    y = group_norm_swish(x, weight, bias, GROUPS)
    exact = [tensor.detach().double() for tensor in (x, weight, bias)]
    assert_close(y, definition(*exact), 2e-4)  # the mean alone is rounded by 6e-5


def test_a_gradient_in_another_layout_and_a_strided_input_are_understood():
    x, weight, bias = inputs(2, 64, 4, 4, context=False)
    wide = torch.randn(2, 128, 4, 8, device=DEVICE)
    strided = wide[:, ::2, :, ::2].detach().requires_grad_()
    for each in (x, strided):
        gradient = torch.randn(2, 64, 4, 4, device=DEVICE).transpose(2, 3)
        y = group_norm_swish(each, weight, bias, GROUPS)
        exact = each.detach().double().requires_grad_()
        expected = definition(exact, weight.double(), bias.double())
        assert_close(y, expected.detach(), 2e-6)
        (ours,) = torch.autograd.grad(y, each, gradient)
        (theirs,) = torch.autograd.grad(expected, exact, gradient.double())
        assert_close(ours, theirs, 2e-6)


# Dropout


@pytest.mark.parametrize("shape", [(2, 64, 32, 32), (2, 192, 16, 16), (2, 64, 40, 40)])
def test_backward_has_the_mask_of_forward(shape):
    compare(inputs(*shape), dropout=0.3)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_as_many_are_dropped_as_should_be_in_every_example_channel_and_pixel(probability):
    x, weight, bias = inputs(32, 64, 8, 8, context=False)
    y = group_norm_swish(x, weight, bias, GROUPS, dropout=probability)
    dropped = (y == 0).double()
    for kept_axes in ((), (0,), (1,), (2, 3)):
        others = [axis for axis in range(4) if axis not in kept_axes]
        share = dropped.mean(others)
        deviation = math.sqrt(probability * (1 - probability) * share.numel() / y.numel())
        assert (share - probability).abs().max() < 5 * deviation
    # neighbours do not know of each other
    for axis in range(4):
        a = dropped.narrow(axis, 0, y.shape[axis] - 1).flatten()
        b = dropped.narrow(axis, 1, y.shape[axis] - 1).flatten()
        assert torch.corrcoef(torch.stack([a, b]))[0, 1].abs() < 5 / math.sqrt(len(a))


def test_masks_come_from_torchs_generator():
    x, weight, bias = inputs(2, 64, 8, 8, context=False)
    masks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks += [group_norm_swish(x, weight, bias, GROUPS, dropout=0.5) != 0 for _ in range(2)]
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])
    for different in ((0, 1), (0, 4), (1, 5)):
        agreement = (masks[different[0]] == masks[different[1]]).double().mean()
        assert abs(agreement - 0.5) < 0.05


def test_all_is_dropped_where_the_probability_is_one():
    x, weight, bias = inputs(2, 64, 4, 4, context=False)
    y = group_norm_swish(x, weight, bias, GROUPS, dropout=1.0)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert not y.any()
    assert not gradient.any()


# As an operator


@pytest.mark.parametrize("with_context", [True, False])
def test_torch_finds_the_operator_in_order(with_context):
    x, weight, bias, context = inputs(2, 64, 4, 4)
    seed = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    torch.library.opcheck(
        triton_norm.group_norm_swish,
        (x, context if with_context else None, weight, bias, seed, GROUPS, 1e-5, 0.1),
    )


def test_a_compiler_sees_one_operator():
    x, weight, bias, context = inputs(2, 64, 4, 4)
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> nn.Module:
        calls = [node for node in graph.graph.nodes if node.op == "call_function"]
        seen.extend(str(node.target) for node in calls)
        return graph

    compiled = torch.compile(group_norm_swish, backend=backend, fullgraph=True)
    y = compiled(x, weight, bias, GROUPS, context=context)
    assert [name for name in seen if "getitem" not in name] == ["visarch.group_norm_swish.default"]
    assert torch.equal(y, group_norm_swish(x, weight, bias, GROUPS, context=context))
