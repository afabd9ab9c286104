"""``visarch interpolate``: from one picture to another through the latent space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from visarch.errors import UserError

if TYPE_CHECKING:
    from visarch.data import Split
    from visarch.models.vae import GaussianVAE
    from visarch.run import Run


@dataclass(frozen=True)
class Interpolate:
    """Walk from one picture to another through the latent space.

    The row begins and ends with the two pictures; between them, the decoder's means along the
    straight line from f(a) to f(b).
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    a: Positional[str]
    """An image file; or a number, counted from 0: that image of the run's held-out ones."""
    b: Positional[str]
    """Another."""
    steps: int = 10
    """How many pictures to make on the way, both ends included."""
    out: Path | None = None
    """The .png to write, or a folder; by default outputs/ in the run folder."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise UserError(f"--steps is {self.steps}; it must be at least 2.")

    def main(self) -> None:
        import torch

        from visarch.data import to_unit
        from visarch.inference.vae import interpolate
        from visarch.models.vae import GaussianVAE
        from visarch.outputs import KEYS, place, save_picture, save_values
        from visarch.pictures import strip
        from visarch.run import load_run
        from visarch.terminal import note

        run = load_run(self.run, self.device).of(GaussianVAE)
        if run.assumption:
            note(run.assumption)
        ends = _ends(run, self.a, self.b)
        name = f"interpolation {Path(self.a).stem} {Path(self.b).stem}"
        path = place(run, self.out, name, ".png")

        levels = run.preparation.levels
        images = interpolate(run.model, ends, levels, self.steps)
        first, last = to_unit(ends.read(torch.arange(2)).images, levels)
        facts = {"from": ends.names[0], "to": ends.names[1]}
        save_picture(path, strip(first, images, last), facts)
        files = [path, *save_values(path, {KEYS[run.preparation.ndim]: images}, run.preparation)]
        print(f"{self.steps} steps from {' to '.join(ends.names)}: {', '.join(map(str, files))}")


def _ends(run: Run[GaussianVAE], a: str, b: str) -> Split:
    """The two pictures in one split of two."""
    import torch

    from visarch.data import Split, load_images

    numbers = [which for which in (a, b) if _is_number(which)]
    if numbers and run.data is None:
        raise UserError(
            f"{numbers[0]} counts the images of a run's data, and {run.source} is a model without "
            "its run folder: give image files."
        )
    if len(numbers) < 2 and run.preparation.ndim != 2:
        raise UserError(
            f"The model works on {run.preparation.ndim}-d data, of which there are no image files: "
            f"say which of the held-out samples to take by a number, not by {a!r} and {b!r}."
        )
    own = run.held_out(run.open_data()) if numbers else None
    ends = []
    for which in (a, b):
        if own is None or not _is_number(which):
            ends.append(load_images([which], run.preparation))
        elif 0 <= int(which) < len(own):
            ends.append(own.take(own.name, [int(which)]))
        else:
            raise UserError(
                f"There is no image {which}: the held-out ones of {run.data} are numbered from 0 "
                f"to {len(own) - 1}."
            )
    images = torch.cat([end.read(torch.zeros(1, dtype=torch.int64)).images for end in ends])
    return Split("ends", images, None, [end.names[0] for end in ends])


def _is_number(which: str) -> bool:
    return which.removeprefix("-").isdecimal()
