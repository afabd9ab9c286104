"""Samplers as matrices."""

from __future__ import annotations

import pytest
import torch

from visarch.export.steps import steps_of
from visarch.objectives.diffusion import cosine
from visarch.sampling import SAMPLERS, log_snr_times, num_evaluations


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm++"])
def test_the_matrix_does_what_the_sampler_does(name):
    """For estimates that depend on x and t in a way that is not linear."""

    def denoise(x, t):
        return (torch.sin(3 * x) + t.view(-1, 1)).clamp(-1, 1)

    times, noise = log_snr_times(7, cosine), torch.randn(5, 4, dtype=torch.float64)
    steps = steps_of(SAMPLERS[name], times, cosine)
    assert len(steps.times) == num_evaluations(name, 7)
    known = [noise]
    for t, row in zip(steps.times, steps.mixing, strict=False):
        assert not row[len(known) :].any()
        x = sum(weight * part for weight, part in zip(row, known, strict=False))
        known.append(denoise(x, t.repeat(len(x))))
    image = sum(weight * part for weight, part in zip(steps.mixing[-1], known, strict=True))
    torch.testing.assert_close(image, SAMPLERS[name](denoise, noise, times, cosine))


def test_noise_of_its_own_is_refused():
    with pytest.raises(ValueError, match="adds noise"):
        steps_of(SAMPLERS["ddpm"], log_snr_times(3, cosine), cosine)
