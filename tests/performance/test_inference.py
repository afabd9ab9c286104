"""A fast copy gives what its model gives, within rounding, and nothing else about it changes."""

import copy
import pickle
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from tests.models.variants import KINDS, VARIANTS, Variant
from tests.models.weights import randomize
from visarch import (
    Conv,
    GaussianVAE,
    ResNet,
    ResNetConfig,
    TransConv,
    UNet,
    UNetConfig,
    VAEConfig,
)
from visarch.data.digits import open_digits
from visarch.performance import choices, inference
from visarch.performance.inference import optimize_for_inference
from visarch.training.batchnorm import exact_batchnorm_statistics

every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
every_kind = pytest.mark.parametrize("variant", KINDS.values(), ids=KINDS)

packs = pytest.mark.skipif(
    not inference.can_pack(torch.device("cpu")), reason="PyTorch was built without oneDNN"
)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """‖actual − expected‖ / ‖expected‖."""
    assert actual.shape == expected.shape
    return float((actual.float() - expected).norm() / expected.norm())


def worst_error(network: nn.Module, expected: nn.Module, inputs) -> float:
    with torch.no_grad():
        results = [pytree.tree_leaves(model(*inputs)) for model in (network, expected)]
    return max(relative_error(*pair) for pair in zip(*results, strict=True))


@every_variant
@pytest.mark.parametrize("batch", [1, 3])
def test_in_fp32_it_gives_what_the_model_gives(variant: Variant, batch: int):
    model = randomize(variant.make())
    fast = optimize_for_inference(model, "fp32")
    assert worst_error(fast, model, variant.inputs(batch)) <= 1e-5


