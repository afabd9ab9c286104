"""64 images from a diffusion model, beside labml.ai's sampler of 1,000 steps."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from visarch.bench.harness import EXACT, Agreement, Contender, Race, Work, agree
from visarch.bench.peers import labml
from visarch.data import Split
from visarch.errors import UserError
from visarch.evaluation.features import measure_features
from visarch.inference.diffusion import bind, condition_of, sample
from visarch.inference.features import FeatureNetwork, open_features
from visarch.inference.generated import store
from visarch.inference.noise import numbered_normal
from visarch.inference.recipe import EVALUATIONS, Condition, Recipe, recipe_of
from visarch.inference.splits import held_out
from visarch.models.config import UNetConfig
from visarch.models.unet import Denoiser
from visarch.objectives.diffusion import to_noise
from visarch.run import Run, load_run
from visarch.sampling import time_at
from visarch.training.randomness import derive_seed

_MARGIN = 0.05
"""By how much our Fréchet distance may exceed theirs."""
_FEWEST = 12
_BAR = 100

Epsilon = Callable[[Tensor, Tensor], Tensor]
"""x_t and times from 0 to 999 to ε."""


@dataclass(frozen=True)
class Sample:
    """The steps that ours takes by default, and theirs, by the same network.

    The network is the note's at random weights, of which speed is all that can be said; or that of
    a trained run, and then the Fréchet distances of both to held-out images are compared first.
    """

    packages: ClassVar = ("labml-nn",)

    run: str | None = None
    """A run of `visarch train diffusion`."""
    features: str | None = None
    """A classifier in whose features distances are measured."""
    num_compared: int = 1000
    """Images of each kind by which they are."""
    num_images: int = 64
    side: int = 32
    config: UNetConfig = UNetConfig(attention="residual")

    def __post_init__(self) -> None:
        if (self.run is None) != (self.features is None):
            raise UserError(
                "--run and --features go together: the trained diffusion model to draw from, and "
                "the classifier in whose features the distance to real images is measured."
            )

    def races(self) -> Iterator[Race]:
        if self.run is None:
            yield self._untrained()
        else:
            yield self._trained(load_run(self.run, "cpu").of(Denoiser))

    def _untrained(self) -> Race:
        plain = labml.like_labml(self.config).eval()
        recipe = Recipe(
            prediction="epsilon",
            schedule="linear",
            shift=0.0,
            weighting="simple",
            sampler="dpm++",
            steps=EVALUATIONS,
            guidance=0.0,
        )
        theirs = labml.unet(plain)
        shape = (self.config.in_channels, self.side, self.side)
        x, t = torch.randn(4, *shape), torch.rand(4)

        @torch.no_grad()
        def copied() -> Iterator[Agreement]:
            what = "labml.ai's network with our weights, all fp32"
            yield agree(what, plain(x, t), theirs(x, labml.NUM_STEPS * t), EXACT)

        note = "the note's network at random weights; --run compares what a trained one draws"
        return self._race(plain, recipe, shape, theirs, copied, note)

    def _trained(self, run: Run[Denoiser]) -> Race:
        assert self.features is not None
        recipe, shape = recipe_of(run), run.preparation.shape
        network = open_features(self.features, run.preparation, "cpu")
        split, places = held_out(run.open_data()), torch.arange(self.num_compared)
        if min(len(split), len(places)) < _FEWEST:
            raise UserError(
                f"--samples {len(places)} are compared with the {len(split)} {split.name} images "
                f"of {run.source}; a distance takes at least {_FEWEST} of each kind."
            )

        def equal() -> Iterator[Agreement]:
            asked = condition_of(run.model, split).take(places % len(split))
            ours = sample(run.model, recipe, shape, places.tolist(), run.seed, asked).images
            fast: Denoiser = run.model.optimize_for_inference()
            theirs = torch.cat(
                [
                    _draw(
                        _as_epsilon(fast, recipe, asked.take(part)), part.tolist(), shape, run.seed
                    )
                    for part in places.split(self.num_images)
                ]
            )
            yield _as_near(run, network, split, ours, theirs)

        asked = recipe.usual(run.model, range(self.num_images))
        epsilon = _as_epsilon(run.model, recipe, asked)
        return self._race(run.model, recipe, shape, epsilon, equal, f"the network of {run.source}")

    def _race(
        self,
        plain: Denoiser,
        recipe: Recipe,
        shape: tuple[int, ...],
        theirs: Epsilon,
        check: Callable[[], Iterable[Agreement]],
        note: str,
    ) -> Race:
        def ours() -> Work:
            return Work(lambda: sample(plain, recipe, shape, range(self.num_images), 0))

        def labmls() -> Work:
            diffusion = labml.diffusion(theirs)
            x = torch.randn(self.num_images, *shape)
            t = torch.full((len(x),), labml.NUM_STEPS // 2)

            @torch.no_grad()
            def one_step() -> Tensor:
                return diffusion.p_sample(x, t)

            return Work(one_step)

        return Race(
            f"{self.num_images} images of {' × '.join(map(str, shape))}",
            Contender(
                "visarch",
                ours,
                f"{recipe.sampler} in {recipe.steps} steps; {note}",
            ),
            (
                Contender(
                    "labml.ai's sampler",
                    labmls,
                    f"eager fp32; timed on one of its {labml.NUM_STEPS:,} steps, which are alike",
                    repeats=labml.NUM_STEPS,
                    bar=_BAR,
                ),
            ),
            count=self.num_images,
            check=check,
        )


def _as_epsilon(network: nn.Module, recipe: Recipe, condition: Condition) -> Epsilon:
    """A trained denoiser as labml.ai's sampler wants it: at the time of its own schedule where
    there is as much noise, and with ε for whatever it predicts."""
    alpha_bar = labml.diffusion(None).alpha_bar.double()
    log_snr = alpha_bar.logit()
    times = time_at(recipe.log_snr, log_snr).float()
    bound = bind(network, recipe, condition, recipe.guidance_for(condition))

    def epsilon(x: Tensor, t: Tensor) -> Tensor:
        output = bound(x, times[t])[:, : x.shape[1]]
        return to_noise(output, x, log_snr[t].float(), recipe.prediction)

    return epsilon


@torch.no_grad()
def _draw(network: Epsilon, numbers: Sequence[int], shape: Sequence[int], seed: int) -> Tensor:
    """What labml.ai's sampler draws in all of its steps, on the unit scale."""
    diffusion, x = labml.diffusion(network), numbered_normal("labml.ai", seed, numbers, shape)
    torch.manual_seed(derive_seed("labml.ai", seed, numbers[0]))  # of the noise of its steps
    for t in reversed(range(labml.NUM_STEPS)):
        x = diffusion.p_sample(x, torch.full((len(x),), t))
    return (x + 1) / 2


