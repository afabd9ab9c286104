"""What the training loop asks of a task; VAE, classifier and diffusion each are one."""

from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn

from visarch.training.randomness import StepNoise

if TYPE_CHECKING:
    from PIL.Image import Image

    from visarch.data import Batch, Data, Split


class Task(Protocol):
    """One thing to train for: a loss, how to measure it, and what to show of it."""

    name: str
    """"vae", "classifier" or "diffusion": the verb's object on the command line."""
    metric: tuple[str, Literal["min", "max"]]
    """What the best checkpoint goes by: a key of what `evaluate` returns, and which way is
    better."""

    low_precision: bool
    """Whether `--precision auto` may take bf16 on a CPU with units for it, as it does on GPUs."""

    def facts(self) -> dict[str, Any]:
        """What one must know to use the model beside its data: kept with its weights, as JSON."""
        ...

    def loss(
        self, model: nn.Module, batch: "Batch", noise: StepNoise
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar mean loss over this process's batch, and scalar tensors to log.

        It runs under autocast when precision is below fp32: cast the model's outputs with
        `.float()` before summing over pixels. All randomness comes from `noise` (dropout aside),
        which has as many samples as the batch. Values to log stay tensors, as the loop fetches all
        of them at once; "loss", "gradient_norm" and "learning_rate" are names of its own.
        """
        ...

    def evaluate(self, model: nn.Module, split: "Split", noise: StepNoise) -> dict[str, float]:
        """Metrics of the model, in eval mode and without gradients, over a whole split.

        `noise` is the same at every evaluation; `noise.fork(number, size)` gives each batch its
        own. The model lies on `noise.device`.
        """
        ...

    def pictures(self, model: nn.Module, data: "Data") -> "dict[str, Image]":
        """Pictures of what the model does now, by name; written to the run's samples folder."""
        ...
