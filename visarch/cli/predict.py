"""``visarch predict``: what a trained classifier reads images as, with probabilities."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from visarch.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table
    from torch import Tensor

_SHOWN = 50


@dataclass(frozen=True)
class Predict:
    """Say which classes images are of, with the probability of each.

    Images are prepared as those of the training were; a class keeps its name and number, whatever
    folder an image lies in.
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    images: Positional[tuple[str, ...]] = ()
    """Image files; or data as `visarch train --data` takes it; by default the run's own images that
    it was not trained on."""
    top: int = 5
    """How many classes to tell for each image, the likeliest first."""
    mirrored: bool = False
    """Average the answers to each image and to its mirror image."""
    out: Path | None = None
    """The .csv file to write, or a folder; by default nothing is written."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise UserError(f"--top is {self.top}; it must be at least 1.")

    def main(self) -> None:
        from visarch.data import Split
        from visarch.inference.classifier import class_names, logits
        from visarch.inference.splits import every_sample
        from visarch.models.resnet import ResNet
        from visarch.run import load_run
        from visarch.terminal import note, note_skipped, progress, tell

        run = load_run(self.run, self.device).of(ResNet)
        classes = class_names(run.model, run.classes, run.source)
        with progress("reading images") as advance:
            data = run.open_inputs(self.images, advance)
        if isinstance(data, Split):
            split = data
        else:
            note_skipped(data)
            split = every_sample(data)[0] if self.images else run.held_out(data)
        with progress("predicting") as advance:
            answers = logits(
                run.model, split, run.preparation.levels, mirrored=self.mirrored, progress=advance
            )
        best = answers.softmax(1).topk(min(self.top, len(classes)), dim=1)
        rows = _rows(split.names, best.values, best.indices, classes)
        if self.out is not None:
            note(f"Predictions of {len(rows)} images: {self._write(rows, run)}")
        tell(rows, _shown(rows) if self.out is None or len(rows) <= _SHOWN else [])

    def _write(self, rows: Sequence[dict[str, Any]], run: Any) -> Path:
        """A row for each image: its name, then classes and probabilities."""
        from visarch.outputs import place
        from visarch.training.atomic import replace_text

        path = place(run, self.out, "predictions", ".csv")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        ranks = range(1, 1 + len(rows[0]["predictions"]))
        heads = ((f"class {rank}", f"probability {rank}") for rank in ranks)
        writer.writerow(["file", *(head for pair in heads for head in pair)])
        for row in rows:
            pairs = ((p["class"], f"{p['probability']:.6g}") for p in row["predictions"])
            writer.writerow([row["name"], *(value for pair in pairs for value in pair)])
        replace_text(path, text.getvalue())
        return path


def _rows(
    names: Sequence[str], probabilities: Tensor, numbers: Tensor, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """What is told of each image, as JSON can hold it."""
    return [
        {
            "name": name,
            "predictions": [
                {"class": classes[number], "probability": probability}
                for number, probability in zip(own, shares, strict=True)
            ],
        }
        for name, own, shares in zip(names, numbers.tolist(), probabilities.tolist(), strict=True)
    ]


def _shown(rows: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """A line for each image."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("image", "class", header_style="bold")
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("or else")
    for row in rows:
        first, *others = row["predictions"]
        rest = ", ".join(f"{p['class']} {p['probability']:.1%}" for p in others)
        table.add_row(
            escape(row["name"]), escape(first["class"]), f"{first['probability']:.1%}", escape(rest)
        )
    yield table
