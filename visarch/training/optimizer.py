"""The optimizer that a config asks for, and which parameters it decays."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from visarch.performance.uncompiled import SGD, AdamW
from visarch.training.config import TrainConfig

MOMENTUM = 0.9
_FUSED = {"adamw": ("cpu", "cuda", "mps", "xpu"), "sgd": ("cpu", "cuda", "mps")}
_NEVER_DECAYED = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.Embedding)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """The trained parameters in two groups: decayed, and not.

    Decayed are the tensors with at least two axes: kernels and matrices. A norm's γ and β, biases
    and learned scalars have a meaning at their value and are left alone; so are rows of embeddings,
    which get a gradient only when their class is in the batch but would shrink at every step.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NEVER_DECAYED)
        for parameter in module.parameters(recurse=False)
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [p for p in trained if p.ndim >= 2 and id(p) not in spared]
    chosen = {id(parameter) for parameter in decayed}
    rest = [p for p in trained if id(p) not in chosen]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    model: nn.Module, config: TrainConfig, *, sharded: bool = False
) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum over the model's parameters, fused where torch can.

    Fused steps take weights, gradients and state to have one memory format, and on a CPU compute
    nonsense where they have not. Autograd gives a gradient the format of its weight, and state gets
    it when it is made or loaded.

    Args:
        model: whose parameters; it is on its device already.
        config: the settings.
        sharded: whether the parameters are going to be shared out among processes.
    """
    groups = parameter_groups(model, config.weight_decay)
    kinds = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = kinds <= set(_FUSED[config.optimizer])
    if config.optimizer == "sgd":
        fused = fused and not sharded  # torch cannot do that
        return SGD(groups, lr=config.learning_rate, momentum=MOMENTUM, nesterov=True, fused=fused)
    return AdamW(groups, lr=config.learning_rate, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """The learning rate of the next step, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = value
