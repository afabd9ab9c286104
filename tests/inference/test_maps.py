"""Each step's feature maps are what the network itself computes there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from visarch import Denoiser, GaussianVAE, ResNet, ResNetConfig, VAEConfig
from visarch.describe.networks import describe
from visarch.inference.maps import denoiser_maps, resnet_maps, vae_maps
from visarch.inference.vae import decode

from .denoisers import RECIPE, SHAPE, denoiser, recipe


def shapes(maps: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in maps.items()}


def described(model: torch.nn.Module, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {step.name: step.shape for step in describe(model, size).steps}


def test_a_resnet_gives_all_its_steps():
    torch.manual_seed(0)
    model = ResNet(ResNetConfig(3, 4, block="residual", depths=(1, 2), widths=(4, 6))).eval()
    x = torch.rand(3, 9, 11)
    maps = resnet_maps(model, x)
    assert shapes(maps) == {"x": (3, 9, 11), **described(model, (9, 11))}
    torch.testing.assert_close(maps["classes"], model(x[None])[0].detach())


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize(
    ("covariance", "sigma"), [("diagonal", "predicted"), ("full", "learned"), ("full", "constant")]
)
def test_a_vae_gives_all_its_steps(patch: int, covariance: Any, sigma: Any):
    torch.manual_seed(0)
    config = VAEConfig(
        image_shape=(2, 7, 6),
        latent_dim=3,
        channels=4,
        depth=1,
        patch_size=patch,
        covariance=covariance,
        sigma=sigma,
    )
    model = GaussianVAE(config).eval()
    x = torch.rand(2, 7, 6)
    maps = vae_maps(model, x)
    expected = {"x": (2, 7, 6), **described(model, (7, 6))}
    assert shapes(maps) == expected
    assert list(maps) == list(expected)
    posterior = model.encode(x[None])
    torch.testing.assert_close(maps["z"], posterior.mean[0].detach())
    torch.testing.assert_close(maps["encoder.f_var"], posterior.scale[0].detach())
    torch.testing.assert_close(maps["decoder.f_mean"], decode(model, maps["z"][None])[0])
    h, z = model.encoder.h, maps["z"][None]
    torch.testing.assert_close(maps["encoder.h"], h(maps["encoder.f_in"][None])[0].detach())
    sigmas = model.decode(z)[1].flatten().detach()
    torch.testing.assert_close(maps["decoder.f_var"], sigmas)


def test_a_denoiser_gives_all_its_steps():
    model = denoiser()
    x = torch.rand(SHAPE)
    maps = denoiser_maps(model, RECIPE, x, 0.5)
    expected = described(model, SHAPE[1:])
    assert set(maps) - {"x"} == set(expected) - {"u"}
    assert outcome(model, maps["x"], -1).allclose(maps["y"])


def test_what_was_never_told_no_class_is_told_one():
    model, x = denoiser(), torch.rand(SHAPE)
    maps = denoiser_maps(model, recipe(label_dropout=0.0), x, 0.5)
    assert outcome(model, maps["x"], 0).allclose(maps["y"])
    assert not outcome(model, maps["x"], -1).allclose(maps["y"])


def outcome(model: Denoiser, noisy: torch.Tensor, label: int) -> torch.Tensor:
    with torch.no_grad():
        return model(noisy[None], torch.tensor([0.5]), torch.tensor([label]))[0]


def test_more_noise_hides_the_image():
    x = torch.rand(SHAPE)
    apart = [
        (denoiser_maps(denoiser(), RECIPE, x, t)["x"] - (2 * x - 1)).square().mean()
        for t in (0.02, 0.5, 1.0)
    ]
    assert apart == sorted(apart)


def test_nothing_stays_on_the_model():
    model = denoiser()
    denoiser_maps(model, RECIPE, torch.rand(SHAPE), 0.5)
    assert not any(module._forward_hooks for module in model.modules())
