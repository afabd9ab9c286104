"""The Gaussian VAE's densities, divergences and bounds (lecture), and a model solved exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visarch.reference.convolution import conv, trans_conv
from visarch.reference.residual import bottleneck_block, each, residual_block
from visarch.reference.weights import Array, Weights, has, part


def convnet(x: Array, weights: Weights, *, training: bool = False) -> Array:
    """h = b⁽ᴸ⁾ ∘ … ∘ b⁽¹⁾ (lecture, "Convolutional Networks"); ``l - 1`` holds b⁽ˡ⁾'s weights."""
    layer = 0
    while has(weights, str(layer)):
        block = part(weights, str(layer))
        b = bottleneck_block if has(block, "conv3") else residual_block
        x = b(x, block, training=training)
        layer += 1
    return x


def encode(
    x: Array, weights: Weights, *, full: bool, patch_size: int = 1, training: bool = False
) -> tuple[Array, Array]:
    """The encoder (lecture): f = f_mean ∘ h ∘ f_in, Σ^{1/2} = f_var ∘ h ∘ f_in, for a batch.

    What f_var puts out is read as log standard deviations for a diagonal Σ, and for a full one as
    the lower triangle of a Cholesky factor, row by row, with logarithms on the diagonal.
    Images whose sides p does not divide are continued with zeros.
    """
    sizes = [-(-size // patch_size) * patch_size for size in x.shape[2:]]
    padded = np.zeros((*x.shape[:2], *sizes))
    padded[:, :, *(slice(0, size) for size in x.shape[2:])] = x
    grid = each(lambda image: conv(image, part(weights, "f_in"), stride=patch_size), padded)
    grid = convnet(grid, part(weights, "h"), training=training)

    mean_map, scale_map = part(weights, "f_mean"), part(weights, "f_var")
    num_latents = mean_map["bias"].size
    means, scales = [], []
    for image in grid:
        means.append(mean_map["weight"] @ image.ravel() + mean_map["bias"])
        numbers = iter(scale_map["weight"] @ image.ravel() + scale_map["bias"])
        if not full:
            scales.append(np.array([np.exp(number) for number in numbers]))
            continue
        factor = np.zeros((num_latents, num_latents))
        for i in range(num_latents):
            for j in range(i):
                factor[i, j] = next(numbers)
            factor[i, i] = np.exp(next(numbers))
        scales.append(factor)
    return np.stack(means), np.stack(scales)


def decode(
    z: Array,
    weights: Weights,
    *,
    image_shape: tuple[int, ...],
    patch_size: int = 1,
    training: bool = False,
) -> tuple[Array, Array]:
    """The decoder (lecture): g = f_mean ∘ h ∘ f_in and σ = f_var ∘ h ∘ f_in or a constant.

    f_in is linear from Z to a grid of C channels; f_mean is a 1×1 convolution for p = 1, and for
    p > 1 the transposed convolution that enlarges each position of the grid to a p × p patch.
    """
    grid_sizes = [-(-size // patch_size) for size in image_shape[1:]]
    linear, f_mean = part(weights, "f_in"), part(weights, "f_mean")
    grid = np.stack([linear["weight"] @ one + linear["bias"] for one in z])
    grid = grid.reshape(len(z), f_mean["weight"].shape[0], *grid_sizes)
    grid = convnet(grid, part(weights, "h"), training=training)

    if patch_size == 1:
        one_by_one = {**f_mean, "weight": f_mean["weight"].swapaxes(0, 1)}
        means = each(lambda image: conv(image, one_by_one), grid)
    else:
        means = each(lambda image: trans_conv(image, f_mean, stride=patch_size), grid)
    means = means[:, :, *(slice(0, size) for size in image_shape[1:])]

    f_var = part(weights, "f_var")
    sigmas = np.empty(len(z))
    for k, image in enumerate(grid):
        log_sigma = f_var["weight"][0] @ image.ravel() + f_var["bias"][0] if f_var else None
        sigmas[k] = np.exp(weights["log_sigma"] if log_sigma is None else log_sigma)
    return means, sigmas


def log_normal(x: Array, mean: Array, covariance: Array) -> float:
    """log N(x; μ, Σ) = −½ (x−μ)ᵀ Σ⁻¹ (x−μ) − ½ log det 2πΣ, constant included."""
    difference = (x - mean).ravel()
    _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
    return float(
        -0.5 * difference @ np.linalg.solve(covariance, difference) - 0.5 * log_determinant
    )


def log_likelihood(x: Array, mean: Array, sigma: float) -> float:
    """log p(x|z) = Σ_i log N(x_i; g(z)_i, σ²) (lecture, "The Gaussian VAE"), pixel by pixel."""
    total = 0.0
    for value, centre in zip(x.ravel(), mean.ravel(), strict=True):
        total += -0.5 * ((value - centre) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    return total


def kl_diagonal(mean: Array, deviation: Array) -> float:
    """D_KL(N(μ, diag s²) ‖ N(0, I)) = ½ Σ_i (s_i² + μ_i² − 1 − log s_i²)."""
    return float(0.5 * np.sum(deviation**2 + mean**2 - 1 - np.log(deviation**2)))


def kl_full(mean: Array, covariance: Array) -> float:
    """D_KL(N(μ, Σ) ‖ N(0, I)) = ½ (tr Σ + μᵀμ − Z − log det Σ)."""
    _, log_determinant = np.linalg.slogdet(covariance)
    return float(0.5 * (np.trace(covariance) + mean @ mean - mean.size - log_determinant))


def kl_normal(mean: Array, covariance: Array, other_mean: Array, other_covariance: Array) -> float:
    """D_KL(N(μ, Σ) ‖ N(m, S)) = ½ (tr S⁻¹Σ + (m−μ)ᵀ S⁻¹ (m−μ) − Z + log det S − log det Σ)."""
    difference = other_mean - mean
    _, log_determinant = np.linalg.slogdet(covariance)
    _, other_log_determinant = np.linalg.slogdet(other_covariance)
    return float(
        0.5
        * (
            np.trace(np.linalg.solve(other_covariance, covariance))
            + difference @ np.linalg.solve(other_covariance, difference)
            - mean.size
            + other_log_determinant
            - log_determinant
        )
    )


def iwae(log_weights: Array) -> float:
    """The importance-weighted bound: log (1/K) Σ_k p(x, z_k)/q(z_k|x), from log weights."""
    largest = np.max(log_weights)
    return float(largest + np.log(np.sum(np.exp(log_weights - largest)) / log_weights.size))


def algorithm_one(x: Array, means: Array, sigma: float, kls: Array) -> float:
    """Algorithm 1's printed objective (lecture): Σ_k ‖x_k − g(z_k)‖² / 2σ² + D_KL(q(z|x_k) ‖ r)."""
    total = 0.0
    for k in range(x.shape[0]):
        total += float(np.sum((x[k] - means[k]) ** 2)) / (2 * sigma**2) + float(kls[k])
    return total


def bits_per_dim(elbo_nats: float, num_dims: int, levels: int) -> float:
    """The bound on the bits a stored value takes: −ELBO/(D log 2) + log₂ levels.

    The ELBO is that of x = (k + u)/levels with u uniform on [0, 1); the density of the stored
    integers k + u is smaller by the factor levels⁻ᴰ.
    """
    return -elbo_nats / (num_dims * np.log(2.0)) + float(np.log2(levels))


@dataclass(frozen=True)
class LinearGaussian:
    """The one VAE whose evidence is known: z ~ N(0, I), x|z ~ N(Az + c, σ²I).

    Then x ~ N(c, AAᵀ + σ²I), and z|x ~ N(M⁻¹Aᵀ(x−c)/σ², M⁻¹) with M = I + AᵀA/σ².
    """

    slope: Array  # A, (D × Z)
    offset: Array  # c, (D)
    sigma: float

    def decode(self, z: Array) -> Array:
        """g(z) = Az + c for one z."""
        return self.slope @ z + self.offset

    def evidence(self, x: Array) -> float:
        """log p(x), in closed form."""
        covariance = self.slope @ self.slope.T + self.sigma**2 * np.eye(x.size)
        return log_normal(x, self.offset, covariance)

    def posterior(self, x: Array) -> tuple[Array, Array]:
        """Mean and covariance of p(z|x)."""
        precision = np.eye(self.slope.shape[1]) + self.slope.T @ self.slope / self.sigma**2
        covariance = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        return covariance @ self.slope.T @ (x - self.offset) / self.sigma**2, covariance
