import pytest
import torch
from torch import Tensor
from torch.nn import functional

from visarch.performance.fused_norm import group_norm_swish

LAYOUTS = {"contiguous": False, "channels last": True}
SHAPES = [((3, 12, 6), 4), ((2, 64, 16, 16), 32), ((2, 192, 4, 4), 32), ((2, 12, 3, 4, 5), 3)]


def inputs(
    *shape: int, dtype: torch.dtype = torch.float64, context: bool = True, last: bool = False
) -> list[Tensor]:
    """x, γ, β and, if asked for, a context; γ and β are in fp32 beside low precision."""
    x = torch.randn(shape).to(dtype)
    if last and len(shape) > 3:  # one spatial axis knows no other layout
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    precise = torch.promote_types(dtype, torch.float32)
    tensors = [x, 1 + 0.3 * torch.randn(shape[1], dtype=precise)]
    tensors += [torch.randn(shape[1], dtype=precise)]
    if context:
        tensors.append(torch.randn(shape[:2]).to(dtype))
    return [tensor.requires_grad_() for tensor in tensors]


def ours(tensors: list[Tensor], groups: int, epsilon: float = 1e-5) -> Tensor:
    x, weight, bias, *context = tensors
    return group_norm_swish(
        x, weight, bias, groups, epsilon=epsilon, context=context[0] if context else None
    )


def definition(tensors: list[Tensor], groups: int, epsilon: float = 1e-5) -> Tensor:
    x, weight, bias, *context = tensors
    if context:
        x = x + context[0].view(*context[0].shape, *(1,) * (x.ndim - 2))
    return functional.silu(functional.group_norm(x, groups, weight, bias, epsilon))


@pytest.mark.parametrize("last", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
def test_output_and_gradients_are_those_of_the_definition(shape, groups, context, last):
    tensors = inputs(*shape, context=context, last=last)
    y, expected = ours(tensors, groups, 1e-3), definition(tensors, groups, 1e-3)
    gradient = torch.randn_like(y)
    torch.testing.assert_close(y, expected)
    assert y.stride() == tensors[0].stride()
    for mine, other in zip(
        torch.autograd.grad(y, tensors, gradient),
        torch.autograd.grad(expected, tensors, gradient),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_other_layouts_are_understood():
    x, weight, bias, context = inputs(2, 64, 4, 4)
    wide = torch.randn(2, 128, 4, 8, dtype=torch.float64)
    strided = wide[:, ::2, :, ::2].detach().requires_grad_()
    for each in (x, strided):
        tensors = [each, weight, bias, context]
        gradient = torch.randn(2, 64, 4, 4, dtype=torch.float64).transpose(2, 3)
        y, expected = ours(tensors, 32), definition(tensors, 32)
        torch.testing.assert_close(y, expected)
        for mine, other in zip(
            torch.autograd.grad(y, tensors, gradient),
            torch.autograd.grad(expected, tensors, gradient),
            strict=True,
        ):
            torch.testing.assert_close(mine, other)


def test_gradients_are_those_of_finite_differences():
    tensors = inputs(2, 6, 2, 3)
    assert torch.autograd.gradcheck(lambda *tensors: ours(list(tensors), 3), tensors)


@pytest.mark.parametrize("last", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
def test_low_precision_goes_in_and_out_and_statistics_are_exact(shape, groups, dtype, last):
    """Under autocast, which leaves the format alone: only what is stored is rounded."""
    tensors = inputs(*shape, dtype=dtype, context=False, last=last)
    with torch.autocast("cpu", torch.bfloat16):
        y = ours(tensors, groups)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = definition(exact, groups)
    assert y.dtype == dtype
    rounding = 2 * torch.finfo(dtype).eps  # h is rounded before swish, and y after it
    torch.testing.assert_close(y.double(), expected, rtol=rounding, atol=rounding)

    gradient = torch.randn_like(y)
    found = torch.autograd.grad(y, tensors, gradient)
    assert [tensor.dtype for tensor in found] == [dtype, torch.float32, torch.float32]
    theirs = torch.autograd.grad(expected, exact, gradient.double())
    for mine, other in zip(found, theirs, strict=True):
        torch.testing.assert_close(
            mine.double(), other, rtol=0, atol=2 * rounding * other.abs().max().item()
        )


def test_parameters_in_low_precision_do_not_lower_that_of_statistics():
    x, weight, bias = inputs(2, 64, 8, 8, dtype=torch.bfloat16, context=False)
    low = [tensor.detach().bfloat16().requires_grad_() for tensor in (weight, bias)]
    x = (x.detach() + 4).requires_grad_()  # μ and σ in bf16 would be wrong by 2⁻⁷ of 4
    y = ours([x, *low], 32)
    expected = definition([x.double(), *(tensor.double() for tensor in low)], 32)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), expected, rtol=2**-7, atol=2**-7)
    assert [t.dtype for t in torch.autograd.grad(y.sum(), [x, *low])] == [torch.bfloat16] * 3


@pytest.mark.parametrize("context", [True, False])
def test_only_what_is_normalized_is_kept_for_the_gradient(context):
    tensors = inputs(2, 64, 16, 16, dtype=torch.float32, context=context)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ours(tensors, 32)
    assert sum(kept.values()) <= tensors[0].nbytes + 4 * 4 * (2 * 64 + 2 * 2 * 32)


def test_the_input_stays_what_it_is():
    tensors = inputs(2, 64, 4, 4)
    copies = [tensor.detach().clone() for tensor in tensors]
    ours(tensors, 32).sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_compiler_is_given_what_it_can_look_into(dtype, monkeypatch: pytest.MonkeyPatch):
    tensors = inputs(2, 64, 4, 4, dtype=dtype)
    y = ours(tensors, 32)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    plain = ours(tensors, 32)
    assert "_GroupNormSwish" not in graph_of(plain)
    assert "_GroupNormSwish" in graph_of(y)
    assert plain.dtype == dtype
    torch.testing.assert_close(plain, y)


def graph_of(y: Tensor) -> str:
    """Names of the operations that made it."""
    names, waiting = [], [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.append(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return " ".join(names)


def test_dropout_drops_and_scales():
    x, weight, bias = inputs(4, 64, 16, 16, dtype=torch.float32, context=False)
    whole = group_norm_swish(x, weight, bias, 32)
    y = group_norm_swish(x, weight, bias, 32, dropout=0.25)
    kept = y != 0
    assert abs(kept.float().mean() - 0.75) < 0.01
    torch.testing.assert_close(y[kept], whole[kept] / 0.75)
    (gradient,) = torch.autograd.grad(y.sum(), bias)
    (expected,) = torch.autograd.grad((whole * kept / 0.75).sum(), bias)
    torch.testing.assert_close(gradient, expected)


def test_wrong_sizes_are_refused():
    x, weight, bias, context = inputs(2, 12, 4, 4)
    with pytest.raises(ValueError, match="5 groups do not divide 12 channels"):
        group_norm_swish(x, weight, bias, 5)
    with pytest.raises(ValueError, match=r"weight of shape \(11,\)"):
        group_norm_swish(x, weight[1:], bias, 3)
    with pytest.raises(ValueError, match=r"context of shape \(1, 12\) .* must be \(2, 12\)"):
        group_norm_swish(x, weight, bias, 3, context=context[:1])
