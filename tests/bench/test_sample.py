"""A network of ours in labml.ai's sampler."""

import pytest
import torch
from torch import Tensor, nn

from visarch.bench.peers import labml
from visarch.bench.sample import Distance, _as_epsilon, is_farther
from visarch.inference.recipe import Condition, Recipe
from visarch.objectives.diffusion import target


class Knows(nn.Module):
    """A network that knows the image and the schedule: it predicts without an error."""

    def __init__(self, recipe: Recipe, x: Tensor) -> None:
        super().__init__()
        self.recipe, self.x = recipe, x

    def forward(self, x_t: Tensor, t: Tensor, label: None, vector: None) -> Tensor:
        log_snr = self.recipe.log_snr(t.double())
        alpha = log_snr.sigmoid().sqrt().view(-1, 1, 1, 1)
        sigma = (-log_snr).sigmoid().sqrt().view(-1, 1, 1, 1)
        noise = (x_t - alpha * self.x) / sigma
        return target(self.x.double(), noise, log_snr, self.recipe.prediction).float()


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_whatever_it_predicts_is_the_noise_at_labmls_times(prediction, schedule):
    """labml.ai adds noise by its own α; the network must be asked at the time that has as much."""
    pytest.importorskip("labml_nn")
    recipe = Recipe(prediction, schedule, 0.0, "simple", "dpm++", 20, 0.0)
    x, noise = torch.rand(2, 5, 3, 4, 4).mul(2).sub(1).unbind()
    t = torch.tensor([20, 100, 500, 900, 999])
    x_t = labml.diffusion(None).q_sample(x, t, noise)
    epsilon = _as_epsilon(Knows(recipe, x), recipe, Condition())
    torch.testing.assert_close(epsilon(x_t, t), noise, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((0.52, 0.0), (0.5, 0.0), False),  # within 5 %
        ((0.53, 0.0), (0.5, 0.0), True),
        ((0.53, 0.03), (0.5, 0.03), False),  # chance explains as much
        ((0.65, 0.03), (0.5, 0.03), True),
        ((0.40, 0.0), (0.5, 0.0), False),
    ],
)
def test_few_steps_are_worse_where_chance_does_not_explain_it(ours, theirs, expected):
    assert is_farther(Distance(*ours), Distance(*theirs)) == expected
