"""What was written, run beside the model it came from.

Both compute in 32 bits, but sum in different orders, so that they agree up to rounding. The limits
here lie some hundred times above what rounding was seen to do in trained models, and far below what
a lost layer, a wrong weight or another way to resize would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visarch.data import Preparation, Split, to_unit
from visarch.data.picture import fit
from visarch.data.splitting import representatives
from visarch.export.files import Answer
from visarch.export.graphs import Graph, raw
from visarch.inference import classifier, diffusion
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import Recipe
from visarch.models.resnet import ResNet
from visarch.models.unet import Denoiser
from visarch.models.vae import GaussianVAE
from visarch.run import Run

PROBABILITIES = 1e-4
"""Of a class: what predict prints has fewer digits."""
FEATURES = 1e-3
"""Of features, latents and their Σ^{1/2}: times the largest of them, where that is above 1."""
UNIT = 1e-3
"""Of an image's values on the unit scale: a quarter of one of 256 levels."""
DRAWN = 4e-3
"""Of the same behind a sampler, whose evaluations hand rounding on to each other: one level."""

MOST_IMAGES = 500
_RESIZED, _DRAWN_IMAGES, _BATCH = 32, 16, 50


class Disagreement(ValueError):
    """An exported graph computes something else than its model does."""

    exit_code = 1


@dataclass(frozen=True)
class Agreement:
    """A graph's answers beside its model's."""

    graph: str
    what: str
    """Which outputs, for which inputs."""
    count: int
    """How many inputs."""
    largest_difference: float
    tolerance: float
    top1: int | None = None
    """For how many of them the likeliest class is the same; classes that are as likely for the
    model, up to the tolerance, count as the same."""

    @property
    def holds(self) -> bool:
        """Whether they agree; what is no number never does."""
        return self.largest_difference <= self.tolerance and self.top1 in (None, self.count)

    def __str__(self) -> str:
        classes = "" if self.top1 is None else f", top-1 agreement {self.top1} of {self.count}"
        return (
            f"{self.graph}: {self.what}: largest difference {self.largest_difference:.1e} "
            f"(at most {self.tolerance:.0e}){classes}"
        )


def check_classifier(
    graph: Graph, answer: Answer, run: Run[ResNet], split: Split
) -> list[Agreement]:
    """Probabilities, or features, as predict and embed have them."""
    found = []
    for size, images, own in shown(split, run.preparation):
        (given,) = _batches(answer, {"images": images})
        if run.model.config.num_classes is None:
            expected = classifier.embed(run.model, own, run.preparation.levels)
            found.append(
                _relative(graph, f"features of {len(own)} images {size}", [given], [expected])
            )
            continue
        expected = classifier.logits(run.model, own, run.preparation.levels).softmax(1)
        chosen = expected.gather(1, given.argmax(1, keepdim=True))[:, 0]
        same = chosen >= expected.amax(1) - PROBABILITIES
        found.append(
            Agreement(
                graph.name,
                f"probabilities of {len(own)} images {size}",
                len(given),
                _largest([given], [expected]),
                PROBABILITIES,
                int(same.sum()),
            )
        )
    return found


def check_encoder(
    graph: Graph, answer: Answer, run: Run[GaussianVAE], split: Split
) -> list[Agreement]:
    """Means and Σ^{1/2} of posteriors."""
    found, levels = [], run.preparation.levels
    for size, images, own in shown(split, run.preparation):
        given = _batches(answer, {"images": images})
        with torch.no_grad():
            posteriors = [
                run.model.encode(x)
                for x in to_unit(own.read(torch.arange(len(own))).images, levels).split(_BATCH)
            ]
        mean = torch.cat([posterior.mean for posterior in posteriors])
        scale = torch.cat([posterior.scale for posterior in posteriors])
        found.append(
            _relative(graph, f"posteriors of {len(own)} images {size}", given, [mean, scale])
        )
    return found


def check_decoder(graph: Graph, answer: Answer, run: Run[GaussianVAE]) -> list[Agreement]:
    """The images that `visarch sample` draws."""
    latents = (run.model.config.latent_dim,)
    numbers = range(_DRAWN_IMAGES)
    z = numbered_normal("sample", run.seed, numbers, latents)
    _, mean, sigma = _batches(answer, {"latents": z})
    with torch.no_grad():
        expected = run.model.decode(z)
    what = f"{_DRAWN_IMAGES} images drawn from seed {run.seed}"
    return [Agreement(graph.name, what, len(z), _largest([mean, sigma], expected), UNIT)]


def check_sampler(
    graph: Graph, answer: Answer, run: Run[Denoiser], recipe: Recipe
) -> list[Agreement]:
    """The images that `visarch sample` draws."""
    shape, numbers = run.preparation.shape, range(_DRAWN_IMAGES)
    condition = recipe.usual(run.model, numbers)
    inputs = {"noise": numbered_normal("sample", run.seed, numbers, shape)}
    if condition.labels is not None:
        inputs["label"] = condition.labels
    if condition.vectors is not None:
        inputs["vector"] = condition.vectors
    if "guidance" in graph.inputs:
        inputs["guidance"] = graph.inputs["guidance"]
    _, unit = _run(answer, inputs)
    expected = diffusion.sample(run.model, recipe, shape, numbers, run.seed, condition).images
    what = f"{_DRAWN_IMAGES} images drawn from seed {run.seed}"
    return [Agreement(graph.name, what, len(unit), _largest([unit], [expected]), DRAWN)]


def shown(split: Split, preparation: Preparation) -> Iterator[tuple[str, Tensor, Split]]:
    """Raw images, what they are like, and the same as the model's own data holds them: in the
    model's size, and pictures in two others, which only the graph's and Pillow's resizing relate to
    it."""
    places = torch.tensor(representatives(len(split), MOST_IMAGES))
    stored = split.read(places).images
    values = raw(stored, preparation)
    yield "in the model's size", values, _split(stored)
    if preparation.ndim != 2:
        return
    height, width = preparation.shape[1:]
    few = values[torch.tensor(representatives(len(values), _RESIZED))]
    for size in ((2 * height + 1, width + 3), (height // 2 + 1, width)):
        others = np.stack([fit(image.numpy(), size) for image in few])
        own = torch.stack([preparation.apply(image) for image in others])
        yield f"of {size[0]}×{size[1]}", torch.from_numpy(others), _split(own)


def _split(stored: Tensor) -> Split:
    return Split("checked", stored, None, [str(number) for number in range(len(stored))])


def _batches(answer: Answer, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs for all of the inputs, some at a time."""
    (only,) = inputs.items()
    parts = [_run(answer, {only[0]: part}) for part in only[1].split(_BATCH)]
    return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]


def _run(answer: Answer, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    outputs = answer({name: value.numpy() for name, value in inputs.items()})
    return [torch.from_numpy(np.asarray(output)) for output in outputs]


def _largest(given: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference; NaN if anything is."""
    pairs = zip(given, expected, strict=True)
    return float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())


def _relative(
    graph: Graph, what: str, given: Sequence[Tensor], expected: Sequence[Tensor]
) -> Agreement:
    scale = max(1.0, *(float(values.abs().max()) for values in expected))
    return Agreement(graph.name, what, len(given[0]), _largest(given, expected), FEATURES * scale)


def to_dict(agreement: Agreement) -> dict[str, Any]:
    """As JSON can hold it."""
    return {**vars(agreement), "agrees": agreement.holds}
