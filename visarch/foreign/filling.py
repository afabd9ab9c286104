"""Foreign weights into a model of ours: every tensor has its place, or is named."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from visarch.errors import UserError
from visarch.foreign.files import Weights

M = TypeVar("M", bound=nn.Module)

_LISTED = 6


def require(weights: Weights, network: str, axes: Mapping[str, int]) -> None:
    """That there are tensors of these names with so many axes, by which a network is recognised.

    Raises:
        UserError: there are not; names which.
    """
    bad = [
        f"{name} is {tuple(weights[name].shape)}, which has not {count} axes"
        if name in weights
        else f"{name} is missing"
        for name, count in axes.items()
        if name not in weights or weights[name].ndim != count
    ]
    if bad:
        raise UserError(
            f"This is no {network}: {', '.join(bad[:_LISTED])}. The file's names begin with "
            f"{', '.join(list(weights)[:3])}."
        )


def filled(
    make: Callable[[], M],
    weights: Weights,
    their_name: Callable[[str], str],
    *,
    unused: Collection[str] = (),
    package: str,
) -> M:
    """A model with these weights, in eval mode.

    Args:
        make: makes it.
        weights: by the names of the other package.
        their_name: of each of our names.
        unused: names that the other network has and never looks at.
        package: what it is called in messages.

    Raises:
        UserError: a tensor is missing, unknown, or of another shape or type; names which.
    """
    with torch.device("meta"):
        model = make()
    ours = {their_name(name): (name, tensor) for name, tensor in model.state_dict().items()}
    counters = {name for name in ours if name.endswith(".num_batches_tracked")}
    missing = [name for name in ours if name not in weights and name not in counters]
    unknown = [name for name in weights if name not in ours and name not in unused]
    others = [
        f"{name} is {_told(weights[name])}, not {_told(tensor)}"
        for name, (_, tensor) in ours.items()
        if name in weights and _told(weights[name]) != _told(tensor)
    ]
    if missing or unknown or others:
        raise UserError(_misfits(package, missing, unknown, others))
    model.load_state_dict(
        # old files do not count batches, which only training would look at
        {name: weights.get(key, torch.tensor(0)) for key, (name, _) in ours.items()},
        assign=True,
    )
    return model.eval()


def _told(tensor: Tensor) -> str:
    numbers = "" if tensor.is_floating_point() else " of whole numbers"
    return f"{tuple(tensor.shape)}{numbers}"


def _misfits(package: str, missing: list[str], unknown: list[str], others: list[str]) -> str:
    found = [("missing", missing), ("unknown", unknown), ("of another shape", others)]
    listed = [
        f"{what}: {', '.join(names[:_LISTED])}"
        + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        for what, names in found
        if names
    ]
    return f"These are not the weights of a network that visarch has as {package} has it. " + (
        "; ".join(listed) + "."
    )
