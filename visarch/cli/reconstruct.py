"""``visarch reconstruct``: pictures beside what a trained run makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from tyro.conf import Positional, arg

from visarch.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

_COUNT = 32


@dataclass(frozen=True)
class Reconstruct:
    """Show pictures beside what a trained run makes of them.

    Each row of originals x stands above the row of their reconstructions g(f(x)). A table tells how
    far apart the two are (root-mean-square error on the scale from 0 to 1), and the ELBO of x.
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    data: Positional[tuple[str, ...]] = ()
    """Image files, or data as `visarch train --data` takes it; by default the held-out images."""
    count: Annotated[int | None, arg(aliases=["-n"])] = None
    """How many to show at most; by default 32, or all of the files that are named."""
    out: Path | None = None
    """The .png to write, or a folder; by default outputs/ in the run folder."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UserError(f"--count is {self.count}; it must be at least 1.")

    def main(self) -> None:
        from visarch.data import Split
        from visarch.inference.noise import evaluation_noise
        from visarch.inference.splits import spread
        from visarch.inference.vae import measure, reconstruct
        from visarch.models.vae import GaussianVAE
        from visarch.objectives.elbo import bits_per_dim
        from visarch.outputs import place, save_picture, save_values, values_beside
        from visarch.pictures import beside
        from visarch.run import load_run
        from visarch.terminal import note, note_skipped, progress, tell

        run = load_run(self.run, self.device).of(GaussianVAE)
        if run.assumption:
            note(run.assumption)
        with progress("reading images") as advance:
            data = run.open_inputs(self.data, advance)
        if isinstance(data, Split):
            split, source = data, "files"
            count = self.count or len(split)
        else:
            note_skipped(data)
            split, source = run.held_out(data), data.source
            count = self.count or _COUNT
        positions = spread(len(split), count)
        split = split.take(split.name, positions)
        name, more = f"reconstructions {Path(source).stem}", values_beside(run.preparation)
        path = place(run, self.out, name, ".png", beside=more)

        levels = run.preparation.levels
        originals, reconstructions = reconstruct(run.model, split, levels)
        noise = evaluation_noise(run.model, split.name, run.seed)
        bounds = measure(run.model, split, levels, noise).bound
        errors = (originals - reconstructions).square().flatten(1).mean(1)
        rows = [
            Row(number, name, error**0.5, bound, bits_per_dim(bound, originals[0].numel(), levels))
            for number, name, error, bound in zip(
                positions, split.names, errors.tolist(), bounds.tolist(), strict=True
            )
        ]

        save_picture(path, beside(originals, reconstructions), {"data": source})
        values = {"originals": originals, "reconstructions": reconstructions}
        files = [path, *save_values(path, values, run.preparation)]
        record = {
            "run": run.source,
            "data": source,
            "split": split.name,
            "images": [row._asdict() for row in rows],
            "files": [str(file) for file in files],
        }
        written = f"Originals and reconstructions of {source}: {', '.join(map(str, files))}"
        tell(record, [_table(rows), written])


class Row(NamedTuple):
    """What is told of one image."""

    number: int
    """Its place in the split, or among the files. `visarch interpolate` knows a run's own held-out
    images by it."""
    name: str
    rmse: float
    elbo: float
    bits_per_dim: float


def _table(rows: list[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("number", "image", header_style="bold")
    for heading in ("rmse", "ELBO in nats", "bits/dim"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, name, *values in rows:
        table.add_row(str(number), Text(name), *_spelled(*values))
    if len(rows) > 1:
        table.add_section()
        rmse = (sum(row.rmse**2 for row in rows) / len(rows)) ** 0.5
        nats, bits = (
            sum(values) / len(rows)
            for values in ([row.elbo for row in rows], [row.bits_per_dim for row in rows])
        )
        table.add_row("", "all", *_spelled(rmse, nats, bits))
    return table


def _spelled(rmse: float, nats: float, bits: float) -> tuple[str, ...]:
    return f"{rmse:.4f}", f"{nats:.1f}", f"{bits:.3f}"
