"""The Gaussian VAE: its posterior against torch.distributions, its networks against the lecture."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributions, nn
from torch.nn import functional

from visarch import BottleneckBlock, GaussianVAE, ResidualBlock, VAEConfig
from visarch.models.vae import GaussianPosterior

from .variants import vae
from .weights import randomize


def assert_equal(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


# The posterior.


def posterior(covariance: str, batch: int, latents: int) -> GaussianPosterior:
    mean = torch.randn(batch, latents, dtype=torch.float64)
    if covariance == "diagonal":
        return GaussianPosterior(mean, torch.rand_like(mean) + 0.2)
    factor = torch.randn(batch, latents, latents, dtype=torch.float64).tril(-1)
    return GaussianPosterior(mean, factor + torch.diag_embed(torch.rand_like(mean) + 0.2))


def peer_of(q: GaussianPosterior) -> distributions.MultivariateNormal:
    factor = q.scale if q.is_full else torch.diag_embed(q.scale)
    return distributions.MultivariateNormal(q.mean, scale_tril=factor)


both_covariances = pytest.mark.parametrize("covariance", ["diagonal", "full"])
sizes = {"batch": st.integers(1, 4), "latents": st.integers(1, 5)}


@both_covariances
@given(**sizes, samples=st.lists(st.integers(1, 3), max_size=2))
def test_the_density_is_torchs(covariance: str, batch: int, latents: int, samples: list[int]):
    q = posterior(covariance, batch, latents)
    z = torch.randn(*samples, batch, latents, dtype=torch.float64)
    log_prob = q.log_prob(z)
    assert log_prob.shape == (*samples, batch)
    assert_equal(log_prob, peer_of(q).log_prob(z))


@both_covariances
@given(**sizes)
def test_the_divergence_is_torchs(covariance: str, batch: int, latents: int):
    q = posterior(covariance, batch, latents)
    prior = distributions.MultivariateNormal(
        torch.zeros(latents, dtype=torch.float64), torch.eye(latents, dtype=torch.float64)
    )
    assert_equal(q.kl(), distributions.kl_divergence(peer_of(q), prior))


@both_covariances
@given(**sizes)
def test_the_variance_and_the_divergences_are_those_of_the_marginals(covariance, batch, latents):
    q = posterior(covariance, batch, latents)
    assert_equal(q.variance, peer_of(q).covariance_matrix.diagonal(dim1=1, dim2=2))
    marginals = distributions.Normal(q.mean, q.variance.sqrt())
    prior = distributions.Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
    assert_equal(q.kl_per_dimension(), distributions.kl_divergence(marginals, prior))
    missing = q.kl() - q.kl_per_dimension().sum(1)
    assert (missing >= -1e-10).all()
    if covariance == "diagonal":
        assert_equal(missing, torch.zeros_like(missing))


@both_covariances
@given(**sizes, samples=st.lists(st.integers(1, 3), max_size=2))
def test_a_sample_is_the_noise_scaled_and_moved(covariance, batch, latents, samples):
    q = posterior(covariance, batch, latents)
    noise = torch.randn(*samples, batch, latents, dtype=torch.float64)
    factor = peer_of(q).scale_tril
    expected = q.mean + torch.einsum("bij,...bj->...bi", factor, noise)
    assert_equal(q.sample(noise), expected)


@both_covariances
def test_samples_have_the_mean_and_covariance_and_their_density_the_divergence(covariance: str):
    q = posterior(covariance, 2, 3)
    count = 100_000
    z = q.sample(torch.randn(count, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=0.03)
    for i in range(2):
        expected = peer_of(q).covariance_matrix[i]
        torch.testing.assert_close(z[:, i].T.cov(), expected, rtol=0.03, atol=0.05)

    log_prior = distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    ratio = q.log_prob(z) - log_prior
    error = ratio.std(0) / math.sqrt(count)
    assert ((ratio.mean(0) - q.kl()).abs() < 4 * error).all()


@both_covariances
def test_a_sample_without_noise_is_a_fresh_draw(covariance: str):
    q = posterior(covariance, 2, 3)
    assert q.sample().shape == (2, 3)
    assert not torch.equal(q.sample(), q.sample())
    torch.manual_seed(5)
    drawn = q.sample()
    torch.manual_seed(5)
    assert torch.equal(drawn, q.sample(torch.randn(2, 3, dtype=torch.float64)))


@pytest.mark.parametrize("latents", [1, 4])
def test_the_prior_itself_has_no_divergence(latents: int):
    mean = torch.zeros(2, latents)
    for scale in (torch.ones(2, latents), torch.eye(latents).expand(2, latents, latents)):
        q = GaussianPosterior(mean, scale)
        assert torch.equal(q.kl(), torch.zeros(2))
        assert torch.equal(q.kl_per_dimension(), torch.zeros(2, latents))


# The networks.

SHAPES = [(1, 28, 28), (3, 9, 5), (1, 1, 1), (2, 101), (1, 5, 4, 3)]


@pytest.mark.parametrize("image_shape", SHAPES)
@pytest.mark.parametrize("patch_size", [1, 3, 4])
@both_covariances
def test_every_image_shape(image_shape: tuple[int, ...], patch_size: int, covariance: str):
    config = VAEConfig(
        image_shape=image_shape,
        latent_dim=3,
        channels=4,
        depth=1,
        patch_size=patch_size,
        covariance=covariance,
    )
    model, x = GaussianVAE(config), torch.rand(2, *image_shape)
    mean, sigma, q = model(x, torch.randn(2, 3))
    assert mean.shape == x.shape
    assert sigma.shape == (2, *(1,) * len(image_shape))
    assert (sigma > 0).all()
    assert q.mean.shape == (2, 3)
    assert q.is_full == (covariance == "full")
    assert config.ndim == len(image_shape) - 1
    assert config.grid_shape == (4, *(math.ceil(side / patch_size) for side in image_shape[1:]))


@both_covariances
def test_the_scale_is_a_positive_factor(covariance: str):
    model = randomize(vae(covariance=covariance).make())
    nn.init.normal_(model.encoder.f_var.weight)
    q = model.encode(torch.rand(5, 2, 9, 6))
    if covariance == "diagonal":
        assert q.scale.shape == (5, 3)
        assert (q.scale > 0).all()
    else:
        assert q.scale.shape == (5, 3, 3)
        assert torch.equal(q.scale, q.scale.tril())
        assert (q.scale.diagonal(dim1=1, dim2=2) > 0).all()
        assert q.scale[:, [1, 2, 2], [0, 0, 1]].all()


def test_the_factor_is_filled_row_by_row():
    model = vae(covariance="full").make()
    nn.init.zeros_(model.encoder.f_var.weight)
    model.encoder.f_var.bias.data = torch.tensor([0.1, 2.0, 0.3, 4.0, 5.0, 0.6])
    factor = model.encode(torch.rand(1, 2, 9, 6)).scale[0]
    e = torch.tensor([0.1, 0.3, 0.6]).exp()
    expected = torch.tensor([[e[0], 0, 0], [2, e[1], 0], [4, 5, e[2]]])
    torch.testing.assert_close(factor, expected)


def test_a_large_entry_beside_the_diagonal_leaves_the_gradients_finite():
    model = vae(covariance="full").make()
    model.encoder.f_var.bias.data[1] = 200.0  # whose exponential, not taken, would overflow
    factor = model.encode(torch.rand(2, 2, 9, 6)).scale
    factor.sum().backward()
    assert factor.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("latent_dim", [2, 64])
@pytest.mark.parametrize("initial_scale", [0.1, 1.0])
@both_covariances
def test_the_posterior_starts_as_wide_as_told(covariance, initial_scale: float, latent_dim: int):
    options = {"covariance": covariance, "initial_scale": initial_scale, "latent_dim": latent_dim}
    q = vae(channels=16, **options).make().encode(torch.rand(8, 2, 9, 6))
    width = q.variance.sqrt()
    torch.testing.assert_close(width, torch.full_like(width, initial_scale), rtol=0.5, atol=0)


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=3))
def test_the_patch_is_inferred_as_the_smallest_that_leaves_few_positions(sizes: list[int]):
    patch = VAEConfig(image_shape=(3, *sizes)).patch_size

    def positions(patch: int) -> int:
        return math.prod(math.ceil(size / patch) for size in sizes)

    assert patch.bit_count() == 1
    assert positions(patch) <= 64
    assert patch == 1 or positions(patch // 2) > 64


@both_covariances
def test_the_vae_starts_near_a_linear_one(covariance: str):
    """What h gives is close to ReLU of what it is given, and latents enter and leave unmixed."""
    model = vae(covariance=covariance, depth=4).make().eval()
    for weight in (model.encoder.f_mean.weight, model.decoder.f_in.weight.T):
        torch.testing.assert_close(weight @ weight.T, torch.eye(3))
    grid = torch.randn(4, 6, 3, 2)
    for h in (model.encoder.h, model.decoder.h):
        difference = h(grid) - grid.relu()
        assert difference.norm() < 0.5 * grid.norm()


@pytest.mark.parametrize("block", ["residual", "bottleneck"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_with_patches_of_one_pixel_the_networks_are_the_lectures(block: str, ndim: int):
    """f_in a 1×1 convolution, h a stack of blocks, f_mean and f_var linear; and back alike."""
    model = randomize(vae(ndim, block=block, patch_size=1, depth=2).make())
    encoder, decoder = model.encoder, model.decoder
    kind = ResidualBlock if block == "residual" else BottleneckBlock
    assert [type(layer) for layer in (*encoder.h, *decoder.h)] == [kind] * 4
    x, z = torch.rand(2, 2, *(9, 6, 5)[:ndim]), torch.randn(2, 3)

    weight = encoder.f_in.weight.flatten(1)  # (C, C_in)
    grid = torch.einsum("dc,bc...->bd...", weight, x) + encoder.f_in.bias.view(-1, *(1,) * ndim)
    flat = encoder.h(grid).flatten(1)
    q = model.encode(x)
    torch.testing.assert_close(q.mean, functional.linear(flat, *encoder.f_mean.parameters()))
    log_scale = functional.linear(flat, *encoder.f_var.parameters())
    torch.testing.assert_close(q.scale, log_scale.exp())

    grid = functional.linear(z, *decoder.f_in.parameters()).view(2, 6, *x.shape[2:])
    grid = decoder.h(grid)
    weight = decoder.f_mean.weight.flatten(1)  # (C, C_in)
    expected = torch.einsum("dc,bd...->bc...", weight, grid)
    expected = expected + decoder.f_mean.bias.view(-1, *(1,) * ndim)
    mean, sigma = model.decode(z)
    torch.testing.assert_close(mean, expected)
    log_sigma = functional.linear(grid.flatten(1), *decoder.f_var.parameters())
    torch.testing.assert_close(sigma.flatten(), log_sigma.exp().flatten())


def test_each_patch_is_one_position_of_the_grid():
    """Without blocks, what is outside a patch does not reach its position, nor back."""
    model = vae(depth=0, patch_size=3).make()
    x = torch.rand(1, 2, 9, 6)
    changed = x.clone()
    changed[..., 3:6, 0:3] += 1
    different = (model.encoder.f_in(x) != model.encoder.f_in(changed)).any(1)[0]
    assert different.tolist() == [[False, False], [True, False], [False, False]]


@pytest.mark.parametrize("sigma", ["constant", "learned", "predicted"])
def test_sigma_starts_as_told(sigma: str):
    model = vae(sigma=sigma, initial_sigma=0.3).make()
    deviation = model.decode(torch.randn(4, 3))[1]
    torch.testing.assert_close(deviation, torch.full((4, 1, 1, 1), 0.3))
    assert deviation.requires_grad == (sigma != "constant")
    parameters = {name for name, _ in model.decoder.named_parameters() if "sigma" in name}
    assert parameters == ({"log_sigma"} if sigma == "learned" else set())
    saved = {name for name in model.decoder.state_dict() if "sigma" in name}
    assert saved == (set() if sigma == "predicted" else {"log_sigma"})


def test_a_predicted_sigma_differs_between_images():
    model = randomize(vae(sigma="predicted").make())
    nn.init.normal_(model.decoder.f_var.weight, std=0.1)
    sigma = model.decode(torch.randn(8, 3))[1]
    assert sigma.flatten().unique().numel() == 8


@both_covariances
@torch.no_grad()
def test_a_call_encodes_draws_and_decodes(covariance: str):
    model = randomize(vae(covariance=covariance).make())
    x, noise = torch.rand(3, 2, 9, 6), torch.randn(3, 3)
    mean, sigma, q = model(x, noise)
    expected_q = model.encode(x)
    assert torch.equal(q.mean, expected_q.mean)
    assert torch.equal(q.scale, expected_q.scale)
    for actual, expected in zip((mean, sigma), model.decode(q.sample(noise)), strict=True):
        assert torch.equal(actual, expected)
    for actual, expected in zip(model(x)[:2], model.decode(q.mean), strict=True):
        assert torch.equal(actual, expected)


@both_covariances
def test_the_gradient_of_the_noise_reaches_the_encoder(covariance: str):
    """Algorithm 1's z = f(x) + Σ^{1/2}(x) ε is differentiated through."""
    model = vae(covariance=covariance).make()
    mean = model(torch.rand(4, 2, 9, 6), torch.randn(4, 3))[0]
    (gradient,) = torch.autograd.grad(mean.square().sum(), model.encoder.f_var.weight)
    assert gradient.any()


