"""The importance-weighted bound: its formula, and that a decoder's errors do not bias it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions

from visarch.evaluation.importance import importance_bound
from visarch.models.vae import GaussianPosterior
from visarch.objectives.elbo import gaussian_log_likelihood

IMAGES, DIMS, LATENTS = 9, 6, 3
generator = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(DIMS, LATENTS, dtype=torch.float64, generator=generator)
X = torch.randn(IMAGES, 1, DIMS, dtype=torch.float64, generator=generator)
MEAN = 0.3 * torch.randn(IMAGES, LATENTS, dtype=torch.float64, generator=generator)
SPREAD = torch.rand(IMAGES, LATENTS, dtype=torch.float64, generator=generator) + 0.2
FACTOR = 0.2 * torch.randn(IMAGES, LATENTS, LATENTS, dtype=torch.float64, generator=generator)
POSTERIORS = {
    "diagonal": GaussianPosterior(MEAN, SPREAD),
    "full": GaussianPosterior(MEAN, FACTOR.tril(-1) + torch.diag_embed(SPREAD)),
}
every_posterior = pytest.mark.parametrize("kind", POSTERIORS)


class Decoder:
    """g = W z and one σ, and how many latents it was given at once."""

    def __init__(self, sigma: float = 0.7, error: float = 0.0) -> None:
        self.sigma, self.error = sigma, error
        self.sizes: list[int] = []

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(z))
        wrong = self.error * (100 * z.sum(1, keepdim=True)).sin()  # unrelated to what it is of
        mean = z @ WEIGHT.T + wrong + self.error
        return mean.unsqueeze(1), mean.new_full((len(z), 1, 1), self.sigma)


def draw(number: int) -> Tensor:
    own = torch.Generator().manual_seed(number)
    return torch.randn(IMAGES, LATENTS, dtype=torch.float64, generator=own)


def log_weights(q: GaussianPosterior, decode: Decoder, count: int) -> Tensor:
    """log p(x | z) p(z) / q(z | x), written out one sample at a time (K, n)."""
    rows = []
    for number in range(1, count + 1):
        z = q.sample(draw(number))
        mean, sigma = decode(z)
        prior = distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        rows.append(gaussian_log_likelihood(X, mean, sigma, 2) + prior - q.log_prob(z))
    return torch.stack(rows)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


@every_posterior
@given(count=st.integers(1, 40), at_once=st.integers(1, 200))
def test_it_is_its_formula_however_many_are_decoded_at_once(kind: str, count: int, at_once: int):
    q, decode = POSTERIORS[kind], Decoder()
    bound = importance_bound(X, q, decode, draw, count, at_once=at_once)
    assert sum(decode.sizes) == IMAGES * count
    assert max(decode.sizes) <= max(IMAGES, at_once)
    assert len(decode.sizes) == math.ceil(count / max(1, at_once // IMAGES))
    assert_equal(bound, log_weights(q, decode, count).logsumexp(0) - math.log(count))


@every_posterior
@pytest.mark.parametrize("count", [1, 2, 50])
def test_what_decodes_fast_and_exactly_changes_nothing(kind: str, count: int):
    q = POSTERIORS[kind]
    expected = importance_bound(X, q, Decoder(), draw, count)
    assert_equal(importance_bound(X, q, Decoder(), draw, count, decode_many=Decoder()), expected)


@every_posterior
def test_where_one_sample_outweighs_all_others_it_is_decoded_again_alone(kind: str):
    """A small σ: the weights are hundreds of nats apart, and errors of many nats do not matter."""
    q, fast, exact = POSTERIORS[kind], Decoder(0.01, error=1e-3), Decoder(0.01)
    bound = importance_bound(X, q, exact, draw, 100, decode_many=fast)
    assert fast.sizes == [252] * 3 + [144]
    assert IMAGES <= sum(exact.sizes) <= IMAGES + 2
    weights, inexact = (log_weights(q, decode, 100) for decode in (exact, fast))
    assert (weights - inexact).abs().mean() > 1
    torch.testing.assert_close(bound, weights.logsumexp(0) - math.log(100), rtol=0, atol=1e-6)


@every_posterior
def test_where_many_samples_count_errors_of_the_decoder_average_out(kind: str):
    """Uncorrected they would bias the bound by far more than chance explains."""
    q, fast = POSTERIORS[kind], Decoder(error=0.1)
    gaps, uncorrected = [], []
    for repeat in range(200):

        def own(number: int, repeat: int = repeat) -> Tensor:
            return draw(1000 * repeat + number)

        exact = importance_bound(X, q, Decoder(), own, 30)
        gaps.append(importance_bound(X, q, Decoder(), own, 30, decode_many=fast) - exact)
        uncorrected.append(importance_bound(X, q, fast, own, 30) - exact)
    for differences, fair in ((gaps, True), (uncorrected, False)):
        of_images = torch.stack(differences)
        z_scores = of_images.mean(0) / (of_images.std(0) / math.sqrt(len(of_images)))
        assert (z_scores.abs().median() < 3) == fair
    assert torch.stack(gaps).mean().abs() < 0.1 * torch.stack(uncorrected).mean(0).abs().mean()
