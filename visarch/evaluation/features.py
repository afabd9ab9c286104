"""How far generated images lie from real ones, in the features of a network.

The features of both sets go in, one row for each image; what network they come from is the caller's
choice, and part of every number's name: values compare only within one network and one N.
All is computed in float64.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

PRECISION_NEIGHBORS, COVERAGE_NEIGHBORS = 3, 5
"""k of precision and recall (Kynkäänniemi et al. 2019), and of density and coverage (Naeem et al.
2020), as in these papers."""

_CHUNK_ELEMENTS = 2**24  # distances held at once: 128 MiB


def frechet_distance(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]
) -> Float[Tensor, ""]:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½): squared Wasserstein distance of fitted Gaussians.

    With any factors Σᵢ = Fᵢᵀ Fᵢ, tr (Σ₁ Σ₂)^½ is the sum of the singular values of F₁ F₂ᵀ: no
    matrix root is taken, and covariances may be singular. Σᵢ has the divisor n − 1.

    Raises:
        ValueError: if the sets have other axes or widths, fewer than two images, or values that are
            not finite.

    Source: Dowson & Landau 1982; Heusel et al. 2017.
    """
    _check(real, generated, 2)
    real, generated = real.double(), generated.double()
    difference = real.mean(0) - generated.mean(0)
    first, second = _covariance_factor(real), _covariance_factor(generated)
    cross = torch.linalg.svdvals(first @ second.T).sum()
    return difference.square().sum() + first.square().sum() + second.square().sum() - 2 * cross


class Overlap(NamedTuple):
    """How two sets of images share the space of features, by balls around the images of one."""

    precision: Float[Tensor, ""]
    """Fraction of the generated images within a ball of a real one."""
    recall: Float[Tensor, ""]
    """Fraction of the real images within a ball of a generated one."""
    density: Float[Tensor, ""]
    """How many real balls a generated image lies in, over k; can exceed 1."""
    coverage: Float[Tensor, ""]
    """Fraction of the real balls that hold a generated image."""


