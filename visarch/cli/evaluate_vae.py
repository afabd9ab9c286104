"""What `visarch evaluate` tells of a Gaussian VAE: bounds on the likelihood, and its latents.

Bounds are in nats for each image and in bits for each number in it, with the standard error over
the images; the tighter one takes several samples of the posterior (importance weighting).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from visarch.cli.evaluate import Findings, Question
from visarch.evaluation.vae import VAEMeasurement, collapse_warning
from visarch.inference.noise import evaluation_noise
from visarch.inference.vae import measure
from visarch.models.vae import GaussianVAE

if TYPE_CHECKING:
    from rich.table import Table

IMPORTANCE_SAMPLES = 64
_UNITS = {"bits/dim": "bits", "rmse": "of the range [0, 1]", "sigma": "of the range [0, 1]"}
_SHOWN_DIMENSIONS = 64


def evaluate_vae(question: Question) -> Findings:
    """Measure a Gaussian VAE."""
    run, split = question.run.of(GaussianVAE), question.split
    count = question.flags.importance_samples
    measurement = measure(
        run.model,
        split,
        run.preparation.levels,
        evaluation_noise(run.model, split.name, run.seed),
        importance_samples=IMPORTANCE_SAMPLES if count is None else count,
        progress=question.progress,
    )
    return Findings(
        measurement.num_images,
        _record(measurement),
        [_table(measurement)],
        [_dimensions_line(measurement)],
        _remarks(measurement, question.known),
    )


def _remarks(measurement: VAEMeasurement, known: bool) -> list[str]:
    """What one must know to read the numbers right."""
    remarks = []
    if measurement.levels is None:
        remarks.append(
            "The data is continuous: bits/dim is that of a density on the range [0, 1], without "
            "log₂(levels). It may be negative, and compares only with others on this scale."
        )
    if known and measurement.num_images > 1:  # one image alone makes no latent vary
        latent_dim = len(measurement.mean_variance)
        kl = dict(measurement)["KL"]
        remarks += filter(None, [collapse_warning(kl, measurement.active_units, latent_dim)])
    return remarks


def _table(measurement: VAEMeasurement) -> Table:
    from rich.table import Table

    table = Table("", header_style="bold")
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("± standard error", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    errors = measurement.standard_errors()
    for name, value in measurement:
        if name == "active units":
            unit = f"of {len(measurement.mean_variance)} latent dimensions"
            table.add_row(name, f"{value:.0f}", "", unit)
            continue
        error = errors.get(name, math.nan)
        digits = 1 if abs(value) >= 1000 else 2 if abs(value) >= 100 else 4
        unit = _UNITS.get(name.split()[-1], "nats per image")
        shown_error = "" if math.isnan(error) else f"{error:.{digits}f}"
        table.add_row(name, f"{value:.{digits}f}", shown_error, unit)
    return table


def _dimensions_line(measurement: VAEMeasurement) -> str:
    """KL of each latent dimension, largest first, in rows of 16."""
    values = sorted(measurement.kl_per_dimension.tolist(), reverse=True)
    shown = [f"{value:6.2f}" for value in values[:_SHOWN_DIMENSIONS]]
    lines = ["KL of each latent dimension in nats, largest first:"]
    lines += ["".join(shown[start : start + 16]) for start in range(0, len(shown), 16)]
    if rest := values[_SHOWN_DIMENSIONS:]:
        lines.append(f"  … and {len(rest)} more, {sum(rest):.2f} nats together")
    return "\n".join(lines)


def _record(measurement: VAEMeasurement) -> dict[str, Any]:
    return {
        "numbers_per_image": measurement.num_dims,
        "levels": measurement.levels,
        "metrics": dict(measurement),
        "standard_errors": measurement.standard_errors(),
        "kl_per_dimension": measurement.kl_per_dimension.tolist(),
    }
