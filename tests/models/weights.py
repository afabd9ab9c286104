"""Weights that hide nothing: no β of zero, no γ of one, no untouched running statistics."""

import torch
from torch import nn


@torch.no_grad()
def randomize(model: nn.Module) -> nn.Module:
    """The model in eval mode, every vector of weights redrawn; matrices keep their scale."""
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point() and tensor.ndim <= 1:
            center = 1.0 if name.endswith("weight") else 0.0
            tensor.normal_(center, 0.1)
    return model.eval()
