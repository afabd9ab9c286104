"""Starting from a trained model's weights (fine-tuning), as far as they fit."""

from collections.abc import Collection

from torch import nn

from visarch.errors import UserError
from visarch.hub import load
from visarch.training.checkpoint import module_tensors


def start_from(model: nn.Module, source: str, anew: Collection[str] = ()) -> str:
    """Copy into `model` every tensor that the model kept at `source` has under the same name and
    in the same shape, but for those `anew`; says what was taken, and what starts anew.

    What does not fit is what depends on the classes or on the sides of the images, mostly the last
    layer. A model of which less than half the numbers fit is another model, and refused.

    Raises:
        UserError: there is no model at `source`, or it is another one.
    """
    theirs, ours = module_tensors(load(source), ""), module_tensors(model, "")
    fitting = [
        name
        for name in ours
        if name in theirs and ours[name].shape == theirs[name].shape and name not in anew
    ]
    taken = sum(ours[name].numel() for name in fitting)
    total = sum(tensor.numel() for tensor in ours.values())
    rest = [name for name in ours if name not in fitting]
    listed = ", ".join(rest[:4]) + (f" and {len(rest) - 4} more" if len(rest) > 4 else "")
    if 2 * taken < total:
        raise UserError(
            f"--init {source}: of this model's {total:,} numbers, only {taken:,} have a place of "
            f"the same name and shape there ({listed} have none). Give the network the settings "
            "that it had there, or leave --init out."
        )
    for name in fitting:
        ours[name].data.copy_(theirs[name])
    if not rest:
        return "all of its weights fit"
    return f"{len(fitting)} of {len(ours)} tensors fit; {listed} start anew"
