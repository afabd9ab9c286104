"""``visarch sample``: new pictures from a trained run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from visarch.errors import UserError
from visarch.training.diffusion import SamplerName

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visarch.inference.processes import Team
    from visarch.run import Run

_OF_DIFFUSION = (
    *("sampler", "steps", "label", "vector", "guidance"),
    *("film", "inpaint", "mask", "rounds", "precision"),
)
_SHORTEST_FRAME, _LONGEST_FRAME, _FILM, _LAST_FRAME = 50, 200, 3000, 2000
"""Milliseconds: of a film's frames, of all of them, and of the last one beside."""


@dataclass(frozen=True)
class Drawn:
    """Pictures, and what is to be written and said of them."""

    images: Tensor
    """(n, C, *spatial) on the unit scale."""
    said: str
    """How they came about, for the line on stdout."""
    facts_of: Callable[[int], Mapping[str, str]] = lambda number: {}
    """What is kept in the picture of one beside the facts of all."""
    film: Tensor | None = None
    """(frames, n, C, *spatial)."""
    before: Tensor | None = None
    """What is shown before them: (m, C, *spatial)."""


@dataclass(frozen=True)
class Plan:
    """Pictures that are to be drawn."""

    name: str
    """Of the file."""
    facts: Mapping[str, str]
    """What is kept in each picture."""
    columns: int
    draw: Callable[[], Drawn]


@dataclass(frozen=True)
class Question:
    """What is to be drawn from what."""

    run: Run[nn.Module]
    flags: Sample
    seed: int
    team: Team


@dataclass(frozen=True)
class Sample:
    """Draw new pictures from a trained run.

    With no other flag, the grid that was drawn at the end of training comes out. Picture number k
    depends on the seed and on what is asked for, not on how many are drawn, nor by how many
    processes (`accelerate launch -m visarch sample RUN`).
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    count: Annotated[int | None, arg(aliases=["-n"])] = None
    """How many pictures to draw; by default as many as in training."""
    seed: int | None = None
    """Which pictures to draw; by default the seed of the training."""
    noise: bool = False
    """VAE: draw from the model itself, x = g(z) + σ(z) η, not only its means g(z)."""
    sampler: SamplerName | None = None
    """Diffusion: ancestral (ddpm), DDIM, Heun's method or DPM-Solver++(2M); by default that of the
    training, as for what follows."""
    steps: int | None = None
    """Diffusion: steps of the sampler."""
    label: tuple[str, ...] | None = None
    """Diffusion: classes which the pictures are asked to be of in turn, by name, or by number where
    none is called by one; none asks for no class."""
    vector: tuple[float, ...] | None = None
    """Diffusion: the context vector, as in the data."""
    guidance: float | None = None
    """Diffusion: w of (1 + w) · with label − w · without; 0 leaves it out."""
    film: bool = False
    """Diffusion: write a GIF of how noise becomes pictures, too."""
    inpaint: str | None = None
    """Diffusion: an image file, or the number of a held-out image, to make a part of anew."""
    mask: Path | None = None
    """The picture of that part, which is white in it, as large as the image; or an .npy array of
    the sample's sides that is not 0 there."""
    rounds: int | None = None
    """How often --inpaint goes over each step, to fit the new part to the old one; by default 5."""
    precision: Literal["fp32", "bf16"] | None = None
    """Diffusion: of the network's heavy operations; by default bf16 where the device has units for
    it."""
    columns: int | None = None
    """How many pictures are in a row; by default one for each class, or as many as rows."""
    separate: bool = False
    """Write each picture into a file of its own, too."""
    out: Path | None = None
    """The .png to write, or a folder; by default outputs/ in the run folder."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        for name, minimum in (
            *(("count", 1), ("columns", 1), ("seed", 0), ("steps", 1), ("rounds", 1)),
            ("guidance", -1),
        ):
            value = getattr(self, name)
            if value is not None and not minimum <= value < math.inf:
                raise UserError(f"--{name} is {value}; it must be at least {minimum}.")
        if (self.inpaint is None) != (self.mask is None):
            given, missing = ("mask", "inpaint") if self.inpaint is None else ("inpaint", "mask")
            raise UserError(
                f"--{given} needs --{missing} beside it: the image, and the part to make anew."
            )
        if self.rounds is not None and self.inpaint is None:
            raise UserError(f"--rounds {self.rounds} is for --inpaint: leave it out.")

    def main(self) -> None:
        from visarch.cli.flags import refuse_foreign
        from visarch.inference.processes import Team
        from visarch.models.unet import Denoiser
        from visarch.models.vae import GaussianVAE
        from visarch.outputs import place, values_beside
        from visarch.run import load_run
        from visarch.terminal import note, tell

        with Team(self.device) as team:
            run = load_run(self.run, team.device)
            run.of(GaussianVAE, Denoiser)
            refuse_foreign(
                self, run.task, {"noise": "vae"} | dict.fromkeys(_OF_DIFFUSION, "diffusion")
            )
            if run.assumption and team.is_main:
                note(run.assumption)
            seed = run.seed if self.seed is None else self.seed
            plan = _plan(Question(run, self, seed, team))
            beside = values_beside(run.preparation) + (".gif",) * self.film + ("",) * self.separate
            path = place(run, self.out, plan.name, ".png", beside=beside)
            drawn = plan.draw()
            if team.is_main:
                files = _write(run, plan, drawn, path, separate=self.separate)
                record = {
                    "run": run.source,
                    "seed": seed,
                    "images": len(drawn.images),
                    "facts": plan.facts,
                    "files": [str(file) for file in files],
                }
                written = ", ".join(map(str, files))
                tell(record, [f"Drawn from seed {seed}{drawn.said}: {written}"])


def _plan(question: Question) -> Plan:
    """What the run's task draws."""
    from visarch.cli.sample_diffusion import plan_diffusion
    from visarch.cli.sample_vae import plan_vae

    return {"vae": plan_vae, "diffusion": plan_diffusion}[question.run.task](question)


def _write(
    run: Run[nn.Module], plan: Plan, drawn: Drawn, path: Path, *, separate: bool
) -> list[Path]:
    """The grid, and whatever else was asked for."""
    import torch

    from visarch.outputs import KEYS, save_film, save_picture, save_values
    from visarch.pictures import grid, tile, to_picture

    def sheet(images: Tensor) -> Tensor:
        return images if drawn.before is None else torch.cat([drawn.before, images])

    save_picture(path, grid(sheet(drawn.images), plan.columns), plan.facts)
    files = [path]
    if drawn.film is not None:
        files.append(path.with_suffix(".gif"))
        frames = [grid(sheet(images), plan.columns) for images in drawn.film]
        each = min(max(_FILM // len(frames), _SHORTEST_FRAME), _LONGEST_FRAME)
        save_film(files[-1], frames, each, _LAST_FRAME, plan.facts)
    files += save_values(path, {KEYS[run.preparation.ndim]: drawn.images}, run.preparation)
    if separate:
        folder = path.with_suffix("")
        folder.mkdir(exist_ok=True)
        draw = to_picture if run.preparation.ndim == 2 else tile
        for number, image in enumerate(drawn.images):
            facts = {**plan.facts, **drawn.facts_of(number), "number": str(number)}
            save_picture(folder / f"{number:04d}.png", draw(image), facts)
        files.append(folder)
    return files
