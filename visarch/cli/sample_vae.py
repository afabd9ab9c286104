"""What `visarch sample` draws from a Gaussian VAE: the decoder's means g(z) for z ~ N(0, I)."""

from __future__ import annotations

import math

from visarch.cli.sample import Drawn, Plan, Question
from visarch.inference.vae import sample
from visarch.models.vae import GaussianVAE

_COUNT = 64


def plan_vae(question: Question) -> Plan:
    """So many of them, in a square."""
    flags, seed = question.flags, question.seed
    model, count = question.run.of(GaussianVAE).model, flags.count or _COUNT
    kind = "samples with noise" if flags.noise else "samples"
    return Plan(
        name=f"{kind} {count} seed {seed}",
        facts={"seed": str(seed), "noise": "yes" if flags.noise else "no"},
        columns=flags.columns or math.ceil(math.sqrt(count)),
        draw=lambda: Drawn(sample(model, count, seed, noise=flags.noise), ""),
    )
