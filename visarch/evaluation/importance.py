"""The importance-weighted bound on the likelihood of images, from many samples of their latents.

    log (1/K) Σ_k w_k,   log w_k = log p(x | z_k) + log p(z_k) − log q(z_k | x),   z_k ~ q(z | x)

Nearly all its time goes into decoding. What decodes faster and less exactly gives weights v_k in
place of w_k; with k drawn in proportion to v_k,

    Σ_k w_k = Σ_k v_k · E[w_k / v_k],

so a few exact weights mend the sum, of whatever kind the errors are: where one sample outweighs all
others it alone is decoded again, and where many count, their ratios average out.
"""

from collections.abc import Callable
from math import log, pi
from typing import Protocol

import torch
from torch import Tensor

from visarch.objectives.elbo import gaussian_log_likelihood, importance_weighted_bound

_DECODED_AGAIN = 4
"""Samples of each image, at most."""


class Posterior(Protocol):
    """What is asked of q(z | x)."""

    @property
    def mean(self) -> Tensor: ...
    def sample(self, noise: Tensor | None = None) -> Tensor: ...
    def log_prob(self, z: Tensor) -> Tensor: ...
    def kl(self) -> Tensor: ...
    def kl_per_dimension(self) -> Tensor: ...


Decode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Latents (n, Z) to g (n, C, *spatial) and σ (n, 1, …)."""

Draw = Callable[[int], Tensor]
"""The number of a draw to standard normal noise (b, Z), always the same for the same number."""


def importance_bound(
    x: Tensor,
    posterior: Posterior,
    decode: Decode,
    draw: Draw,
    count: int,
    *,
    decode_many: Decode | None = None,
    at_once: int = 256,
) -> Tensor:
    """The importance-weighted bound of each image from ``count`` samples, of which none is kept.

    Shapes: x (b, C, *spatial) → (b,).

    Args:
        x: images.
        posterior: q(z | x) of each.
        decode: latents to (mean, σ).
        draw: noise of the samples, numbered from 1.
        count: K.
        decode_many: the same as ``decode``, faster and less exact.
        at_once: how many latents are decoded in one call, or those of one sample of each image.

    Source: Burda et al. 2016, equation 8; importance resampling as in Rubin 1987.
    """
    step = max(1, at_once // len(x))
    fast = torch.cat(
        [
            _log_weights(x, posterior, decode_many or decode, _noise(draw, numbers))
            for numbers in torch.arange(1, count + 1).split(step)
        ]
    )
    bound = importance_weighted_bound(fast)
    if decode_many is None:
        return bound
    offset = torch.special.ndtr(draw(count + 1)[:, :1])  # one uniform number for each image
    chosen = _in_proportion(fast.softmax(0).T, offset).T  # (M, b)
    noise = torch.empty(*chosen.shape, posterior.mean.shape[1]).to(posterior.mean)
    for number in chosen.unique().tolist():
        places = chosen == number
        noise[places] = draw(number + 1).expand_as(noise)[places]
    exact = _log_weights(x, posterior, _once(decode, chosen), noise)
    return bound + importance_weighted_bound(exact - fast.gather(0, chosen))


def _log_weights(x: Tensor, posterior: Posterior, decode: Decode, noise: Tensor) -> Tensor:
    """log w of the samples z = μ + Σ^½ ε with this noise, (k, b, Z) → (k, b).

    There log q(z | x) = log q(μ | x) − ½ ‖ε‖², so no system is solved to find ε again.
    """
    z = posterior.sample(noise)
    mean, sigma = (each.unflatten(0, z.shape[:2]) for each in decode(z.flatten(0, 1)))
    likelihood = gaussian_log_likelihood(x, mean, sigma, x.ndim - 1)
    at_mean = posterior.log_prob(posterior.mean) + 0.5 * z.shape[2] * log(2 * pi)
    return likelihood + 0.5 * (noise.square().sum(2) - z.square().sum(2)) - at_mean


def _noise(draw: Draw, numbers: Tensor) -> Tensor:
    return torch.stack([draw(number) for number in numbers.tolist()])


def _in_proportion(shares: Tensor, offset: Tensor) -> Tensor:
    """Numbers of M samples for each image, drawn in proportion to the shares of all K of them.

    The places (m + u)/M on a line where each sample has its share: systematic resampling.

    Shapes: shares (b, K), u (b, 1) → (b, M).

    Source: Kitagawa 1996.
    """
    order = torch.arange(_DECODED_AGAIN, device=shares.device)
    places = (order + offset) / _DECODED_AGAIN
    return torch.searchsorted(shares.cumsum(1), places).clamp(max=shares.shape[1] - 1)


def _once(decode: Decode, chosen: Tensor) -> Decode:
    """Decodes a sample once that was chosen several times for its image; (M, b) says which."""
    image = torch.arange(chosen.shape[1], device=chosen.device)
    _, place = (chosen * len(image) + image).flatten().unique(return_inverse=True)

    def decode_once(z: Tensor) -> tuple[Tensor, Tensor]:
        different = z.new_empty(int(place.max()) + 1, z.shape[1])
        different[place] = z
        mean, sigma = decode(different)
        return mean[place], sigma[place]

    return decode_once
