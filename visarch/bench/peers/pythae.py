"""pythae's VAE around copies of our encoder and decoder."""

import copy
from typing import Any

from visarch.models.vae import GaussianVAE


def vae(ours: GaussianVAE) -> Any:
    """pythae's VAE with our networks; as it takes the decoder's σ to be 1, ours has to be.

    Its ``forward`` takes ``{"data": images}`` and returns the loss, and ``get_nll`` estimates the
    log-likelihood.
    """
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(ours.encoder)

        def forward(self, x: Any) -> Any:
            posterior = self.network(x)
            log_variance = 2 * posterior.scale.log()
            return ModelOutput(embedding=posterior.mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(ours.decoder)

        def forward(self, z: Any) -> Any:
            return ModelOutput(reconstruction=self.network(z)[0])

    config = VAEConfig(input_dim=tuple(ours.config.image_shape), latent_dim=ours.config.latent_dim)
    return VAE(config, encoder=Encoder(), decoder=Decoder()).eval()
