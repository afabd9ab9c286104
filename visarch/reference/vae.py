"""The Gaussian VAE's densities, divergences and bounds (lecture), and a model solved exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visarch.reference.weights import Array


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


def elbo(log_likelihoods: Array, kl: float) -> float:
    """The evidence lower bound of one image: the mean of log p(x|z) over samples, minus the KL."""
    return float(np.sum(log_likelihoods) / log_likelihoods.size - kl)


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

    def expected_log_likelihood(self, x: Array, mean: Array, covariance: Array) -> float:
        """E_q log p(x|z) under q = N(mean, covariance), in closed form."""
        spread = float(np.trace(self.slope @ covariance @ self.slope.T))
        return log_likelihood(x, self.decode(mean), self.sigma) - spread / (2 * self.sigma**2)
