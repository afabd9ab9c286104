"""A step of work that a GPU does as one graph, without Python between its kernels."""

import math
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from visarch.performance.choices import Choice

Step = Callable[..., Mapping[str, Tensor]]
"""A function of tensors by name that returns tensors by name."""


class StaticInputs:
    """Tensors at fixed places in memory, into which each step's inputs are copied.

    Args:
        examples: inputs by name, whose shapes, number formats and memory formats are kept.
    """

    def __init__(self, examples: Mapping[str, Tensor]) -> None:
        self.tensors = {name: torch.empty_like(tensor) for name, tensor in examples.items()}
        self.fill(examples)

    def fill(self, inputs: Mapping[str, Tensor]) -> None:
        """Take the values of these inputs; those in pinned memory are not waited for.

        Raises:
            ValueError: they have other names, shapes or number formats than the examples.
        """
        if inputs.keys() != self.tensors.keys():
            raise ValueError(
                f"the step was captured with inputs {', '.join(self.tensors)} and is now given "
                f"{', '.join(inputs) or 'none'}: a captured step takes the same ones every time"
            )
        for name, tensor in inputs.items():
            place = self.tensors[name]
            if (tensor.shape, tensor.dtype) != (place.shape, place.dtype):
                raise ValueError(
                    f"the step was captured with {name} of shape {tuple(place.shape)} in "
                    f"{place.dtype} and is now given {tuple(tensor.shape)} in {tensor.dtype}: "
                    "capture another step for it"
                )
        for name, tensor in inputs.items():
            self.tensors[name].copy_(tensor, non_blocking=True)


class CapturedStep:
    """A step that is captured as one CUDA graph and replayed from then on.

    The first calls run as they are written, while memory is reserved, kernels are compiled and
    algorithms chosen; the next is captured, and it and all later ones are replayed. Each call does
    its work exactly once, so that a step may change weights in place.

    The step takes all that changes from call to call as tensors by name. It must not wait for the
    GPU, may draw random numbers from the device's own generator alone, and lets go of its gradients
    (``zero_grad()``) before it computes new ones; torch's AdamW is to be made ``capturable``, with
    a tensor as its learning rate. What the step returns is overwritten by the next call.

    Without CUDA, or where capturing fails, every call runs as it is written.

    Args:
        step: the work.
        device: where it is done.
    """

    WARM_UP = 3

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step = step
        self.captures = Choice(False, f"there are no graphs on {device.type}")
        """Whether calls are captured and replayed, and why."""
        self._graph: _Graph | None = None
        if device.type == "cuda":
            self.captures = Choice(True, "kernels need not wait for Python")
            self._graph = _Graph(device)
        self._inputs: StaticInputs | None = None
        self._outputs: Mapping[str, Tensor] | None = None
        self._num_calls = 0

    def __call__(self, **inputs: Tensor) -> Mapping[str, Tensor]:
        """Do the work once.

        Raises:
            ValueError: the inputs have other names, shapes or number formats than at first.
        """
        if self._inputs is None:
            self._inputs = StaticInputs(inputs)
        else:
            self._inputs.fill(inputs)
        self._num_calls += 1
        if self._graph is not None and self._outputs is None and self._num_calls > self.WARM_UP:
            self._capture(self._graph)
        if self._graph is None:
            return self._work()
        if self._outputs is None:
            return self._graph.warm_up(self._work)
        self._graph.replay()
        return self._outputs

    def _work(self) -> Mapping[str, Tensor]:
        assert self._inputs is not None
        return self.step(**self._inputs.tensors)

    def _capture(self, graph: "_Graph") -> None:
        try:
            self._outputs = graph.capture(self._work)
        except RuntimeError as error:  # nothing was computed
            cause = str(error).partition("\n")[0]
            self.captures = Choice(False, f"the step cannot be captured: {cause}")
            self._graph = None


class _Graph:
    """What is done on a stream of its own: as it is written, or recorded and replayed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, work: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # of an optimizer that is made to be captured, which it is about to be
            warnings.filterwarnings("ignore", "This instance was constructed with capturable")
            outputs = work()
        current.wait_stream(self._stream)
        return outputs

    def capture(self, work: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        # a thread that reads ahead may reserve pinned memory meanwhile
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            return work()

    def replay(self) -> None:
        self._graph.replay()


@torch.no_grad()
def update_if_finite(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    averages: Mapping[Tensor, Tensor],
    share: Tensor,
    *,
    clip: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Clipping, the optimizer's step and the average, unless loss or gradient is not finite.

        ‖g‖ over all gradients;   w ← optimizer(w, g / max(1, ‖g‖ / clip));
        average ← average + share · (w − average)

    It is decided on the device: where something is not finite, weights, state and averages stay
    exactly what they are, and nobody waits for the answer.

    Args:
        optimizer: torch's AdamW or SGD, fused.
        loss: a scalar, whose gradients are there.
        averages: the average of each weight.
        share: of the new weights in the average, a scalar.
        clip: the largest norm of the gradient.

    Returns:
        The norm, and whether all was finite; scalars.
    """
    weights = [w for group in optimizer.param_groups for w in group["params"] if w.grad is not None]
    for group in optimizer.param_groups:
        if group.get("momentum"):  # SGD's own first step would leave it unset if it is skipped
            for weight in group["params"]:
                optimizer.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights])
    finite = loss.isfinite() & norm.isfinite()
    # what GradScaler tells fused optimizers, which then divide and skip in their own pass
    optimizer.grad_scale = (norm / clip).clamp(min=1)  # type: ignore[attr-defined]
    optimizer.found_inf = finite.logical_not().float()  # type: ignore[attr-defined]
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf  # type: ignore[attr-defined]
    for weight, average in averages.items():
        average.lerp_(weight, share * finite)
    return norm, finite
