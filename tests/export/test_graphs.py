"""Graphs of models that no short training makes: beside the model, on raw images."""

from __future__ import annotations

import torch

from visarch import GaussianVAE, ResNet, ResNetConfig, VAEConfig
from visarch.data import Preparation, to_unit
from visarch.export.graphs import classifier, decoder, encoder


def test_features_of_continuous_images(run_of, written):
    config = ResNetConfig(1, block="residual", depths=(1,), widths=(4,))
    preparation = Preparation((1, 6, 5), None, floats=(-3.0, 5.0))
    run = run_of(ResNet(config), preparation)
    answer = written(classifier(run), "torch")
    for shape in ((3, 1, 13, 9), (1, 1, 6, 5)):
        images = 8 * torch.rand(shape) - 3
        (features,) = answer(images=images)
        prepared = torch.stack([preparation.apply(image.numpy()) for image in images])
        torch.testing.assert_close(features, run.model.features(prepared).detach())


def test_a_vae_of_deep_images_with_full_covariance(run_of, written):
    config = VAEConfig(image_shape=(1, 6, 5), latent_dim=3, channels=4, depth=1, covariance="full")
    run = run_of(GaussianVAE(config), Preparation((1, 6, 5), 1024, (-0.5, 1023.5)))
    images = torch.randint(1024, (1, 1, 6, 5), dtype=torch.int32)
    mean, scale = written(encoder(run), "torch")(images=images)
    posterior = run.model.encode(to_unit(images, 1024))
    torch.testing.assert_close(mean, posterior.mean.detach())
    torch.testing.assert_close(scale, posterior.scale.detach())

    z = torch.randn(4, 3)
    drawn, mean, sigma = written(decoder(run), "torch")(latents=z)
    expected = run.model.decode(z)
    torch.testing.assert_close(mean, expected[0].detach())
    torch.testing.assert_close(sigma, expected[1].detach())
    levels = (1024 * mean).floor().clamp(0, 1023)
    assert drawn.dtype == torch.int32
    assert torch.equal(drawn, levels.int())