def _as_near(
    run: Run[Denoiser], network: FeatureNetwork, split: Split, ours: Tensor, theirs: Tensor
) -> Agreement:
    """That our images are as near to real ones as theirs, by the Fréchet distance.

    Raises:
        UserError: they are not, by more than chance explains.
    """
    real, distances = network.embed(split), []
    for images in (ours, theirs):
        names = [str(number) for number in range(len(images))]
        drawn = Split("generated", store(images, run.preparation), None, names)
        measured = measure_features(
            real,
            network.embed(drawn),
            network=network.name,
            split=split.name,
            generator=torch.Generator().manual_seed(derive_seed("halves", run.seed)),
        )
        distances.append(Distance(measured.frechet, float(measured.halves["FD"].std())))
    what = (
        f"FD of {len(ours)} images each in the features of {network.name}: {distances[0]} of ours, "
        f"{distances[1]} of theirs (± standard error)"
    )
    if is_farther(*distances):
        raise UserError(
            f"{what}. Few steps are not as good as many with this network: more than "
            f"{_MARGIN:.0%} worse, so that their times do not compare."
        )
    return Agreement(what, distances[0].value / distances[1].value - 1, _MARGIN)


class Distance(NamedTuple):
    """A Fréchet distance and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.2g}"


def is_farther(ours: Distance, theirs: Distance) -> bool:
    """Whether ours exceeds theirs by more than the margin, and by more than two standard errors of
    what is beyond it: a distance on a thousand images is known to a tenth of itself or so."""
    allowed = 1 + _MARGIN
    beyond = ours.value - allowed * theirs.value
    return beyond > 2 * math.hypot(ours.error, allowed * theirs.error)
