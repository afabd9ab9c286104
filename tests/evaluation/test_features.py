"""Distances between sets of features: what holds for any sets, and Gaussians that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visarch.evaluation import features
from visarch.evaluation.features import (
    FeatureMeasurement,
    Overlap,
    frechet_distance,
    manifold_overlap,
    measure_features,
    metric_name,
)

counts = st.integers(2, 30)
widths = st.integers(1, 20)
enough = st.integers(6, 40)
seeds = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def sets(seed: int, n: int, m: int, d: int) -> tuple[Tensor, Tensor]:
    """Two sets of unlike, correlated features."""
    mixing = normal(seed + 1, d, d)
    return normal(seed + 2, n, d) @ mixing, normal(seed + 3, m, d) @ mixing.T + 0.5


def assert_equal(actual: Tensor, expected: Tensor | float, atol: float = 1e-9) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=atol)


# Fréchet distance


@given(n=counts, m=counts, d=widths, seed=seeds)
def test_the_distance_is_the_formula(n: int, m: int, d: int, seed: int):
    """tr (Σ₁ Σ₂)^½ from the eigenvalues of Σ₁ Σ₂, of which small ones are noise."""
    real, generated = sets(seed, n, m, d)
    first = np.cov(real.numpy(), rowvar=False).reshape(d, d)
    second = np.cov(generated.numpy(), rowvar=False).reshape(d, d)
    eigenvalues = np.linalg.eigvals(first @ second).real.clip(0)
    means = real.mean(0) - generated.mean(0)
    expected = means @ means + first.trace() + second.trace() - 2 * np.sqrt(eigenvalues).sum()
    assert_equal(frechet_distance(real, generated), float(expected), atol=1e-4)


@given(n=counts, m=counts, d=widths, seed=seeds)
def test_the_distance_is_a_squared_distance(n: int, m: int, d: int, seed: int):
    """Symmetric, zero to itself, blind to a common shift and rotation; squared under scaling."""
    real, generated = sets(seed, n, m, d)
    distance = frechet_distance(real, generated)
    scale = float(real.square().sum() + generated.square().sum())
    assert distance >= -1e-12 * scale
    assert_equal(frechet_distance(generated, real), distance)
    assert_equal(frechet_distance(real, real[torch.randperm(n)]), 0.0, atol=1e-12 * scale)
    rotation = torch.linalg.qr(normal(seed, d, d)).Q
    assert_equal(frechet_distance(real @ rotation + 3, generated @ rotation + 3), distance)
    assert_equal(frechet_distance(5 * real, 5 * generated), 25 * distance)


@given(n=st.integers(2, 30), d=widths, seed=seeds)
def test_the_distance_of_a_stretched_and_moved_set(n: int, d: int, seed: int):
    """Scaling along principal axes costs Σ (1 − sᵢ)² λᵢ, moving the length of the move squared."""
    real = normal(seed, n, d)
    centered = real - real.mean(0)
    eigenvalues, axes = torch.linalg.eigh(centered.T @ centered / (n - 1))
    stretch, move = normal(seed + 1, d).abs(), normal(seed + 2, d)
    generated = centered @ axes * stretch @ axes.T + real.mean(0) + move
    expected = ((1 - stretch).square() * eigenvalues).sum() + move.square().sum()
    assert_equal(frechet_distance(real, generated), expected)


def test_silent_features_do_no_harm():
    """Features that are zero for all images make covariances singular."""
    real, generated = sets(0, 50, 40, 6)
    silent = torch.zeros(50, 3, dtype=torch.float64)
    distance = frechet_distance(
        torch.cat([real, silent], 1), torch.cat([generated, silent[:40]], 1)
    )
    assert_equal(distance, frechet_distance(real, generated))


def test_single_precision_is_not_computed_in():
    """A set of large mean and small spread, of which float32 sums would lose most."""
    real, generated = (part.float() + 1000 for part in sets(0, 3000, 2000, 4))
    distance = frechet_distance(real, generated)
    assert distance.dtype == torch.float64
    assert_equal(distance, frechet_distance(real.double() - 1000, generated.double() - 1000), 1e-7)


# Precision, recall, density and coverage


def literally(real: Tensor, generated: Tensor) -> Overlap:
    """The definitions, point by point."""

    def radius(points: Tensor, index: int, k: int) -> float:
        others = [float((points[index] - p).norm()) for i, p in enumerate(points) if i != index]
        return sorted(others)[k - 1]

    def inside(point: Tensor, points: Tensor, k: int) -> int:
        return sum(
            float((point - center).norm()) <= radius(points, index, k)
            for index, center in enumerate(points)
        )

    n, m = len(real), len(generated)
    covered = sum(
        any(float((y - x).norm()) <= radius(real, index, 5) for y in generated)
        for index, x in enumerate(real)
    )
    values = (
        sum(inside(y, real, 3) > 0 for y in generated) / m,
        sum(inside(x, generated, 3) > 0 for x in real) / n,
        sum(inside(y, real, 5) for y in generated) / (5 * m),
        covered / n,
    )
    return Overlap(*(torch.tensor(value, dtype=torch.float64) for value in values))


@pytest.mark.parametrize(("n", "m", "d"), [(12, 12, 2), (20, 6, 3), (6, 17, 1), (15, 11, 30)])
@pytest.mark.parametrize("chunk_elements", [1, 40, 2**24])
def test_overlap_is_the_definition(
    n: int, m: int, d: int, chunk_elements: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(features, "_CHUNK_ELEMENTS", chunk_elements)
    real, generated = normal(n, n, d), 1.1 * normal(m + 50, m, d) + 0.3
    for actual, expected in zip(
        manifold_overlap(real, generated), literally(real, generated), strict=True
    ):
        assert_equal(actual, expected)


@given(n=enough, m=enough, d=widths, seed=seeds)
def test_properties_of_overlap(n: int, m: int, d: int, seed: int):
    real, generated = sets(seed, n, m, d)
    overlap = manifold_overlap(real, generated)
    assert_equal(manifold_overlap(generated, real).recall, overlap.precision)
    assert_equal(manifold_overlap(generated, real).precision, overlap.recall)
    for value in (overlap.precision, overlap.recall, overlap.coverage):
        assert 0 <= value <= 1
    assert 0 <= overlap.density <= n / 5
    precision, recall, _, coverage = manifold_overlap(real, real.flip(0))
    assert precision == recall == coverage == 1
    assert all(value == 0 for value in manifold_overlap(real, generated + 1e6))


def test_a_generator_that_repeats_one_image():
    """It is precise, and covers hardly anything."""
    real = normal(0, 200, 4)
    overlap = manifold_overlap(real, real[:1] + 1e-3 * normal(1, 100, 4))
    assert overlap.precision == 1
    assert overlap.recall < 0.01
    assert overlap.coverage < 0.1


def test_density_and_coverage_of_equal_distributions():
    """Their expectations: 1, and 1 − Π (N − i)/(2N − i) for i = 1 … k (Naeem et al., lemma 1)."""
    n, trials = 60, 80
    overlaps = [
        manifold_overlap(normal(2 * trial, n, 3), normal(2 * trial + 1, n, 3))
        for trial in range(trials)
    ]
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, 6))
    for metric, mean in (("density", 1.0), ("coverage", expected)):
        values = torch.stack([getattr(overlap, metric) for overlap in overlaps])
        error = float(values.std()) / math.sqrt(trials)
        assert error < 0.02
        assert abs(float(values.mean()) - mean) < 4 * error


# What is refused


@pytest.mark.parametrize(
    ("real", "generated", "words"),
    [
        (torch.zeros(12, 3), torch.zeros(12, 4), "of the same width"),
        (torch.zeros(12, 3, 2), torch.zeros(12, 3, 2), "one row for each image"),
        (torch.zeros(12, 3), torch.full((12, 3), math.nan), "generated images are not all finite"),
        (torch.zeros(1, 3), torch.zeros(12, 3), "1 real images: this takes at least"),
    ],
)
def test_sets_that_do_not_compare(real: Tensor, generated: Tensor, words: str):
    for metric in (frechet_distance, manifold_overlap, measure):
        with pytest.raises(ValueError, match=words):
            metric(real, generated)


def test_too_few_images_for_their_neighbors():
    with pytest.raises(ValueError, match="5 generated images: this takes at least 6 of each"):
        manifold_overlap(normal(0, 6, 2), normal(1, 5, 2))
    with pytest.raises(ValueError, match="11 generated images: this takes at least 12 of each"):
        measure(normal(0, 12, 2), normal(1, 11, 2))
    with pytest.raises(ValueError, match="num_halves is 1"):
        measure(normal(0, 12, 2), normal(1, 12, 2), num_halves=1)


# Measurement


def measure(real: Tensor, generated: Tensor, seed: int = 0, num_halves: int = 4):
    return measure_features(
        real,
        generated,
        network="0001-digits",
        split="test",
        generator=torch.Generator().manual_seed(seed),
        num_halves=num_halves,
    )


def test_names_say_network_count_and_split():
    assert metric_name("FD", "0001-digits", 5000, 5000, "test") == "FD-0001-digits (N=5000, test)"
    assert metric_name("recall", "a", 50, 70, "train") == "recall-a (N=50 against 70, train)"


def test_only_inceptions_own_distance_is_called_fid():
    assert metric_name("FD", None, 500, 500, "test") == "FID (N=500, test)"
    assert metric_name("FD∞", None, 500, 500, "test") == "FID∞ (N=500, test)"
    assert metric_name("recall", None, 500, 500, "test") == "recall-Inception (N=500, test)"
    assert "FID" not in metric_name("FD", "Inception", 500, 500, "test")


def test_what_is_told():
    real, generated = sets(0, 40, 40, 3)
    measured = measure(real, generated)
    told = dict(measured)
    metrics = ("FD", "FD∞", "precision", "recall", "density", "coverage")
    assert list(told) == [f"{metric}-0001-digits (N=40, test)" for metric in metrics]
    values = list(told.values())
    assert values[0] == pytest.approx(float(frechet_distance(real, generated)))
    assert values[1] == pytest.approx(2 * values[0] - float(measured.halves["FD"].mean()))
    assert values[2:] == pytest.approx(list(map(float, manifold_overlap(real, generated))))
    assert set(measured.standard_errors()) == set(measured.intervals()) == set(told)
    for name, (low, high) in measured.intervals().items():
        assert (low + high) / 2 == pytest.approx(told[name])
        assert high - low == pytest.approx(2 * 1.96 * measured.standard_errors()[name], rel=1e-4)


def test_the_generator_decides_the_halves_and_nothing_else():
    real, generated = sets(0, 40, 30, 3)
    first, again, other = (measure(real, generated, seed) for seed in (0, 0, 1))
    assert dict(first) == dict(again)
    assert first.standard_errors() == again.standard_errors()
    assert first.standard_errors() != other.standard_errors()
    assert first.frechet == other.frechet
    assert first.overlap == other.overlap


# Sets from two Gaussians at a known distance, measured again and again

N, D, MOVE, STRETCH, TRIALS = 150, 6, 0.4, 1.3, 60
DISTANCE = D * (MOVE**2 + (STRETCH - 1) ** 2)
WITHIN_CHANCE = 51
"""Of 60 intervals at 95 %, how many hold the truth at least (but once in a thousand times)."""


@pytest.fixture(scope="module")
def measurements() -> list[FeatureMeasurement]:
    return [
        measure(
            normal(2 * trial, N, D),
            STRETCH * normal(2 * trial + 1, N, D) + MOVE,
            seed=trial,
            num_halves=25,
        )
        for trial in range(TRIALS)
    ]


def test_intervals_cover_the_mean_at_this_size(measurements: list[FeatureMeasurement]):
    for name in dict(measurements[0]):
        values = torch.tensor([dict(measured)[name] for measured in measurements])
        intervals = torch.tensor([measured.intervals()[name] for measured in measurements])
        covered = (intervals[:, 0] <= values.mean()) & (values.mean() <= intervals[:, 1])
        assert covered.sum() >= WITHIN_CHANCE, name
        errors = torch.tensor([measured.standard_errors()[name] for measured in measurements])
        assert 0.75 < errors.mean() / values.std() < 1.6, name


def test_the_extrapolated_distance_is_the_true_one(measurements: list[FeatureMeasurement]):
    """The distance itself is too large at this N, by more than chance allows."""
    values = torch.tensor([measured.extrapolated for measured in measurements])
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean()) - DISTANCE) < 4 * error
    biased = torch.tensor([measured.frechet for measured in measurements])
    assert biased.mean() - DISTANCE > 4 * error

    (name,) = (name for name in dict(measurements[0]) if name.startswith("FD∞"))
    intervals = [measured.intervals()[name] for measured in measurements]
    assert sum(low <= DISTANCE <= high for low, high in intervals) >= WITHIN_CHANCE
