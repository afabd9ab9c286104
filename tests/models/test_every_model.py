"""What holds for every model in every form."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .variants import KINDS, VARIANTS, Variant
from .weights import randomize

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
every_kind = pytest.mark.parametrize("variant", KINDS.values(), ids=KINDS)


def outputs(model: nn.Module, inputs: tuple[Tensor | None, ...]) -> list[Tensor]:
    """All tensors that a model returns."""
    return pytree.tree_leaves(model(*inputs))


def cast(inputs: tuple[Tensor | None, ...], dtype: torch.dtype) -> tuple[Tensor | None, ...]:
    """The same, all numbers but labels in another precision."""
    return pytree.tree_map_only(
        Tensor, lambda x: x.to(dtype) if x.is_floating_point() else x, inputs
    )


def ready(variant: Variant) -> nn.Module:
    """In eval mode, with weights that hide nothing."""
    return randomize(variant.make())


@every_variant
def test_a_gradient_reaches_every_parameter(variant: Variant):
    model = variant.make()
    results = outputs(model, variant.inputs(4))
    torch.stack([(y * torch.randn_like(y)).sum() for y in results]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_variant
def test_on_the_meta_device_a_model_has_the_same_weights_and_no_memory(variant: Variant):
    with torch.device("meta"):
        weights = variant.make().state_dict()
    assert {tensor.device.type for tensor in weights.values()} == {"meta"}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    assert shapes == {name: t.shape for name, t in variant.make().state_dict().items()}


@every_variant
@torch.no_grad()
def test_eval_mode_is_deterministic(variant: Variant):
    model, inputs = ready(variant), variant.inputs(2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = outputs(model, inputs)
    assert all(torch.equal(*pair) for pair in zip(first, outputs(model, inputs), strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@every_variant
@torch.no_grad()
def test_in_eval_mode_examples_do_not_see_each_other(variant: Variant):
    model, inputs = ready(variant).double(), cast(variant.inputs(3), torch.float64)
    alone = pytree.tree_map_only(Tensor, lambda x: x[1:2], inputs)
    for together, single in zip(outputs(model, inputs), outputs(model, alone), strict=True):
        torch.testing.assert_close(together[1:2], single, rtol=0, atol=1e-10)


@every_kind
@torch.no_grad()
def test_copies_and_pickles_are_the_same_model(variant: Variant):
    model, inputs = ready(variant), variant.inputs(2)
    expected = outputs(model, inputs)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.config == model.config
        assert not other.training
        assert all(
            torch.equal(*pair) for pair in zip(outputs(other, inputs), expected, strict=True)
        )
        parameters = zip(model.parameters(), other.parameters(), strict=True)
        assert all(ours is not theirs for ours, theirs in parameters)


@pytest.mark.parametrize(
    ("name", "memory_format"),
    [
        ("resnet-bottleneck-small-stem", torch.channels_last),
        ("unet-prenorm", torch.channels_last),
        ("vae-full-predicted-bottleneck-patch4", torch.channels_last),
        ("resnet-3d", torch.channels_last_3d),
        ("unet-3d", torch.channels_last_3d),
        ("vae-3d", torch.channels_last_3d),
    ],
)
@torch.no_grad()
def test_the_memory_format_changes_nothing(name: str, memory_format: torch.memory_format):
    model, (x, *rest) = ready(VARIANTS[name]), VARIANTS[name].inputs(2)
    expected = outputs(model, (x, *rest))
    actual = outputs(
        model.to(memory_format=memory_format), (x.to(memory_format=memory_format), *rest)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def assert_near(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Within a part of each output's scale, for what is less precise than an output's own."""
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours.float() - theirs).abs().max() <= tolerance * theirs.abs().max()


@every_kind
@torch.no_grad()
def test_bfloat16_under_autocast_comes_close(variant: Variant):
    model, inputs = ready(variant), variant.inputs(2)
    expected = outputs(model, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = outputs(model, inputs)
    assert_near(actual, expected, 0.05)


@every_kind
@torch.no_grad()
def test_a_model_in_bfloat16_comes_close(variant: Variant):
    model, inputs = ready(variant), variant.inputs(2)
    expected = outputs(model, inputs)
    actual = outputs(model.bfloat16(), cast(inputs, torch.bfloat16))
    assert all(y.dtype == torch.bfloat16 for y in actual)
    assert_near(actual, expected, 0.1)


@every_kind
def test_exported_it_computes_the_same_for_any_batch(variant: Variant):
    model, inputs = ready(variant), variant.inputs(3)
    batch = torch.export.Dim("batch", min=1, max=64)
    dynamic = tuple(None if x is None else {0: batch} for x in inputs)
    exported = torch.export.export(model, inputs, dynamic_shapes=dynamic)
    for size in (1, 5):
        inputs = variant.inputs(size)
        with torch.no_grad():
            actual, expected = exported.module()(*inputs), model(*inputs)
        torch.testing.assert_close(
            pytree.tree_leaves(actual), pytree.tree_leaves(expected), rtol=1e-4, atol=1e-5
        )
