"""The learning rate as a pure function of the step: linear warm-up, then a decay.

Steps are counted from 0, so `step` is also how many came before. Each function gives the factor on
the peak learning rate, which the warm-up reaches at step w = warmup_steps.
"""

import math

from visarch.training.config import TrainConfig


def warmup(step: int, warmup_steps: int) -> float:
    """(s + 1) / (w + 1) for s < w, then 1: the first step already learns something."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def cosine(step: int, warmup_steps: int, total_steps: int | None) -> float:
    """½ (1 + cos π (s − w) / (n − w)) after the warm-up: from 1 down towards 0 at n steps.

    While n is not known yet (None), the decay has not begun.
    """
    if total_steps is None or step <= warmup_steps:
        return 1.0
    progress = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * progress))


def inverse_sqrt(step: int, warmup_steps: int) -> float:
    """√(w / s) after the warm-up: independent of how long the run will be."""
    return math.sqrt(warmup_steps / max(step, warmup_steps))


def learning_rate(config: TrainConfig, step: int, total_steps: int | None) -> float:
    """The learning rate of one step of a run of `total_steps` (None: not decided yet)."""
    if config.decay == "cosine":
        factor = cosine(step, config.warmup_steps, total_steps)
    elif config.decay == "inverse_sqrt":
        factor = inverse_sqrt(step, config.warmup_steps)
    else:
        factor = 1.0
    return config.learning_rate * warmup(step, config.warmup_steps) * factor
