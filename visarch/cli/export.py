"""``visarch export``: a trained model as files that run without visarch."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from tyro.conf import Positional

from visarch.errors import UserError
from visarch.training.atomic import side_of

if TYPE_CHECKING:
    from visarch.data import Split
    from visarch.export.writing import Export as Written
    from visarch.inference.recipe import Recipe
    from visarch.run import Run


@dataclass(frozen=True)
class Export:
    """Write a trained model to files that run without visarch, once they agree with it.

    A classifier becomes a graph from raw images of any size and number to probabilities; a VAE
    becomes an encoder and a decoder; a diffusion model becomes a whole sampler. Each is run beside
    the model on real images, and if they disagree nothing is written.
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    format: Literal["onnx", "torch"] = "onnx"
    """For ONNX Runtime and others (.onnx), or for torch.export.load (.pt2)."""
    data: str | None = None
    """Images to check with, as `visarch train --data` takes them; by default the run's own that it
    was not trained on. A diffusion model needs none."""
    sampler: Literal["ddim", "heun", "dpm++"] | None = None
    """Diffusion: DDIM, Heun's method or DPM-Solver++(2M); by default that of the training, as for
    what follows."""
    steps: int | None = None
    """Diffusion: steps of the sampler."""
    guidance: float | None = None
    """Diffusion: w of (1 + w) · with label − w · without, which then is an input as well; 0 leaves
    it out, and halves the work."""
    out: Path | None = None
    """The folder to write to; by default outputs/onnx or outputs/torch in the run folder."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps is {self.steps}; it must be at least 1.")
        if self.guidance is not None and not -1 <= self.guidance < float("inf"):
            raise UserError(f"--guidance is {self.guidance}; it must be at least -1.")
        if self.out is not None and (self.out.is_file() or self.out.suffix in (".onnx", ".pt2")):
            raise UserError(f"--out {self.out} must be a folder, for there may be several files.")

    def main(self) -> None:
        from visarch.cli.flags import refuse_foreign
        from visarch.export.files import require
        from visarch.export.writing import export, files_of, plan
        from visarch.outputs import refuse_existing
        from visarch.run import load_run
        from visarch.terminal import note, tell

        require(self.format)
        run = load_run(self.run, "cpu")
        of_diffusion = dict.fromkeys(("sampler", "steps", "guidance"), "diffusion")
        refuse_foreign(self, run.task, of_diffusion)
        if run.assumption:
            note(run.assumption)
        recipe = self._recipe(run) if run.task == "diffusion" else None
        split = None if recipe else self._images(run)
        planned = plan(run, split, recipe)
        folder = self._folder(run)
        if self.out is not None:
            refuse_existing(*files_of(planned, self.format, folder))
        with _ended_by_signals(folder):
            written = export(run, self.format, folder, planned, print)
        tell(_told(written), [f"Written: {', '.join(map(str, written.files))}"])

    def _images(self, run: Run[Any]) -> Split:
        """What the check is to be made with."""
        from visarch.terminal import progress

        with progress("reading images") as tell:
            return run.held_out(run.open_data(self.data, tell))

    def _recipe(self, run: Run[Any]) -> Recipe:
        """The model's own, with what is asked for."""
        from visarch.cli.sample_diffusion import with_flags
        from visarch.inference.recipe import recipe_of

        if self.data is not None:
            raise UserError(
                f"--data {self.data}: a diffusion model is checked with the images that it draws, "
                "and needs no others: leave it out."
            )
        return with_flags(recipe_of(run), self)

    def _folder(self, run: Run[Any]) -> Path:
        if self.out is not None:
            return self.out if self.out.name else self.out.resolve()  # as of "."
        if run.folder is not None:
            return run.folder / "outputs" / self.format
        return Path(f"{Path(run.source).resolve().name}-{self.format}")


@contextmanager
def _ended_by_signals(folder: Path) -> Iterator[None]:
    """Ctrl-C or a polite kill removes what is being written and ends the process on the spot: an
    exception would have to find its way out of compiled code."""
    side = side_of(folder)
    missing = [parent for parent in folder.parents if not parent.exists()]

    def end(number: int, frame: object) -> NoReturn:
        shutil.rmtree(side, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()
        print("visarch: interrupted, and nothing was written.", file=sys.stderr, flush=True)
        os._exit(128 + number)

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _told(written: Written) -> dict[str, Any]:
    from visarch.export.checking import to_dict

    return {
        "files": [str(file) for file in written.files],
        "checks": [to_dict(agreement) for agreement in written.agreements],
    }
