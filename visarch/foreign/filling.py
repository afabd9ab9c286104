"""Foreign weights into a model of ours: every tensor has its place, or is named."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import torch
from torch import nn

from visarch.errors import UserError
from visarch.foreign.files import Weights

M = TypeVar("M", bound=nn.Module)

_LISTED = 6


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
        UserError: a tensor is missing, unknown or of another shape; names which.
    """
    with torch.device("meta"):
        model = make()
    ours = {their_name(name): (name, tensor) for name, tensor in model.state_dict().items()}
    counters = {name for name in ours if name.endswith(".num_batches_tracked")}
    missing = [name for name in ours if name not in weights and name not in counters]
    unknown = [name for name in weights if name not in ours and name not in unused]
    misshapen = {
        name: (tuple(weights[name].shape), tuple(tensor.shape))
        for name, (_, tensor) in ours.items()
        if name in weights and weights[name].shape != tensor.shape
    }
    if missing or unknown or misshapen:
        raise UserError(_misfits(package, missing, unknown, misshapen))
    model.load_state_dict(
        # old files do not count batches, which only training would look at
        {name: weights.get(key, torch.tensor(0)) for key, (name, _) in ours.items()},
        assign=True,
    )
    return model.eval()


def _misfits(
    package: str,
    missing: list[str],
    unknown: list[str],
    misshapen: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> str:
    shapes = [f"{name} is {found}, not {wanted}" for name, (found, wanted) in misshapen.items()]
    found = [("missing", missing), ("unknown", unknown), ("of another shape", shapes)]
    listed = [
        f"{what}: {', '.join(names[:_LISTED])}"
        + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        for what, names in found
        if names
    ]
    return f"These are not the weights of a network that visarch has as {package} has it. " + (
        "; ".join(listed) + "."
    )