@pytest.mark.usefixtures("as_for_users")
def test_a_configuration_read_from_json_is_the_same():
    assert VAEConfig(image_shape=[1, 28, 28]) == VAEConfig()


def of_an_image(x: Tensor) -> None:
    vae().make()(x)


REFUSED = {
    "no sides": (lambda: VAEConfig(image_shape=(3,)), r"image_shape is \(3,\).*one, two or three"),
    "five axes": (lambda: VAEConfig(image_shape=(1, 2, 3, 4, 5)), "one, two or three spatial"),
    "an empty side": (lambda: VAEConfig(image_shape=(1, 0, 4)), r"\(1, 0, 4\).*at least 1"),
    **{
        name: (lambda name=name: VAEConfig(**{name: 0}), f"{name} is 0.*at least 1")
        for name in ("latent_dim", "channels", "inner_channels", "kernel_size")
    },
    "patch": (lambda: VAEConfig(patch_size=-1), "patch_size is -1.*at least 0"),
    "depth": (lambda: VAEConfig(depth=-1), "depth is -1.*at least 0"),
    "dropout": (lambda: VAEConfig(dropout=1.0), r"dropout is 1.0.*\[0, 1\)"),
    "no sigma": (lambda: VAEConfig(initial_sigma=0.0), "initial_sigma is 0.0.*positive"),
    "sigma": (lambda: VAEConfig(initial_sigma=math.nan), "initial_sigma is nan.*positive"),
    "endless sigma": (lambda: VAEConfig(initial_sigma=math.inf), "initial_sigma is inf.*positive"),
    "scale": (lambda: VAEConfig(initial_scale=-1.0), "initial_scale is -1.0.*positive"),
    "block": (lambda: VAEConfig(block="conv"), "block is 'conv'.*residual, bottleneck"),
    "covariance": (lambda: VAEConfig(covariance="low"), "covariance is 'low'.*diagonal, full"),
    "kind of sigma": (
        lambda: VAEConfig(sigma="fixed"),
        "sigma is 'fixed'.*constant, learned, predicted",
    ),
    "size of the image": (
        lambda: of_an_image(torch.zeros(2, 2, 9, 7)),
        r"images of shape \(2, 9, 7\).*\(2, 9, 6\)",
    ),
    "channels of the image": (
        lambda: of_an_image(torch.zeros(2, 1, 9, 6)),
        r"\(2, 1, 9, 6\).*2-d with 2 channels",
    ),
    "axes of the image": (
        lambda: of_an_image(torch.zeros(2, 9, 6)),
        r"\(2, 9, 6\).*\(batch, 2, height, width\)",
    ),
    "length of the latents": (
        lambda: vae().make().decode(torch.zeros(2, 4)),
        r"latents of shape \(2, 4\).*\(batch, 3\)",
    ),
}


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()
