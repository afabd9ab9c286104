"""An export as a whole: graphs are traced, written to the side, checked, and put in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from visarch import __version__
from visarch.data import Split
from visarch.export import checking, graphs
from visarch.export.checking import Agreement, Disagreement
from visarch.export.files import KINDS, Answer, Format, require
from visarch.export.graphs import Graph
from visarch.inference.recipe import Recipe
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.models.vae import GaussianVAE
from visarch.run import Run
from visarch.training.atomic import replace_files

LABELS = "labels.txt"
"""The names of the classes, a line for each in the order of their numbers."""

Check = Callable[[Graph, Answer], list[Agreement]]
Told = Callable[[str], object]


@dataclass(frozen=True)
class Export:
    """What was written, and how it was found to agree with the model."""

    files: list[Path]
    agreements: list[Agreement]


def plan(run: Run[Any], split: Split | None, recipe: Recipe | None) -> list[tuple[Graph, Check]]:
    """The graphs of a run, and how each is to be checked: with a split of images for a classifier
    or a VAE, with a recipe for a diffusion model."""
    model = run.model
    if isinstance(model, ResNet):
        assert split is not None
        own = run.of(ResNet)
        return [(graphs.classifier(own), partial(checking.check_classifier, run=own, split=split))]
    if isinstance(model, GaussianVAE):
        assert split is not None
        vae = run.of(GaussianVAE)
        return [
            (graphs.encoder(vae), partial(checking.check_encoder, run=vae, split=split)),
            (graphs.decoder(vae), partial(checking.check_decoder, run=vae)),
        ]
    assert recipe is not None
    denoiser = run.of(Denoiser)
    check = partial(checking.check_sampler, run=denoiser, recipe=recipe)
    return [(graphs.sampler(denoiser, recipe), check)]


def files_of(planned: list[tuple[Graph, Check]], kind: Format, folder: Path) -> list[Path]:
    """What an export writes into a folder, short of the weights of large graphs."""
    names = [f"{graph.name}{KINDS[kind].suffix}" for graph, _ in planned]
    if any(graph.facts.get("classes") for graph, _ in planned):
        names.append(LABELS)
    return [folder / name for name in sorted(names)]


def export(
    run: Run[Any],
    kind: Format,
    folder: Path,
    planned: list[tuple[Graph, Check]],
    told: Told = lambda text: None,
) -> Export:
    """Write graphs into a folder if all of them agree with the model; otherwise nothing.

    ``told`` is called with a line on each check.

    Raises:
        Disagreement: one does not agree.
        UserError: a package is missing, or the disk refuses.
    """
    require(kind)
    names: list[str] = []
    agreements: list[Agreement] = []

    def write(side: Path) -> None:
        side.mkdir()
        for graph, check in planned:
            path = side / f"{graph.name}{KINDS[kind].suffix}"
            KINDS[kind].write(graph, path, facts(run, graph))
            for agreement in check(graph, KINDS[kind].opened(path, graph)):
                if not agreement.holds:
                    raise Disagreement(
                        f"The export does not compute what the model does, and was not written. "
                        f"{agreement}. This is a defect of visarch or of a package below it: "
                        "please report it with the model's config.json."
                    )
                agreements.append(agreement)
                told(str(agreement))
            if classes := graph.facts.get("classes"):
                text = "".join(f"{name}\n" for name in classes)
                (side / LABELS).write_text(text, encoding="utf-8")
        names.extend(sorted(file.name for file in side.iterdir()))

    with _room_for(folder):
        last = f"{planned[-1][0].name}{KINDS[kind].suffix}"
        replace_files(folder, write, last=last)
    return Export([folder / name for name in names], agreements)


@contextmanager
def _room_for(folder: Path) -> Iterator[None]:
    """The folders above one that is to be written, which vanish again if it is not."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for parent in missing if not folder.exists() else ():
            parent.rmdir()


def facts(run: Run[Any], graph: Graph) -> dict[str, Any]:
    """What a file says of itself."""
    return {
        "visarch": __version__,
        "task": run.task,
        "graph": graph.name,
        "preparation": run.preparation.to_dict(),
        **graph.facts,
    }
