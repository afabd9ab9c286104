"""Steps whose loss or gradient is not finite: they change nothing, and too many stop training."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visarch.errors import UserError

Objective = Callable[[], tuple[Tensor, dict[str, Tensor]]]


class NonFiniteError(UserError):
    """Training stopped because of values that are not finite; says where they first arose."""

    exit_code = 1


class BufferSnapshot:
    """A module's buffers as they were before a forward pass, to go back to.

    A forward pass in training mode already changes BatchNorm's moving averages; weights, optimizer
    and average change only when a step is known to be good.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = list(module.buffers())
        self._copies = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def take(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)

    @torch.no_grad()
    def restore(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._copies)


class Guard:
    """Counts the steps that changed nothing."""

    def __init__(self, max_bad_steps: int, in_a_row: int = 0, skipped: int = 0) -> None:
        self.max_bad_steps = max_bad_steps
        self.in_a_row = in_a_row
        self.skipped = skipped

    @property
    def exhausted(self) -> bool:
        """Whether it is time to stop."""
        return self.in_a_row >= self.max_bad_steps

    def count(self, *, good: bool) -> None:
        self.in_a_row = 0 if good else self.in_a_row + 1
        self.skipped += not good


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with a value that is not finite, if there is one."""
    return next((name for name, tensor in tensors.items() if not _finite(tensor)), None)


def not_kept(name: str | None, step: int, run: Path) -> NonFiniteError:
    """What is said where a checkpoint would hold a tensor that is not finite."""
    spoilt = name or "a tensor"
    if step == 0:
        return NonFiniteError(f"Nothing to start from: {spoilt} is not finite. Take other weights.")
    return NonFiniteError(
        f"Training stopped after step {step}: an update from a finite loss and gradient made "
        f"{spoilt} not finite. Try {_SLOW_DOWN}. The last good checkpoint is "
        f"{run}/checkpoints/last.safetensors."
    )


def diagnose(
    model: nn.Module, objective: Objective, images: Tensor, names: list[str], *, precision: str
) -> str | None:
    """Run a bad batch again and say where its first bad value arises, and what to try.

    None where there is no bad value, as for a process whose part of the batch is good.

    Args:
        model: the module whose submodules are watched; keeps its weights, not its buffers.
        objective: computes (loss, scalars to log) of the batch, with the step's randomness.
        images: the raw batch.
        names: what each of its images is called.
        precision: the number format that training runs in.
    """
    found = _first_bad_place(model, objective, images, names)
    if found is None:
        return None
    place, advice = found
    if precision != "fp32" and advice is not _CHECK_DATA:
        advice = f"--precision fp32 instead of {precision}, or {advice}"
    return f"The first bad value arises {place}. Try {advice}."


_CHECK_DATA = "looking at these images and taking them out"
_SLOW_DOWN = "a lower --learning-rate, more --warmup-steps or a lower --clip"


def _first_bad_place(
    model: nn.Module, objective: Objective, images: Tensor, names: list[str]
) -> tuple[str, str] | None:
    bad = [name for name, image in zip(names, images, strict=True) if not _finite(image)]
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        return f"in the data: {', '.join(bad[:5])}{more}", _CHECK_DATA
    for kind, tensors in (
        ("weight", model.named_parameters()),
        ("buffer", model.named_buffers()),
    ):
        for name, tensor in tensors:
            if not _finite(tensor):
                return f"in the {kind} {name}, before the step", f"an earlier run, or {_SLOW_DOWN}"

    with _Watch(model) as watch:
        loss, terms = objective()
    if watch.first:
        return watch.first, _SLOW_DOWN
    bad = [name for name, term in terms.items() if not _finite(term)]
    if bad:
        return f"in the loss term {', '.join(bad)}, from finite outputs of the model", _SLOW_DOWN
    if not _finite(loss):
        return "in the sum of the loss, whose terms are finite", _SLOW_DOWN
    gradient = _first_bad_gradient(model, loss)
    if gradient:
        return f"in the gradient of {gradient}, from a finite loss", _SLOW_DOWN
    return None


def _first_bad_gradient(model: nn.Module, loss: Tensor) -> str | None:
    """The parameter whose gradient is the first in the backward pass not to be finite."""
    bad: list[str] = []

    def check(name: str) -> Callable[[Tensor], None]:
        return lambda gradient: None if _finite(gradient) else bad.append(name)

    parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hooks = [parameter.register_hook(check(name)) for name, parameter in parameters]
    try:
        loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
    return bad[0] if bad else None


class _Watch:
    """Hooks on every submodule that note the first input or output that is not finite."""

    def __init__(self, model: nn.Module) -> None:
        self.first: str | None = None
        self._model = model
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "_Watch":
        for name, module in self._model.named_modules():
            label = f"{name or 'the model'} ({type(module).__name__})"
            self._hooks += [
                module.register_forward_pre_hook(self._check_input(label), with_kwargs=True),
                module.register_forward_hook(self._check_output(label)),
            ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _check_input(self, label: str) -> Callable[..., None]:
        def check(module: nn.Module, arguments: Any, keywords: Any) -> None:
            if not self.first and not _finite((arguments, keywords)):
                self.first = f"in what is given to {label}, computed between the modules"

        return check

    def _check_output(self, label: str) -> Callable[..., None]:
        def check(module: nn.Module, arguments: Any, output: Any) -> None:
            if not self.first and not _finite(output):
                size = max((float(t.abs().max()) for t in _tensors(arguments)), default=0.0)
                self.first = (
                    f"in the output of {label}, from finite inputs of magnitude up to {size:.3g}"
                )

        return check


def _finite(value: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in _tensors(value))


def _tensors(value: Any, depth: int = 3) -> Iterator[Tensor]:
    """The floating tensors in nested containers and plain objects, such as distributions."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.numel():
            yield value.detach()
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()), depth)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, depth)
    elif depth and hasattr(value, "__dict__") and not isinstance(value, nn.Module | type):
        yield from _tensors(vars(value), depth - 1)
