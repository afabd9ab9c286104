"""``visarch sample``: new pictures from a trained run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from visarch.errors import UserError


@dataclass(frozen=True)
class Sample:
    """Draw new pictures from a trained run.

    Shows the decoder's means g(z) for z ~ N(0, I) in one grid. Picture number k depends on the seed
    alone, not on how many are drawn.
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    count: Annotated[int, arg(aliases=["-n"])] = 64
    """How many pictures to draw."""
    seed: int | None = None
    """Which pictures to draw; by default the seed of the training."""
    noise: bool = False
    """Draw from the model itself, x = g(z) + σ(z) η, not only its means."""
    columns: int | None = None
    """How many pictures are in a row; by default as many as there are rows."""
    separate: bool = False
    """Write each picture into a file of its own, too."""
    out: Path | None = None
    """The .png to write, or a folder; by default outputs/ in the run folder."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        for name, minimum in (("count", 1), ("columns", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"--{name} is {value}; it must be at least {minimum}.")

    def main(self) -> None:
        from visarch.inference.vae import sample
        from visarch.models.vae import GaussianVAE
        from visarch.outputs import KEYS, place, save_picture, save_values
        from visarch.pictures import grid, tile, to_picture
        from visarch.run import load_run
        from visarch.terminal import note

        run = load_run(self.run, self.device).of(GaussianVAE)
        if run.assumption:
            note(run.assumption)
        seed = run.seed if self.seed is None else self.seed
        kind = "samples with noise" if self.noise else "samples"
        path = place(run, self.out, f"{kind} {self.count} seed {seed}", ".png")

        images = sample(run.model, self.count, seed, noise=self.noise)
        columns = self.columns or math.ceil(math.sqrt(self.count))
        facts = {"seed": str(seed), "noise": "yes" if self.noise else "no"}
        save_picture(path, grid(images, columns), facts)
        files = [path, *save_values(path, {KEYS[run.preparation.ndim]: images}, run.preparation)]
        if self.separate:
            folder = path.with_suffix("")
            folder.mkdir(exist_ok=True)
            draw = to_picture if run.preparation.ndim == 2 else tile
            for number, image in enumerate(images):
                own = folder / f"{number:04d}.png"
                save_picture(own, draw(image), {**facts, "number": str(number)})
            files.append(folder)
        print(f"Drawn from seed {seed}: {', '.join(map(str, files))}")
