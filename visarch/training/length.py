"""How many steps a run takes: given as steps, as epochs, or as a time that is measured."""

import math
import time

from visarch.errors import UserError
from visarch.training.config import TrainConfig, seconds_of


def planned_steps(config: TrainConfig, num_samples: int) -> int | None:
    """The length in steps; None where it is given as a time.

    Raises:
        UserError: it is not given at all.
    """
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return math.ceil(config.epochs * num_samples / config.batch_size)
    if config.time is not None:
        return None
    raise UserError("How long to train? Give --steps 2000, --epochs 20 or --time 10m.")


class TimeBudget:
    """Turns a time into a number of steps, once the first steps have shown how long one takes.

    The first few steps are left out: caches fill and kernels are chosen there. Measuring takes
    about a twentieth of the time.
    """

    NUM_IGNORED, NUM_MEASURED, SHARE = 5, 10, 0.05

    def __init__(self, config: TrainConfig, started: float) -> None:
        assert config.time is not None
        self.seconds = seconds_of(config.time)
        self.started = started
        self._steps = -self.NUM_IGNORED
        self._measured = 0.0

    def add(self, seconds: float) -> bool:
        """Take in how long one step took; whether that is enough to know."""
        self._steps += 1
        if self._steps > 0:
            self._measured += seconds
        enough = self._steps >= self.NUM_MEASURED and self._measured >= self.SHARE * self.seconds
        return enough or (self._steps > 0 and self.left() < self.seconds / 2)

    def left(self) -> float:
        """Seconds left of the budget."""
        return self.seconds - (time.monotonic() - self.started)

    @property
    def seconds_per_step(self) -> float:
        """The mean of those measured."""
        return self._measured / self._steps

    def steps_left(self, *, extra_per_step: float, at_the_end: float) -> int:
        """How many more steps fit, with what comes between them and after them; at least one."""
        per_step = self.seconds_per_step + extra_per_step
        return max(1, int((self.left() - at_the_end) / per_step))
