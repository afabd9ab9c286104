"""Each step's feature maps are what the network itself computes there."""

from __future__ import annotations

import pytest
import torch

from visarch import GaussianVAE, ResNet, ResNetConfig, VAEConfig
from visarch.describe.networks import describe
from visarch.inference.maps import denoiser_maps, resnet_maps, vae_maps
from visarch.inference.vae import decode

from .denoisers import RECIPE, SHAPE, denoiser


def shapes(maps: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in maps.items()}


def described(model: torch.nn.Module, size: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {step.name: step.shape for step in describe(model, size).steps}


def test_a_resnet_gives_all_its_steps():
    torch.manual_seed(0)
    model = ResNet(ResNetConfig(3, 4, block="residual", depths=(1, 2), widths=(4, 6))).eval()
    x = torch.rand(3, 9, 11)
    maps = resnet_maps(model, x)
    assert shapes(maps) == described(model, (9, 11))
    torch.testing.assert_close(maps["classes"], model(x[None])[0].detach())


@pytest.mark.parametrize("patch", [1, 2])
def test_a_vae_gives_all_its_steps_but_the_scales(patch: int):
    torch.manual_seed(0)
    config = VAEConfig(image_shape=(2, 7, 6), latent_dim=3, channels=4, depth=1, patch_size=patch)
    model = GaussianVAE(config).eval()
    x = torch.rand(2, 7, 6)
    maps = vae_maps(model, x)
    expected = described(model, (7, 6))
    assert shapes(maps) == {n: s for n, s in expected.items() if not n.endswith("f_var")}
    assert list(maps) == [name for name in expected if name in maps]
    torch.testing.assert_close(maps["z"], model.encode(x[None]).mean[0].detach())
    torch.testing.assert_close(maps["decoder.f_mean"], decode(model, maps["z"][None])[0])


def test_a_denoiser_gives_all_its_steps():
    model = denoiser()
    x = torch.rand(SHAPE)
    maps = denoiser_maps(model, RECIPE, x, 0.5)
    expected = described(model, SHAPE[1:])
    assert set(maps) - {"x_t"} == set(expected) - {"u"}
    noisy = maps["x_t"][None]
    with torch.no_grad():
        y = model(noisy, torch.tensor([0.5]), torch.tensor([-1]))
    torch.testing.assert_close(maps["y"], y[0])


def test_more_noise_hides_the_image():
    x = torch.rand(SHAPE)
    apart = [
        (denoiser_maps(denoiser(), RECIPE, x, t)["x_t"] - (2 * x - 1)).square().mean()
        for t in (0.02, 0.5, 1.0)
    ]
    assert apart == sorted(apart)


def test_nothing_stays_on_the_model():
    model = denoiser()
    denoiser_maps(model, RECIPE, torch.rand(SHAPE), 0.5)
    assert not any(module._forward_hooks for module in model.modules())
