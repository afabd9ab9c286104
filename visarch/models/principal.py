"""Initial values for a Gaussian VAE: the best linear one, which has a closed form.

A VAE whose encoder and decoder are linear has one global optimum, probabilistic PCA. With λ_i and
u_i the eigenvalues and eigenvectors of the images' covariance and μ their mean,

    decoder  g(z) = W z + μ,  W = (√(λ_1 − σ²) u_1 … √(λ_Z − σ²) u_Z),  σ² = mean of the other λ_i
    encoder  f_i(x) = √(λ_i − σ²)/λ_i · u_iᵀ (x − μ),   Σ = diag(σ²/λ_1 … σ²/λ_Z)

The convolutional VAE can start there exactly, up to one ReLU: its first C_in pⁿ channels carry the
pixels of a patch through h, which is close to a ReLU as long as its blocks' last γ are small, and
pixels are not negative. What h learns then comes on top. From random values it takes hundreds of
passes over the images to get as far.

Sources: lecture, "Convnet Hyper-Parameters" (initialization); Tipping & Bishop 1999, Probabilistic
Principal Component Analysis; Lucas et al. 2019, Don't Blame the ELBO! (the linear VAE's optimum).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from visarch.models.config import VAEConfig
from visarch.models.vae import GaussianVAE

_OTHER_CHANNELS = 0.05  # factor on the random weights beside the pixels' channels
_LARGEST_COVARIANCE = 4096  # dimensions; beyond that, the leading eigenvectors are approximated
MOST_IMAGES = 10_000
_MOST_NUMBERS = 2**25  # in all images together: 256 MiB in float64
_IMAGES_PER_COMPONENT = 4  # with fewer, σ² on the images at hand is too small for others
_SMALLEST_VARIANCE = 1e-8


class PrincipalComponents(NamedTuple):
    """Mean (D,), leading eigenvalues (Z,) and eigenvectors (D, Z), and σ² of probabilistic PCA."""

    mean: Float[Tensor, " d"]
    eigenvalues: Float[Tensor, " z"]
    eigenvectors: Float[Tensor, "d z"]
    noise: Float[Tensor, ""]


def can_start_linear(config: VAEConfig) -> bool:
    """Whether the grid has a channel for each number in a patch: C ≥ C_in pⁿ."""
    return config.channels >= _patch_numbers(config)


@torch.no_grad()
def start_linear(vae: GaussianVAE, images: Float[Tensor, "n c *spatial"], noise: float) -> None:
    """Give an untrained VAE the values of the probabilistic PCA of some images.

    A constant σ stays as it is, and takes the place of PCA's.

    Args:
        vae: changed in place.
        images: values in [0, 1].
        noise: variance that each pixel has beside these values, as 1/(12 L²) from dequantization.

    Raises:
        ValueError: if the network has too few channels, see :func:`can_start_linear`.
    """
    config = vae.config
    if not can_start_linear(config):
        raise ValueError(
            f"channels is {config.channels}: to start as linear, this VAE needs one for each of "
            f"the {_patch_numbers(config)} numbers in a patch"
        )
    fixed_noise = None
    if config.sigma == "constant" or len(images) == 1:  # a single image shows no variance
        fixed_noise = config.initial_sigma**2
    found = principal_components(images.flatten(1), config.latent_dim, noise, fixed_noise)
    weights = (found.eigenvalues - found.noise).clamp(min=0).sqrt()
    encode = (weights / found.eigenvalues)[:, None] * found.eigenvectors.T  # (Z, D)
    decode = found.eigenvectors * weights  # (D, Z)
    log_scale = 0.5 * (found.noise / found.eigenvalues).log().clamp(max=0)

    channels = slice(_patch_numbers(config))
    pixel, inside = _pixels_of_grid(vae)
    feature = torch.arange(math.prod(config.grid_shape)).view(config.grid_shape)[channels][inside]
    encoder, decoder = vae.encoder, vae.decoder

    encoder.f_in.weight[channels] = _identity_kernels(vae).to(encoder.f_in.weight)
    _fill(encoder.f_in.bias, channels, 0.0)
    encoder.f_mean.weight.mul_(_OTHER_CHANNELS)
    encoder.f_mean.weight[:, feature] = encode[:, pixel].to(encoder.f_mean.weight)
    encoder.f_mean.bias.copy_(-encode @ found.mean)
    encoder.start_scale(log_scale)

    decoder.f_in.weight[feature] = decode[pixel].to(decoder.f_in.weight)
    decoder.f_in.bias[feature] = found.mean[pixel].to(decoder.f_in.bias)
    decoder.f_mean.weight.mul_(_OTHER_CHANNELS)
    decoder.f_mean.weight[channels] = _identity_kernels(vae).to(decoder.f_mean.weight)
    _fill(decoder.f_mean.bias, slice(None), 0.0)
    if config.sigma != "constant":
        decoder.start_sigma(float(0.5 * found.noise.log()))


def principal_components(
    x: Float[Tensor, "n d"], number: int, noise: float, fixed_noise: float | None = None
) -> PrincipalComponents:
    """Probabilistic PCA of the rows of x, with ``number`` components, in float64.

    Where there are fewer directions than components, the rest have zero vectors and λ = σ². Few
    rows are fitted all too well, so σ² is what they leave of one another then.

    Args:
        x: one sample a row; of more than fit into memory, or are needed, every k-th is used.
        number: Z.
        noise: variance of each number beside what x shows, added to every eigenvalue.
        fixed_noise: σ², where it is not to be fitted.
    """
    num_dims = x.shape[1]
    most = max(2 * number, min(MOST_IMAGES, _MOST_NUMBERS // num_dims))
    x = x[:: -(-len(x) // most)].double()
    mean = x.mean(0)
    centered = x - mean
    total = centered.square().sum() / len(x) + num_dims * noise
    if num_dims <= _LARGEST_COVARIANCE:
        values, vectors = torch.linalg.eigh(centered.T @ centered / len(x))
        values, vectors = values.flip(0)[:number], vectors.flip(1)[:, :number]
    else:
        _, singular, vectors = torch.svd_lowrank(centered, q=min(number, *x.shape), niter=4)
        values = singular.square() / len(x)
    values = values.clamp(min=0) + noise

    found = len(values)
    fitted = (total - values.sum()) / (num_dims - found) if found < num_dims else values[-1]
    if 1 < len(x) < _IMAGES_PER_COMPONENT * number:
        fitted = torch.maximum(fitted, _left_of_others(x, number) + noise)
    sigma2 = x.new_tensor(fixed_noise) if fixed_noise is not None else fitted
    sigma2 = sigma2.clamp(min=_SMALLEST_VARIANCE)
    eigenvalues = sigma2.expand(number).clone()
    eigenvalues[:found] = values.clamp(min=float(sigma2))
    eigenvectors = x.new_zeros(num_dims, number)
    eigenvectors[:, :found] = vectors
    return PrincipalComponents(mean, eigenvalues, eigenvectors, sigma2)


def _left_of_others(x: Float[Tensor, "n d"], number: int) -> Float[Tensor, ""]:
    """Mean square that the components of every second row leave of the rows between them."""
    fitted, others = x[::2], x[1::2]
    mean = fitted.mean(0)
    _, _, directions = torch.linalg.svd(fitted - mean, full_matrices=False)
    directions = directions[: min(number, len(fitted) - 1)]  # the mean has taken one
    others = others - mean
    return (others - others @ directions.T @ directions).square().mean()


def _patch_numbers(config: VAEConfig) -> int:
    return config.image_shape[0] * config.patch_size**config.ndim


def _identity_kernels(vae: GaussianVAE) -> Tensor:
    """Kernels (C_in pⁿ, C_in, p, …) that copy each number of a patch to a channel of its own."""
    config = vae.config
    shape = (config.image_shape[0], *(config.patch_size,) * config.ndim)
    return torch.eye(_patch_numbers(config)).view(-1, *shape)


def _pixels_of_grid(vae: GaussianVAE) -> tuple[Tensor, Tensor]:
    """Which pixel of the image each number of the grid's first channels holds.

    Returns:
        The pixels' positions in the flat image, and a mask (C_in pⁿ, *grid) of where there is one:
        the last patches may reach beyond the image.
    """
    config = vae.config
    number = torch.arange(math.prod(config.image_shape), dtype=torch.float64) + 1  # 0 is padding
    patches = number.view(config.image_shape)
    for axis, size in enumerate(config.image_shape[1:], start=1):
        missing = -size % config.patch_size
        padding = patches.new_zeros(*patches.shape[:axis], missing, *patches.shape[axis + 1 :])
        patches = torch.cat([patches, padding], dim=axis)
    for axis in range(1, config.ndim + 1):
        patches = patches.unfold(axis, config.patch_size, config.patch_size)
    # (C_in, *grid, p, …) → (C_in pⁿ, *grid)
    order = [0, *range(config.ndim + 1, 2 * config.ndim + 1), *range(1, config.ndim + 1)]
    pixel = patches.permute(order).flatten(0, config.ndim).long() - 1
    inside = pixel >= 0
    return pixel[inside], inside


def _fill(bias: Tensor | None, where: slice, value: float) -> None:
    if bias is not None:
        bias[where] = value
