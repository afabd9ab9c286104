"""pythae's VAE has our networks, and the objective that ours has for σ = 1."""

import pytest
import torch

from visarch.bench.peers import pythae
from visarch.models.config import VAEConfig
from visarch.models.vae import GaussianVAE


def test_pythaes_vae_has_our_networks_and_our_objective():
    pytest.importorskip("pythae")
    config = VAEConfig(
        image_shape=(1, 8, 8),
        latent_dim=4,
        channels=8,
        depth=1,
        sigma="constant",
        initial_sigma=1.0,
    )
    ours = GaussianVAE(config).eval()
    theirs, x = pythae.vae(ours), torch.rand(3, 1, 8, 8)
    posterior, encoded = ours.encode(x), theirs.encoder(x)
    torch.testing.assert_close(encoded.embedding, posterior.mean)
    torch.testing.assert_close(encoded.log_covariance, 2 * posterior.scale.log())
    z = torch.randn(3, 4)
    torch.testing.assert_close(theirs.decoder(z).reconstruction, ours.decode(z)[0])

    torch.manual_seed(1)
    loss = theirs({"data": x})
    torch.manual_seed(1)
    reconstruction, _ = ours.decode(posterior.sample(torch.randn_like(posterior.mean)))
    half_error = 0.5 * (x - reconstruction).square().flatten(1).sum(1)
    torch.testing.assert_close(loss.loss, (half_error + posterior.kl()).mean())
