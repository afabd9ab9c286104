"""``visarch embed``: the numbers that a trained run sees in each picture."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from visarch.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from visarch.data import Split


@dataclass(frozen=True)
class Embed:
    """Write the features of every picture to a file.

    For each picture: its name, the split and the label that it has in its data, and by the kind of
    the run: a classifier's features, that its last layer sees; of a VAE mean and standard
    deviations of the posterior q(z | x).
    """

    run: Positional[str]
    """The run folder; or a model folder, or a hub id."""
    data: Positional[tuple[str, ...]] = ()
    """Image files; or data as `visarch train --data` takes it; by default all of the run's own."""
    out: Path | None = None
    """The .npz or .parquet file to write, or a folder; by default outputs/ in the run folder."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, …"""

    def __post_init__(self) -> None:
        suffix = "" if self.out is None else self.out.suffix.lower()
        if suffix == ".parquet" and find_spec("pyarrow") is None:
            raise UserError(f"--out {self.out} needs a package: pip install 'visarch[data]'")

    def main(self) -> None:
        import numpy as np

        from visarch.data import Split
        from visarch.data.preparation import times
        from visarch.inference.splits import every_sample
        from visarch.models.resnet import ResNet
        from visarch.models.vae import GaussianVAE
        from visarch.outputs import place, save_arrays, save_parquet
        from visarch.run import load_run
        from visarch.terminal import note, note_skipped, progress, tell

        run = load_run(self.run, self.device).of(GaussianVAE, ResNet)
        if run.assumption:
            note(run.assumption)
        with progress("reading images") as advance:
            data = run.open_inputs(self.data, advance)
        origins, classes = None, None
        if isinstance(data, Split):
            split, source = data, "files"
        else:
            note_skipped(data)
            split, origins = every_sample(data)
            streamed = [s.name for s in data.splits.values() if s.labelled and s.labels is None]
            if streamed:
                note(f"Labels of streamed images are not kept: those of {', '.join(streamed)}.")
            source, classes = data.source, data.classes
        path = place(run, self.out, f"embeddings {Path(source).stem}", ".npz", ".parquet")

        with progress("encoding") as advance:
            features = _features(run.model, split, run.preparation.levels, advance)
        columns = {"names": np.array(split.names)}
        if origins is not None:
            columns["splits"] = np.array(origins)
        if split.labels is not None:
            columns["labels"] = split.labels.numpy()
        columns |= {name: values.numpy() for name, values in features.items()}

        if path.suffix.lower() == ".parquet":
            save_parquet(path, columns, classes)
        else:
            named = {} if classes is None else {"classes": np.array(classes)}
            save_arrays(path, columns | named)
        held = ", ".join(f"{name} {times(values.shape)}" for name, values in columns.items())
        record = {
            "run": run.source,
            "data": source,
            "images": len(split),
            "columns": {name: list(values.shape) for name, values in columns.items()},
            "files": [str(path)],
        }
        tell(record, [f"Embeddings of {source}: {path} holds {held}."])


def _features(
    model: nn.Module, split: Split, levels: int | None, tell: Callable[[int, int], None]
) -> dict[str, Tensor]:
    """What a model of either kind makes of each picture, by the name of the column."""
    from visarch.inference import classifier, vae
    from visarch.models.resnet import ResNet
    from visarch.models.vae import GaussianVAE

    if isinstance(model, ResNet):
        return {"features": classifier.embed(model, split, levels, progress=tell)}
    assert isinstance(model, GaussianVAE)
    means, deviations = vae.embed(model, split, levels, progress=tell)
    return {"means": means, "standard_deviations": deviations}
