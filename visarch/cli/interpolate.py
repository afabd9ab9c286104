"""``visarch interpolate``: from one picture to another, on a way that the model knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from visarch.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from visarch.run import Run


@dataclass(frozen=True)
class Way:
    """The pictures on a way, and its ends."""

    images: Tensor
    """(steps, C, *spatial) on the unit scale."""
    ends: Tensor | None
    """The two pictures it leads from and to (2, C, *spatial), where they are not among these."""
    names: tuple[str, str]
    """What the ends are called."""
    facts: Mapping[str, str]
    """What is kept in the picture beside these."""
    said: str = ""
    """How it came about, for the line on stdout."""


@dataclass(frozen=True)
class Question:
    """A way to walk."""

    run: Run[nn.Module]
    flags: Interpolate


@dataclass(frozen=True)
class Interpolate:
    """Walk from one picture to another on a way that the model knows.

    VAE: the row begins and ends with the two pictures; between them, the decoder's means along the
    straight line from f(a) to f(b). Diffusion: the same along an arc, from the noise that makes the
    one to the noise that makes the other.
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    a: Positional[str]
    """An image file; or a number, counted from 0: that image of the run's held-out ones; or, for
    diffusion, seed:3, the first picture that `visarch sample` draws from that seed."""
    b: Positional[str]
    """Another."""
    steps: int = 10
    """How many pictures to make on the way, both ends included."""
    label: tuple[str, ...] | None = None
    """Diffusion: classes of both ends, or one for both, named as for `visarch sample`; by default
    those of the images where they are known."""
    vector: tuple[float, ...] | None = None
    """Diffusion: the context vector of both ends."""
    out: Path | None = None
    """The .png to write, or a folder; by default outputs/ in the run folder."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise UserError(f"--steps is {self.steps}; it must be at least 2.")
        if self.label is not None and len(self.label) > 2:
            raise UserError(
                f"--label has {len(self.label)} classes; give one for both ends, or one for each."
            )

    def main(self) -> None:
        from visarch.cli.flags import refuse_foreign
        from visarch.models.unet import Denoiser
        from visarch.models.vae import GaussianVAE
        from visarch.outputs import KEYS, place, save_picture, save_values, values_beside
        from visarch.pictures import grid, strip
        from visarch.run import load_run
        from visarch.terminal import note, tell

        run = load_run(self.run, self.device)
        run.of(GaussianVAE, Denoiser)
        refuse_foreign(self, run.task, {"label": "diffusion", "vector": "diffusion"})
        if run.assumption:
            note(run.assumption)
        a, b = (Path(end).stem.replace(":", " ") for end in (self.a, self.b))
        beside = values_beside(run.preparation)
        path = place(run, self.out, f"interpolation {a} {b}", ".png", beside=beside)

        way = _walk(Question(run, self))
        if way.ends is None:
            picture = grid(way.images, len(way.images))
        else:
            picture = strip(way.ends[0], way.images, way.ends[1])
        save_picture(path, picture, {"from": way.names[0], "to": way.names[1], **way.facts})
        values = {KEYS[run.preparation.ndim]: way.images}
        files = [path, *save_values(path, values, run.preparation)]
        record = {
            "run": run.source,
            "from": way.names[0],
            "to": way.names[1],
            "images": len(way.images),
            "facts": way.facts,
            "files": [str(file) for file in files],
        }
        said = f"{self.steps} steps from {' to '.join(way.names)}{way.said}"
        tell(record, [f"{said}: {', '.join(map(str, files))}"])


def _walk(question: Question) -> Way:
    """The way that the run's task knows."""
    from visarch.cli.interpolate_diffusion import walk_diffusion
    from visarch.cli.interpolate_vae import walk_vae

    return {"vae": walk_vae, "diffusion": walk_diffusion}[question.run.task](question)
