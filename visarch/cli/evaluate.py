"""``visarch evaluate``: how well a trained run does on images that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from visarch.errors import UserError
from visarch.training.diffusion import SamplerName

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table
    from torch import nn

    from visarch.data import Data, Split
    from visarch.run import Run


@dataclass(frozen=True)
class Findings:
    """What was measured of a run, to be printed or recorded."""

    num_images: int
    record: dict[str, Any]
    """Everything, for programs; NaN is what was not measured."""
    tables: Sequence[Table]
    lines: Sequence[str] = ()
    """Below the tables."""
    remarks: Sequence[str] = ()
    """What one must know to read the numbers right."""
    files: Sequence[Path] = ()
    """Pictures that were written."""


@dataclass(frozen=True)
class Question:
    """What is to be measured on what."""

    run: Run[nn.Module]
    data: Data
    split: Split
    known: bool
    """Whether this is the data that the run was trained on, be it in another state."""
    flags: Evaluate
    progress: Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluate:
    """Measure a trained run on held-out data.

    The same numbers as at the end of training come out, with standard errors or intervals, and what
    takes too long for every evaluation along the way.
    """

    run: Positional[str]
    """The run folder; or, with --data, a model folder or a hub id."""
    data: str | None = None
    """Other data than the run's own, as `visarch train --data` takes it."""
    split: Literal["test", "validation", "train", "all"] | None = None
    """Which part of the data; by default test, or validation where there is no test."""
    importance_samples: int | None = None
    """VAE: K, posterior samples of each image for the importance-weighted bound; 0 leaves it out,
    by default 64."""
    mirrored: bool = False
    """Classifier: average the answers to each image and to its mirror image."""
    images: int | None = None
    """Diffusion: how many of the images, which stand for all, to find the bound on the likelihood
    of; by default at most 1000."""
    times: int | None = None
    """Diffusion: at how many times each of them is denoised for it; by default 20."""
    features: str | None = None
    """Diffusion: a classifier's run, in whose features samples are compared with real images, and
    which reads them; or a file with the weights of the FID's Inception."""
    samples: int | None = None
    """Diffusion: how many samples to compare; by default as many as there are images, at most
    1000."""
    sampler: SamplerName | None = None
    """Diffusion: what draws them; by default as in training, as for what follows."""
    steps: int | None = None
    """Diffusion: steps of the sampler."""
    guidance: float | None = None
    """Diffusion: w of (1 + w) · with label − w · without; 0 leaves it out."""
    precision: Literal["fp32", "bf16"] | None = None
    """Diffusion: of the network's heavy operations while they are drawn; by default bf16 where the
    device has units for it."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        for name, minimum in (
            ("importance_samples", 0),
            ("images", 1),
            ("times", 1),
            ("samples", 12),
            ("steps", 1),
            ("guidance", -1),
        ):
            value = getattr(self, name)
            if value is not None and not minimum <= value < math.inf:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag} is {value}; it must be at least {minimum}.")

    def main(self) -> None:
        from visarch.cli.flags import refuse_foreign
        from visarch.run import load_run
        from visarch.terminal import note_skipped, progress, tell

        run = load_run(self.run, self.device)
        of_diffusion = (
            *("images", "times", "features"),
            *("samples", "sampler", "steps", "guidance", "precision"),
        )
        only = {"importance_samples": "vae", "mirrored": "classifier"}
        refuse_foreign(self, run.task, only | dict.fromkeys(of_diffusion, "diffusion"))
        with progress("reading images") as advance:
            data = run.open_data(self.data, advance, labelled=_needs_labels(run))
        note_skipped(data)
        split = self._choose_split(data)
        trained_on = run.is_trained_on(data)
        known = trained_on or data.source == run.data or run.data is None
        with progress("measuring") as advance:
            findings = _measure(Question(run, data, split, known, self, advance))

        remarks = [*_remarks(run, data, trained_on, known), *findings.remarks]
        record = {
            "run": run.source,
            "data": data.source,
            "trained_on_this_data": trained_on,
            "split": split.name,
            "images": findings.num_images,
            **findings.record,
            "skipped": [{"name": name, "why": why} for name, why in data.skipped],
            "files": [str(file) for file in findings.files],
            "remarks": remarks,
        }
        title = f"{self.run} on {data.source}: {split.name}, n = {findings.num_images}"
        tell(record, [title, *_shown(findings, remarks)])

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


def _measure(question: Question) -> Findings:
    """What the run's task has to say."""
    from visarch.cli.evaluate_classifier import evaluate_classifier
    from visarch.cli.evaluate_diffusion import evaluate_diffusion
    from visarch.cli.evaluate_vae import evaluate_vae

    measures = {
        "vae": evaluate_vae,
        "classifier": evaluate_classifier,
        "diffusion": evaluate_diffusion,
    }
    return measures[question.run.task](question)


def _shown(findings: Findings, remarks: Sequence[str]) -> Iterator[str | Table]:
    """What a reader sees of them."""
    yield from findings.tables
    yield from findings.lines
    yield from remarks
    if findings.files:
        yield f"Pictures: {', '.join(map(str, findings.files))}"


def _needs_labels(run: Run[nn.Module]) -> bool:
    """Whether the model knows classes, so that labels must be those."""
    from visarch.models.unet import Denoiser

    model = run.model
    return run.task == "classifier" or (
        isinstance(model, Denoiser) and model.context.label is not None
    )


def _remarks(run: Run[nn.Module], data: Data, trained_on: bool, known: bool) -> list[str]:
    """How the data stands to that of the training."""
    remarks = [] if run.assumption is None else [run.assumption]
    if not known:
        remarks.append(f"{data.source} is not what the run was trained on, {run.data}.")
    elif not trained_on and run.data is not None:
        remarks.append(
            f"{data.source} has changed since the run was trained on it: its fingerprint is "
            "another than in data.json."
        )
    return remarks
