"""``visarch evaluate``: how well a trained run explains images that it has not seen."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from visarch.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from visarch.data import Data, Split
    from visarch.evaluation.vae import VAEMeasurement
    from visarch.run import Run

_UNITS = {"bits/dim": "bits", "rmse": "of the range [0, 1]", "sigma": "of the range [0, 1]"}
_SHOWN_DIMENSIONS = 64


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on held-out data.

    Bounds are in nats for each image and in bits for each number in it, with the standard error
    over the images. The same numbers as at the end of training come out, and a tighter bound from
    several samples (importance weighting).
    """

    run: Positional[str]
    """The run folder; or, with --data, a model folder or a hub id."""
    data: str | None = None
    """Other data than the run's own: digits, a folder, or an .npz/.npy file."""
    split: Literal["test", "validation", "train", "all"] | None = None
    """Which part of the data; by default test, or validation where there is no test."""
    importance_samples: int = 64
    """K: posterior samples of each image for the importance-weighted bound; 0 leaves it out."""
    json: bool = False
    """Print the results as JSON."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        if self.importance_samples < 0:
            raise UserError(
                f"--importance-samples is {self.importance_samples}; it must be at least 0."
            )

    def main(self) -> None:
        from visarch.inference.vae import evaluation_noise, measure
        from visarch.run import load_run
        from visarch.terminal import note_skipped, print_table, progress

        run = load_run(self.run, self.device)
        with progress("reading images") as tell:
            data = run.open_data(self.data, tell)
        note_skipped(data)
        split = self._choose_split(data)
        with progress("measuring") as tell:
            measurement = measure(
                run.model,
                split,
                run.preparation.levels,
                evaluation_noise(run.model, split.name, run.seed),
                importance_samples=self.importance_samples,
                progress=tell,
            )

        remarks = _remarks(run, data, measurement)
        if self.json:
            record = _record(run, data, split.name, measurement) | {"remarks": remarks}
            print(json.dumps(record, ensure_ascii=False, indent=2))
            return
        print(f"{self.run} on {data.source}: {split.name}, n = {measurement.num_images}")
        print_table(_table(measurement))
        print(_dimensions_line(measurement))
        for remark in remarks:
            print(remark)

    def _choose_split(self, data: Data) -> Split:
        from visarch.inference.splits import every_sample, held_out

        if self.split is None:
            return held_out(data)
        if self.split == "all":
            return every_sample(data)[0]
        if self.split in data.splits:
            return data.splits[self.split]
        there = ", ".join([*data.splits, "all"])
        raise UserError(f"{data.source} has no split {self.split}; it has {there}.")


def _remarks(run: Run, data: Data, measurement: VAEMeasurement) -> list[str]:
    """What one must know to read the numbers right."""
    from visarch.evaluation.vae import collapse_warning

    known = run.is_trained_on(data)
    changed = not known and data.source == run.data
    foreign = not known and not changed and run.data is not None
    remarks = [] if run.assumption is None else [run.assumption]
    if changed:
        remarks.append(
            f"{data.source} has changed since the run was trained on it: its fingerprint is "
            "another than in data.json."
        )
    if foreign:
        remarks.append(f"{data.source} is not what the run was trained on, {run.data}.")
    if measurement.levels is None:
        remarks.append(
            "The data is continuous: bits/dim is that of a density on the range [0, 1], without "
            "log₂(levels). It may be negative, and compares only with others on this scale."
        )
    if not foreign and measurement.num_images > 1:  # one image alone makes no latent vary
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


def _record(run: Run, data: Data, split: str, measurement: VAEMeasurement) -> dict[str, Any]:
    errors = measurement.standard_errors()
    return {
        "run": run.source,
        "data": data.source,
        "trained_on_this_data": run.is_trained_on(data),
        "split": split,
        "images": measurement.num_images,
        "numbers_per_image": measurement.num_dims,
        "levels": measurement.levels,
        "metrics": dict(measurement),
        "standard_errors": {
            name: None if math.isnan(error) else error for name, error in errors.items()
        },
        "kl_per_dimension": measurement.kl_per_dimension.tolist(),
        "skipped": [{"name": name, "why": why} for name, why in data.skipped],
    }
