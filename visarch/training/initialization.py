"""Starting from a trained model's weights (fine-tuning), as far as they fit."""

from collections.abc import Collection, Sequence

import torch
from torch import nn

from visarch.errors import UserError
from visarch.hub import load, load_beside
from visarch.models.resnet import ResNet
from visarch.training.checkpoint import module_tensors
from visarch.training.runfolder import TASK


def start_from(model: nn.Module, source: str, anew: Collection[str] = ()) -> str:
    """Copy into `model` every tensor that the model kept at `source` has under the same name and
    in the same shape, but for those `anew`; says what was taken, and what starts anew.

    What does not fit is what depends on the classes or on the sides of the images, mostly the last
    layer. A model of which less than half the numbers fit is another model, and refused.

    Raises:
        UserError: there is no model at `source`, or it is another one.
    """
    kept = load(source)
    settings = load_beside(source, TASK).get("settings") or {}
    if isinstance(kept, ResNet) and "mean" in settings:
        absorb_normalization(kept, settings["mean"], settings["deviation"])
    theirs, ours = module_tensors(kept, ""), module_tensors(model, "")
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


@torch.no_grad()
def absorb_normalization(model: ResNet, mean: Sequence[float], deviation: Sequence[float]) -> None:
    """Have a network that expects (x − mean)/deviation take x itself, but for the pixels at the
    edge, where zeros are put around x and not around what is normalized.

    W ∗ (x − m)/d = (W/d) ∗ x − c, with c = Σ W m/d; BatchNorm subtracts c with its mean.
    """
    shape = (1, -1, *(1,) * model.config.ndim)
    m, d = (torch.tensor(values).view(shape) for values in (mean, deviation))
    model.conv.weight.div_(d)
    model.norm.running_mean += (model.conv.weight * m).flatten(1).sum(1)
