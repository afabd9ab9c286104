"""What `visarch evaluate` tells of a diffusion model: its loss, a bound on the likelihood, where in
the noise it errs, and how far what it draws lies from real images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from visarch.cli.evaluate import Evaluate, Findings, Question
from visarch.cli.sample_diffusion import check_guidance, with_flags
from visarch.data import Split
from visarch.errors import UserError
from visarch.evaluation.diffusion import DiffusionMeasurement
from visarch.evaluation.features import FeatureMeasurement, measure_features
from visarch.evaluation.intervals import wilson_interval
from visarch.inference.diffusion import condition_of, mean_loss, measure, sample
from visarch.inference.features import FeatureNetwork, open_features
from visarch.inference.generated import store
from visarch.inference.noise import evaluation_noise
from visarch.inference.recipe import Condition, Recipe, recipe_of
from visarch.inference.splits import representatives, spread
from visarch.models.unet import Denoiser
from visarch.run import Run
from visarch.training.randomness import derive_seed

if TYPE_CHECKING:
    from rich.table import Table

_TIMES, _MOST_IMAGES = 20, 1000
_MOST_SAMPLES, _FEWEST_SAMPLES = 1000, 12
_MEANINGS = {
    "loss": "as while training",
    "bits/dim": "at most, for each number in an image",
    "prior bits/dim": "of it, for what noise shows of the image at the end of time",
    "diffusion bits/dim": "for the steps from noise to image",
    "reconstruction bits/dim": "for the image's levels after the last step",
    "ELBO": "nats per image",
}


@dataclass(frozen=True)
class Compared:
    """What was found out about samples beside real images."""

    recipe: Recipe
    """How they were drawn."""
    evaluations: int
    measured: FeatureMeasurement
    reader: str
    """The classifier that reads them."""
    right: int
    """How many it reads as what was asked for, of so many that were asked to be something."""
    asked: int

    @property
    def share(self) -> tuple[float, float, float]:
        """Of those read as asked for: the value, and its 95 % interval."""
        low, high = wilson_interval(torch.tensor(self.right), torch.tensor(self.asked))
        return self.right / self.asked, float(low), float(high)


def evaluate_diffusion(question: Question) -> Findings:
    """Measure a diffusion model.

    Raises:
        UserError: what was asked for does not fit the model or the data.
    """
    run, split, flags = question.run.of(Denoiser), question.split, question.flags
    recipe = recipe_of(run)
    network = _network(run, flags)
    if network:
        network.embed(split.take(split.name, [0]))  # what cannot be is known before it takes time
    count = _count(flags, split) if network else 0
    drawn, condition = with_flags(recipe, flags), _asked(run, split, count)
    check_guidance(run, drawn, flags, condition)
    times, levels = flags.times or _TIMES, run.preparation.levels
    noise = evaluation_noise(run.model, split.name, run.seed)
    loss = mean_loss(run.model, recipe, split, levels, noise)

    some = split.take(split.name, representatives(len(split), flags.images or _MOST_IMAGES))

    def tell(before: int) -> Callable[[int, int], None]:
        return lambda done, total: question.progress(before + done, len(some) + count)

    measured = measure(run.model, recipe, some, levels, noise, num_times=times, progress=tell(0))
    compared = None
    if network:
        compared = _compare(run, drawn, split, condition, count, network, tell(len(some)))
    remarks = []
    if len(some) < len(split):
        remarks.append(
            f"The bound is that of {len(some):,} of the {len(split):,} images, evenly spread: "
            f"--images {len(split)} takes all."
        )
    if levels is None:
        remarks.append(
            "The data is continuous: bits/dim is that of a density on the range [0, 1], without "
            "log₂(levels). It may be negative, and compares only with others on this scale."
        )
    return Findings(
        len(split),
        _record(loss, measured, times, compared),
        [
            _table(loss, measured),
            _band_table(measured, recipe),
            *([_compared_table(compared)] if compared else []),
        ],
        _lines(compared),
        remarks,
    )


def _network(run: Run[Denoiser], flags: Evaluate) -> FeatureNetwork | None:
    if flags.features is not None:
        return open_features(flags.features, run.preparation, flags.device)
    for name in ("samples", "sampler", "steps", "guidance", "precision"):
        if (value := getattr(flags, name)) is not None:
            raise UserError(
                f"--{name} {value} is for the samples that --features compares with real images: "
                "add --features RUN, a classifier of them, or leave it out."
            )
    return None


def _count(flags: Evaluate, split: Split) -> int:
    """How many samples to draw, if they can be compared at all."""
    if len(split) < _FEWEST_SAMPLES:
        raise UserError(
            f"--features {flags.features} compares samples with the {len(split)} {split.name} "
            f"images; that takes at least {_FEWEST_SAMPLES} of them."
        )
    return flags.samples or max(_FEWEST_SAMPLES, min(len(split), _MOST_SAMPLES))


def _asked(run: Run[Denoiser], split: Split, count: int) -> Condition:
    """What so many samples are asked to be: what all real images are, and some evenly spread."""
    rounds, rest = divmod(count, len(split))
    places = [*range(len(split))] * rounds + spread(len(split), rest)
    return condition_of(run.model, split).take(torch.tensor(places, dtype=torch.int64))


def _compare(
    run: Run[Denoiser],
    recipe: Recipe,
    split: Split,
    condition: Condition,
    count: int,
    network: FeatureNetwork,
    progress: Callable[[int, int], None],
) -> Compared:
    """Samples that are asked to be what the real images are, beside these."""
    recipe = replace(recipe, guidance=recipe.guidance_for(condition))
    images, _ = sample(
        run.model,
        recipe,
        run.preparation.shape,
        range(count),
        run.seed,
        condition,
        progress=progress,
    )
    names = [f"sample {number}" for number in range(count)]
    generated = Split("generated", store(images, run.preparation), condition.labels, names)
    measured = measure_features(
        network.embed(split),
        network.embed(generated),
        network=network.name,
        split=split.name,
        generator=torch.Generator().manual_seed(derive_seed("halves", run.seed)),
    )
    right, asked = _read(run, network, generated)
    return Compared(
        recipe, recipe.evaluations(condition), measured, network.name or "", right, asked
    )


def _read(run: Run[Denoiser], network: FeatureNetwork, generated: Split) -> tuple[int, int]:
    """How many samples are read as what they were asked to be, and how many can be."""
    theirs, ours = network.classes, run.classes
    if generated.labels is None or not network.read or not theirs or not ours:
        return 0, 0
    positions = torch.tensor([theirs.index(name) if name in theirs else -1 for name in ours])
    asked = torch.where(generated.labels >= 0, positions[generated.labels], -1)
    right = (network.read(generated) == asked) & (asked >= 0)
    return int(right.sum()), int((asked >= 0).sum())


def _table(loss: float, measured: DiffusionMeasurement) -> Table:
    from rich.table import Table

    table = Table("", header_style="bold")
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_column("± standard error", justify="right", no_wrap=True)
    table.add_column("meaning", no_wrap=True)
    errors = measured.standard_errors()
    for name, value in [("loss", loss), *measured]:
        error = errors.get(name, math.nan)
        digits = 1 if name == "ELBO" else 4
        shown = "" if math.isnan(error) else f"{error:.{digits}f}"
        table.add_row(name, f"{value:.{digits}f}", shown, _MEANINGS[name])
    return table


def _band_table(measured: DiffusionMeasurement, recipe: Recipe) -> Table:
    """Errors of what the network predicts, from noise to clean."""
    from rich.table import Table

    table = Table("log-SNR", header_style="bold")
    for heading in (f"error of {_SYMBOLS[recipe.prediction]}", "± standard error", "error of x"):
        table.add_column(heading, justify="right", no_wrap=True)
    for band in measured.bands():
        table.add_row(
            f"{band.low:6.1f} to {band.high:5.1f}",
            f"{band.error[recipe.prediction]:.4f}",
            f"{band.standard_error[recipe.prediction]:.4f}",
            f"{band.error['x0']:.2e}",
        )
    return table


_SYMBOLS = {"epsilon": "ε", "x0": "x", "v": "v"}


def _compared_table(compared: Compared) -> Table:
    from rich.table import Table

    table = Table("samples beside real images", header_style="bold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    intervals = compared.measured.intervals()
    for name, value in compared.measured:
        low, high = intervals[name]
        table.add_row(name, f"{value:.4g}", f"{low:.4g} to {high:.4g}")
    if compared.asked:
        value, low, high = compared.share
        name = f"read as asked for by {compared.reader} (N={compared.asked})"
        table.add_row(name, f"{value:.2%}", f"{low:.2%} to {high:.2%}")
    return table


def _lines(compared: Compared | None) -> list[str]:
    if compared is None:
        return []
    recipe = compared.recipe
    guidance = f", guidance {recipe.guidance:g}" if recipe.guidance else ""
    return [
        f"Samples are drawn by {recipe.sampler} in {recipe.steps} steps{guidance}, which takes "
        f"{compared.evaluations} evaluations of the network for each, and are asked to be what the "
        "real images are."
    ]


def _record(
    loss: float, measured: DiffusionMeasurement, times: int, compared: Compared | None
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "numbers_per_image": measured.num_dims,
        "levels": measured.levels,
        "bound_steps": measured.num_steps,
        "bound_images": measured.num_images,
        "times_per_image": times,
        "decoding_step": measured.decoding_step,
        "metrics": {"loss": loss, **dict(measured)},
        "standard_errors": measured.standard_errors(),
        "bands": [
            {
                "log_snr": [band.low, band.high],
                "denoised": band.num_denoised,
                "error": band.error,
                "standard_error": band.standard_error,
            }
            for band in measured.bands()
        ],
    }
    if compared is not None:
        recipe = compared.recipe
        record["samples"] = {
            "sampler": recipe.sampler,
            "steps": recipe.steps,
            "guidance": recipe.guidance,
            "evaluations": compared.evaluations,
            "metrics": dict(compared.measured),
            "intervals": compared.measured.intervals(),
        }
        if compared.asked:
            value, low, high = compared.share
            record["samples"]["read_as_asked"] = {
                "reader": compared.reader,
                "value": value,
                "interval": [low, high],
                "images": compared.asked,
            }
    return record
