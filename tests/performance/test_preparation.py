"""A prepared model computes what the model does, fast, and stays the model that it is."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import visarch
from tests.models.variants import VARIANTS
from tests.models.weights import randomize
from visarch import Conv, Denoiser, GaussianVAE, ResNet, ResNetConfig, UNet, UNetConfig
from visarch.models.vae import GaussianPosterior
from visarch.performance.inference import Inference
from visarch.performance.preparation import prepare, quicken
from visarch.performance.small_maps import FastConv

MODELS = sorted(VARIANTS)
WIDE = UNetConfig(widths=(32, 128), num_blocks=1, attends=(False, True), context_dim=32)
"""A U-Net whose lower level has small maps of many channels."""


def numbers(outputs: object) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, GaussianPosterior):
        return [outputs.mean, outputs.scale]
    assert isinstance(outputs, tuple)
    return [tensor for part in outputs for tensor in numbers(part)]


def inputs_of(model: nn.Module) -> tuple[Tensor, ...]:
    torch.manual_seed(3)
    if isinstance(model, GaussianVAE):
        return torch.rand(3, *model.config.image_shape), torch.randn(3, model.config.latent_dim)
    config = model.unet.config if isinstance(model, Denoiser) else model.config
    x = torch.rand(3, config.in_channels, *(8,) * config.ndim)
    if isinstance(model, UNet):
        return x, torch.randn(3, config.context_dim)
    if isinstance(model, Denoiser):
        vector_dim = model.context.vector_dim
        given = (None, torch.randn(3, vector_dim)) if vector_dim else ()
        return (x, torch.rand(3), *given)  # type: ignore[return-value]
    return (x,)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("name", MODELS)
def test_in_fp32_it_gives_the_same(name: str):
    model = randomize(VARIANTS[name].make()).eval()
    fast = prepare(copy.deepcopy(model), precision="fp32")
    inputs = inputs_of(model)
    with torch.no_grad():
        for a, b in zip(numbers(fast(*inputs)), numbers(model(*inputs)), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", MODELS)
def test_in_bf16_it_gives_nearly_the_same_in_float32(name: str):
    model = randomize(VARIANTS[name].make()).eval()
    fast = prepare(copy.deepcopy(model), precision="bf16")
    inputs = inputs_of(model)
    with torch.no_grad():
        for a, b in zip(numbers(fast(*inputs)), numbers(model(*inputs)), strict=True):
            assert a.dtype == torch.float32
            assert relative_error(a, b) <= 0.05


def test_gradients_are_nearly_the_same():
    model = randomize(UNet(WIDE)).eval()  # dropout draws other numbers
    fast = prepare(copy.deepcopy(model), precision="bf16")
    inputs = inputs_of(model)
    for each in (model, fast):
        each(*inputs).square().mean().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in fast.parameters())
    expected, actual = (
        torch.cat([p.grad.flatten() for p in each.parameters() if p.grad is not None])
        for each in (model, fast)
    )
    assert relative_error(actual, expected) <= 0.02


def test_its_other_methods_are_fast_as_well():
    vae = randomize(VARIANTS["vae"].make() if "vae" in VARIANTS else GaussianVAE()).eval()
    fast = prepare(copy.deepcopy(vae), precision="bf16")
    x, _ = inputs_of(vae)
    seen: list[torch.dtype] = []
    conv = next(module for module in fast.modules() if isinstance(module, Conv))
    conv.register_forward_hook(lambda module, inputs, y: seen.append(y.dtype))
    posterior = fast.encode(x)
    mean, sigma = fast.decode(posterior.mean)
    assert seen == [torch.bfloat16]
    assert {mean.dtype, sigma.dtype, posterior.mean.dtype} == {torch.float32}
    resnet = prepare(ResNet(ResNetConfig(depths=(1, 1), widths=(8, 8))), precision="bf16")
    y = resnet.features(torch.rand(2, 3, 8, 8))
    assert y.dtype == torch.float32


def test_it_stays_the_model_that_it_is(tmp_path: Path):
    model = UNet(WIDE)
    before = {name: id(tensor) for name, tensor in model.named_parameters()}
    fast = prepare(model)
    assert fast is model
    assert type(fast) is UNet
    assert {name: id(tensor) for name, tensor in fast.named_parameters()} == before
    assert any(isinstance(module, FastConv) for module in fast.modules())
    fast.save_pretrained(tmp_path)
    loaded = visarch.load(tmp_path)
    for a, b in zip(fast.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_computes_with_its_own_weights(copied):
    fast = prepare(ResNet(ResNetConfig(depths=(1, 1), widths=(8, 8), num_classes=3)).eval())
    x = torch.rand(2, 3, 8, 8)
    other = copied(fast)
    assert torch.equal(other(x), fast(x))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(other(x), torch.zeros(2, 3))
    assert not torch.equal(fast(x), torch.zeros(2, 3))


def test_a_vae_is_exact_on_a_cpu():
    vae = prepare(GaussianVAE())
    x = torch.rand(2, *vae.config.image_shape)
    plain = copy.deepcopy(vae)
    with torch.no_grad():
        mean = GaussianVAE.encode(plain, x).mean
        assert torch.equal(vae.encode(x).mean, mean)


def test_for_inference_it_is_the_fast_copy():
    model = ResNet(ResNetConfig(depths=(1, 1), widths=(8, 8)))
    fast = visarch.prepare(model, training=False)
    assert isinstance(fast, Inference)
    assert fast is not model


def test_a_prepared_model_can_be_had_in_fp32_again():
    model = ResNet(ResNetConfig(depths=(1, 1), widths=(8, 8), num_classes=3)).eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected = model(x)
    fast = prepare(model, precision="bf16").optimize_for_inference(precision="fp32")
    torch.testing.assert_close(fast(x), expected)


@pytest.mark.parametrize(
    ("model", "options", "told"),
    [(nn.Linear(2, 2), {}, "Linear"), (UNet(WIDE), {"precision": "fp16"}, "'fp16'")],
)
def test_what_cannot_be_is_told(model, options, told):
    with pytest.raises(ValueError, match=told):
        prepare(model, **options)


def test_on_another_device_layers_stay_what_they_are():
    model = UNet(WIDE).to("meta")
    kinds = [type(module) for module in model.modules()]
    quicken(model)
    assert [type(module) for module in model.modules()] == kinds