@packs
@pytest.mark.parametrize(
    ("latent_dim", "sizes", "expected"),
    [
        (8, {"image_shape": (1, 12, 12), "patch_size": 2, "channels": 4}, ("matrix", 6)),
        (40, {"image_shape": (1, 12, 12), "patch_size": 2, "channels": 4}, ("convolution", 6)),
        (8, {"image_shape": (3, 9, 14), "patch_size": 4, "channels": 4}, ("matrix", 1)),
        (8, {"image_shape": (2, 7, 11), "patch_size": 1, "channels": 4}, ("matrix", 11)),
        (8, {"image_shape": (1, 7, 11), "patch_size": 4, "kernel_size": 2}, ("matrix", 3)),
        (8, {"image_shape": (1, 7, 11), "patch_size": 4, "block": "bottleneck"}, (None, 3)),
        (8, {"image_shape": (1, 7, 11), "patch_size": 4, "depth": 0}, (None, 3)),
    ],
)
@pytest.mark.parametrize("sigma", ["constant", "learned", "predicted"])
def test_a_vae_decodes_in_as_few_products_as_it_can(
    latent_dim: int, sizes: dict, expected: tuple[str | None, int], sigma: str
):
    """conv1 ∘ f_in as one matrix where that is smaller, and f_mean of a whole row at once."""
    model = randomize(GaussianVAE(VAEConfig(latent_dim=latent_dim, sigma=sigma, **sizes)))
    fast = optimize_for_inference(model, "fp32")
    z = torch.randn(5, latent_dim)
    with torch.no_grad():
        for ours, theirs in zip(fast.decode(z), model.decode(z), strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    form, group = expected
    assert (fast.decoder.conv1 is not None) == (form == "matrix")
    assert fast.decoder.group == group
    with pytest.raises(ValueError, match=f"takes .batch, {latent_dim}"):
        fast.decode(z[:, 1:])


def test_making_it_draws_no_random_numbers():
    model, state = GaussianVAE(VAEConfig(latent_dim=4)), torch.get_rng_state()
    optimize_for_inference(model)
    assert torch.equal(torch.get_rng_state(), state)


@every_variant
def test_in_bf16_it_is_as_near_as_autocast(variant: Variant):
    model, inputs = randomize(variant.make()), variant.inputs(3)
    fast = optimize_for_inference(model, "bf16")
    under_autocast = torch.autocast("cpu", torch.bfloat16)(model.forward)
    with torch.no_grad():
        outputs = [pytree.tree_leaves(f(*inputs)) for f in (fast, under_autocast, model)]
    for ours, autocast, exact in zip(*outputs, strict=True):
        assert relative_error(ours, exact) <= 1.5 * relative_error(autocast, exact) + 0.01


@cache
def trained() -> tuple[nn.Module, Tensor]:
    """A classifier after a few seconds of digits, and digits that it has not seen."""
    torch.manual_seed(0)
    splits = open_digits().splits
    images = splits["train"].images.float() / 255
    model = ResNet(ResNetConfig(1, 10, widths=(8, 16, 16), depths=(1, 1, 1), stem="large"))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for step in range(60):
        rows = torch.arange(64) + 64 * step
        loss = functional.cross_entropy(model(images[rows]), splits["train"].labels[rows])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    exact_batchnorm_statistics(model, [lambda: model(images[:1000])])
    return model.eval(), splits["test"].images.float() / 255


@pytest.mark.parametrize(
    ("precision", "error", "same"), [("fp32", 1e-5, 1.0), ("bf16", 0.01, 0.99)]
)
def test_trained_it_tells_the_same_class(precision, error: float, same: float):
    model, digits = trained()
    fast = optimize_for_inference(model, precision)
    with torch.no_grad():
        expected = model(digits)
    actual = fast(digits)
    labels = open_digits().splits["test"].labels
    assert (expected.argmax(1) == labels).float().mean() > 0.8, "it has learnt something"
    assert relative_error(actual, expected) <= error
    assert (actual.argmax(1) == expected.argmax(1)).float().mean() >= same


@pytest.mark.parametrize(
    "shape", [(1, 3, 32, 32), (5, 3, 17, 23), (2, 3, 1, 1), (64, 3, 8, 9), (1, 3, 33, 7)]
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batches_and_images_of_any_size(shape: tuple[int, ...], precision):
    for name in ("resnet-bottleneck-large-stem", "unet-residual"):
        model = randomize(VARIANTS[name].make())
        fast = optimize_for_inference(model, precision)
        inputs = [torch.rand(shape)]
        if isinstance(model, UNet):
            inputs.append(torch.randn(shape[0], model.config.context_dim))
        for _ in range(2):  # packing and using
            limit = 1e-5 if precision == "fp32" else 0.04
            assert worst_error(fast, model, inputs) <= limit, name


@every_kind
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_are_ordinary_tensors_in_float32_without_gradients(variant: Variant, precision):
    fast = optimize_for_inference(variant.make(), precision)
    x, *others = variant.inputs(2)
    for output in pytree.tree_leaves(fast(x.requires_grad_(), *others)):
        assert output.dtype == torch.float32
        assert not output.requires_grad
        output.mul_(2)  # which inference mode's tensors would not allow
        (output * torch.ones_like(output, requires_grad=True)).sum().backward()
    assert not any(parameter.requires_grad for parameter in fast.parameters())


@every_kind
@pytest.mark.parametrize("precision", DTYPES)
def test_what_it_is_given_is_not_written_over(variant: Variant, precision):
    fast = optimize_for_inference(variant.make(), precision)
    images, *others = variant.inputs(2)
    images = images.to(DTYPES[precision])
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    inputs = [images, *others]
    before = [given.clone() for given in inputs]
    first = pytree.tree_leaves(fast(*inputs))
    for given, was in zip(inputs, before, strict=True):
        assert torch.equal(given, was)
    for again, output in zip(pytree.tree_leaves(fast(*inputs)), first, strict=True):
        assert torch.equal(again, output)


@pytest.mark.parametrize("stem", ["small", "large"])
@torch.no_grad()
def test_every_stage_stays_as_it_was_when_the_next_is_computed(stem):
    resnet = ResNet(ResNetConfig(stem=stem, depths=(2, 2), widths=(16, 32))).eval()
    x = torch.randn(2, 3, 32, 32)
    stages = optimize_for_inference(resnet, "fp32").stages(x)
    for name, expected in resnet.stages(x).items():
        assert relative_error(stages[name], expected) < 1e-5


@every_kind
def test_the_model_stays_as_it_is_and_what_becomes_of_it_changes_nothing(variant: Variant):
    model, inputs = variant.make(), variant.inputs(2)
    model.train()
    kinds = [type(module) for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = optimize_for_inference(model)
    first = pytree.tree_leaves(fast(*inputs))
    assert model.training
    assert [type(module) for module in model.modules()] == kinds
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())

    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    assert all(map(torch.equal, pytree.tree_leaves(fast(*inputs)), first))


@packs
def test_in_two_dimensions_no_convolution_is_left_unpacked():
    for name, variant in VARIANTS.items():
        fast = optimize_for_inference(variant.make())
        assert fast.is_packed == (fast.config.ndim == 2), name
        left = [module for module in fast.modules() if isinstance(module, Conv | TransConv)]
        assert bool(left) != fast.is_packed, name


def test_where_nothing_can_be_packed_it_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference, "can_pack", lambda device: False)
    for name in (
        "resnet-bottleneck-large-stem",
        "unet-residual",
        "vae-full-learned-bottleneck-patch1",
    ):
        variant = VARIANTS[name]
        model = randomize(variant.make())
        for precision, limit in (("fp32", 1e-5), ("bf16", 0.03)):
            fast = optimize_for_inference(model, precision)
            assert not fast.is_packed
            assert worst_error(fast, model, variant.inputs(3)) <= limit, (name, precision)


def test_the_methods_of_the_models_are_there():
    model = randomize(VARIANTS["resnet-residual-large-stem"].make())
    fast, (x,) = (
        optimize_for_inference(model, "fp32"),
        VARIANTS["resnet-residual-large-stem"].inputs(2),
    )
    assert isinstance(fast, ResNet)
    with torch.no_grad():
        expected, stages = model.features(x), model.stages(x)
    assert relative_error(fast.features(x), expected) <= 1e-5
    assert fast.stages(x).keys() == stages.keys()
    for name, stage in fast.stages(x).items():
        assert relative_error(stage, stages[name]) <= 1e-5, name

    variant = VARIANTS["vae-full-predicted-bottleneck-patch4"]
    model = randomize(variant.make())
    fast, (x, z) = optimize_for_inference(model, "fp32"), variant.inputs(2)
    with torch.no_grad():
        posterior, (mean, sigma) = model.encode(x), model.decode(z)
    assert relative_error(fast.encode(x).mean, posterior.mean) <= 1e-5
    assert relative_error(fast.encode(x).scale, posterior.scale) <= 1e-5
    assert relative_error(fast.decode(z)[0], mean) <= 1e-5
    assert relative_error(fast.decode(z)[1], sigma) <= 1e-5


def test_precision_is_chosen_by_the_device_unless_given(monkeypatch: pytest.MonkeyPatch):
    model = VARIANTS["resnet-features-only"].make()
    for chosen in ("fp32", "bf16"):
        choice = choices.Choice(chosen, "a test says so")
        monkeypatch.setattr(choices, "precision", lambda *_, choice=choice, **__: choice)
        assert optimize_for_inference(model).precision == chosen
        assert optimize_for_inference(model, "fp32").precision == "fp32"


def test_a_model_in_float64_or_bfloat16_is_taken_too():
    model = randomize(VARIANTS["resnet-features-only"].make())
    x = torch.rand(2, 3, 9, 6)
    expected = optimize_for_inference(model, "fp32")(x)
    assert (
        relative_error(optimize_for_inference(copy.deepcopy(model).double(), "fp32")(x), expected)
        < 1e-5
    )
    assert relative_error(optimize_for_inference(model.bfloat16(), "fp32")(x), expected) < 0.02


@every_kind
def test_copies_and_pickles_are_the_same(variant: Variant):
    fast, inputs = optimize_for_inference(variant.make()), variant.inputs(2)
    expected = pytree.tree_leaves(fast(*inputs))
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert all(map(torch.equal, pytree.tree_leaves(other(*inputs)), expected))


def test_wrong_inputs_are_answered_as_the_models_answer():
    fast = optimize_for_inference(VARIANTS["resnet-features-only"].make())
    with pytest.raises(ValueError, match="3 channels"):
        fast(torch.rand(2, 4, 8, 8))


def test_what_cannot_be_is_refused(tmp_path):
    model = VARIANTS["resnet-features-only"].make()
    with pytest.raises(ValueError, match=r"Linear was given.*ResNet, UNet, Denoiser, GaussianVAE"):
        optimize_for_inference(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"'fp16'.*auto, fp32, bf16 or int8"):
        optimize_for_inference(model, "fp16")  # type: ignore[arg-type]
    fast = model.optimize_for_inference(precision="fp32")
    assert not fast.eval().training
    with pytest.raises(ValueError, match="InferenceResNet was given"):
        fast.optimize_for_inference()
    with pytest.raises(ValueError, match="train the model"):
        fast.train()
    with pytest.raises(ValueError, match="save the model"):
        fast.save_pretrained(tmp_path)


def test_a_wide_unet_shares_no_state_between_calls():
    """Sums are taken in place where they can be: never in what the caller or a shortcut holds."""
    config = UNetConfig(widths=(32, 64), attends=(False, True), attention="residual")
    fast = optimize_for_inference(randomize(UNet(config)))
    x, u = torch.randn(2, 3, 8, 8), torch.randn(2, 256)
    kept = x.clone(), u.clone()
    first, second = fast(x, u), fast(x, u)
    assert torch.equal(first, second)
    assert torch.equal(x, kept[0])
    assert torch.equal(u, kept[1])
