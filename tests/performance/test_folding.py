"""A folded model is the model in eval mode, exactly; what it was made from stays as it is."""

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from tests.models.variants import VARIANTS, Variant
from tests.models.weights import randomize
from visarch import BatchNorm, Conv
from visarch.blocks.convolution import SameConv
from visarch.performance.folding import fold_batch_norms

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@every_variant
@torch.no_grad()
def test_in_float64_a_folded_model_gives_what_the_model_gives(variant: Variant):
    model = randomize(variant.make()).double()
    inputs = pytree.tree_map_only(
        torch.Tensor, lambda x: x.double() if x.is_floating_point() else x, variant.inputs(2)
    )
    folded = fold_batch_norms(model)
    assert not any(isinstance(module, BatchNorm) for module in folded.modules())
    for ours, theirs in zip(
        pytree.tree_leaves(folded(*inputs)), pytree.tree_leaves(model(*inputs)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_convolutions_with_and_without_bias_and_padding(kernel_size: int, bias: bool):
    pair = nn.Sequential(SameConv(3, 5, kernel_size, stride=2, bias=bias), BatchNorm(5))
    pair = randomize(pair).double()
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    folded = fold_batch_norms(pair)
    torch.testing.assert_close(folded(x), pair(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(folded[0](x), pair(x), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_it_is_computed_in_float64_and_rounded_once():
    pair = randomize(nn.Sequential(Conv(3, 4, 3), BatchNorm(4)))
    exact = fold_batch_norms(pair.double())[0]
    assert not torch.equal(exact.weight, exact.weight.float().double())
    rounded = fold_batch_norms(pair.float())[0]
    assert torch.equal(rounded.weight, exact.weight.float())
    assert torch.equal(rounded.bias, exact.bias.float())


def test_the_model_stays_as_it_is():
    model = VARIANTS["resnet-bottleneck-small-stem"].make().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modules = dict(model.named_modules())
    folded = fold_batch_norms(model)
    assert model.training
    assert not folded.training
    assert dict(model.named_modules()) == modules
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_other_tensors_are_shared_and_not_copied():
    model = VARIANTS["unet-literal"].make()
    folded = fold_batch_norms(model)
    assert folded is not model
    for ours, theirs in zip(folded.parameters(), model.parameters(), strict=True):
        assert ours is theirs


def test_a_batch_norm_after_something_else_stays():
    other = nn.Sequential(Conv(3, 4, 1), nn.ReLU(), BatchNorm(4))
    assert isinstance(fold_batch_norms(other)[2], BatchNorm)