def manifold_overlap(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"]) -> Overlap:
    """Improved precision and recall, density and coverage.

    The ball of an image reaches to its k-th nearest neighbor in its own set, itself not counted.
    Distances are computed in pieces, so memory grows with n + m and not with n · m.

    Raises:
        ValueError: as :func:`frechet_distance`, or if a set has no k-th neighbors.

    Source: Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, section 3.
    """
    neighbors = max(PRECISION_NEIGHBORS, COVERAGE_NEIGHBORS)
    _check(real, generated, neighbors + 1)
    real, generated = real.double(), generated.double()
    real_radii = _squared_radii(real, neighbors)
    generated_radii = _squared_radii(generated, PRECISION_NEIGHBORS)[:, -1]

    precise = generated.new_zeros(len(generated), dtype=torch.bool)
    recalled, covered, inside = [], [], real.new_zeros(())
    for rows, radii in zip(
        real.split(_chunk(generated)), real_radii.split(_chunk(generated)), strict=True
    ):
        distances = _squared_distances(rows, generated)  # (rows, m)
        precise |= (distances <= radii[:, PRECISION_NEIGHBORS - 1, None]).any(0)
        recalled.append((distances <= generated_radii).any(1))
        in_balls = distances <= radii[:, COVERAGE_NEIGHBORS - 1, None]
        covered.append(in_balls.any(1))
        inside += in_balls.sum()
    return Overlap(
        precision=precise.double().mean(),
        recall=torch.cat(recalled).double().mean(),
        density=inside / (COVERAGE_NEIGHBORS * len(generated)),
        coverage=torch.cat(covered).double().mean(),
    )


def metric_name(
    metric: str, network: str | None, num_generated: int, num_real: int, split: str
) -> str:
    """``FD-<network> (N=5000, test)``: what a number on features is called, so that it compares.

    Args:
        metric: "FD", "precision", …
        network: the run whose features these are; none for Inception's own weights, given as a
            file, and only then is the Fréchet distance called FID.
        num_generated: N.
        num_real: told beside N where it differs.
        split: where the real images come from.
    """
    if network is None:
        subject = f"FID{metric[2:]}" if metric.startswith("FD") else f"{metric}-Inception"
    else:
        subject = f"{metric}-{network}"
    against = "" if num_real == num_generated else f" against {num_real}"
    return f"{subject} (N={num_generated}{against}, {split})"


@dataclass(frozen=True)
class FeatureMeasurement:
    """What was measured between two sets of features; iterate over it for (name, value)."""

    network: str | None
    """Whose features these are; none for Inception's own."""
    split: str
    num_real: int
    num_generated: int
    frechet: float
    overlap: Overlap
    halves: dict[str, Tensor]
    """"FD", "precision", …: the metric on random halves of both sets (B,)."""

    @property
    def extrapolated(self) -> float:
        """Fréchet distance at N → ∞ as far as its bias goes with 1/N: 2 FD(N) − mean FD(N/2).

        Unlike the distance itself it can be negative where the sets are alike.

        Source: Chong & Forsyth 2020, with the two sizes that are at hand.
        """
        return 2 * self.frechet - float(self.halves["FD"].mean())

    def __iter__(self) -> Iterator[tuple[str, float]]:
        yield self._name("FD"), self.frechet
        yield self._name("FD∞"), self.extrapolated
        for metric, value in self.overlap._asdict().items():
            yield self._name(metric), float(value)

    def standard_errors(self) -> dict[str, float]:
        """How far the values over other images, as many of both kinds, would lie apart.

        They are the standard deviations over random halves. A mean over n/2 of n images, drawn
        without replacement, varies as much as one over n fresh images (½ · σ²/(n/2) = σ²/n), and so
        does any metric that is nearly linear in the images' distribution. A bootstrap with
        replacement would repeat images, which these metrics take for mass where there is none.

        Source: Shao & Wu 1989 (delete-d jackknife, d = n/2); Politis, Romano & Wolf 1999.
        """
        errors = {metric: float(values.std()) for metric, values in self.halves.items()}
        errors["FD∞"] = errors["FD"]  # the halves' mean follows the whole: their noise is the same
        return {self._name(metric): error for metric, error in errors.items()}

    def intervals(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Normal intervals around the values: for what this metric is on average **at this N**.

        Only that of FD∞ is for the distance itself, as far as its bias goes with 1/N. Where chance
        alone moves a metric, as FD between equal sets, they are wider than need be.
        """
        width = NormalDist().inv_cdf((1 + level) / 2)
        errors = self.standard_errors()
        return {
            name: (value - width * errors[name], value + width * errors[name])
            for name, value in self
        }

    def _name(self, metric: str) -> str:
        return metric_name(metric, self.network, self.num_generated, self.num_real, self.split)


def measure_features(
    real: Float[Tensor, "n d"],
    generated: Float[Tensor, "m d"],
    *,
    network: str | None,
    split: str,
    generator: torch.Generator,
    num_halves: int = 50,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureMeasurement:
    """Measure all of the above, and on random halves of both sets how sure the values are.

    Args:
        real: features of images of ``split``.
        generated: features of generated images, best as many.
        network: the run whose features these are; none for Inception's own weights.
        split: where the real images come from.
        generator: draws the halves.
        num_halves: B; a standard error is then right to about 1/√(2B).
        progress: is called with (halves measured, halves there are to measure).

    Raises:
        ValueError: as :func:`manifold_overlap`, already where a half is too small; or if B < 2.
    """
    if num_halves < 2:
        raise ValueError(f"num_halves is {num_halves}: a spread takes at least 2")
    _check(real, generated, 2 * (max(PRECISION_NEIGHBORS, COVERAGE_NEIGHBORS) + 1))
    rows = []
    for number in range(num_halves):
        progress(number, num_halves)
        halves = _half(real, generator), _half(generated, generator)
        rows.append(torch.stack([frechet_distance(*halves), *manifold_overlap(*halves)]))
    names = ("FD", *Overlap._fields)
    return FeatureMeasurement(
        network=network,
        split=split,
        num_real=len(real),
        num_generated=len(generated),
        frechet=float(frechet_distance(real, generated)),
        overlap=manifold_overlap(real, generated),
        halves=dict(zip(names, torch.stack(rows).unbind(1), strict=True)),
    )


def _covariance_factor(features: Tensor) -> Tensor:
    """F (r, d) with Fᵀ F = Σ and r = min(n, d)."""
    centered = (features - features.mean(0)) / math.sqrt(len(features) - 1)
    if len(features) <= features.shape[1]:
        return centered
    return torch.linalg.qr(centered, mode="r").R


def _squared_radii(features: Tensor, neighbors: int) -> Tensor:
    """Squared distances of each image to its nearest neighbors in the set, in order (n, k)."""
    radii, first = [], 0
    for rows in features.split(_chunk(features)):
        distances = _squared_distances(rows, features)
        own = torch.arange(len(rows), device=rows.device)
        distances[own, first + own] = math.inf
        radii.append(distances.topk(neighbors, largest=False).values)
        first += len(rows)
    return torch.cat(radii)


def _squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """‖aᵢ − bⱼ‖² = ‖aᵢ‖² + ‖bⱼ‖² − 2 aᵢ·bⱼ (rows, columns)."""
    norms = rows.square().sum(1, keepdim=True) + columns.square().sum(1)
    return torch.addmm(norms, rows, columns.T, alpha=-2)


def _chunk(columns: Tensor) -> int:
    return max(1, _CHUNK_ELEMENTS // len(columns))


def _half(features: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.randperm(len(features), generator=generator)[: len(features) // 2]
    return features[chosen.to(features.device)]


def _check(real: Tensor, generated: Tensor, least: int) -> None:
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"features are of shapes {tuple(real.shape)} and {tuple(generated.shape)}: both must "
            "have one row for each image, of the same width"
        )
    for name, features in (("real", real), ("generated", generated)):
        if len(features) < least:
            raise ValueError(
                f"there are {len(features)} {name} images: this takes at least {least} of each kind"
            )
        if not features.isfinite().all():
            raise ValueError(f"features of the {name} images are not all finite")
