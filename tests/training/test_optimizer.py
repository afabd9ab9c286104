import pytest
import torch
from torch import nn

from visarch.blocks import normalization
from visarch.training.config import TrainConfig
from visarch.training.optimizer import make_optimizer, parameter_groups, set_learning_rate


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.linear = nn.Linear(3, 4)
        self.embedding = nn.Embedding(5, 4)
        self.norm = normalization.BatchNorm(3)
        self.foreign_norm = nn.LayerNorm((3, 4))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def config(**changes):
    return TrainConfig(data="digits", **changes)


def names_of(model, group):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter] for parameter in group["params"]}


def test_kernels_and_matrices_decay_and_nothing_else():
    model = Everything()
    decayed, rest = parameter_groups(model, 0.1)
    assert names_of(model, decayed) == {"conv.weight", "linear.weight"}
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names_of(model, decayed) | names_of(model, rest) == trained


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_without_a_gradient_signal_only_the_decayed_shrink(kind):
    model = Everything()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, config(optimizer=kind, weight_decay=0.5, learning_rate=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    for name, parameter in model.named_parameters():
        shrunk = name in ("conv.weight", "linear.weight")
        assert torch.equal(parameter, before[name]) != shrunk, name


NETWORKS = {
    "signals": (lambda: nn.Conv1d(3, 4, 1), (2, 3, 5), torch.contiguous_format),
    "images": (lambda: nn.Conv2d(3, 4, 3), (2, 3, 5, 5), torch.channels_last),
    "pixels": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 5, 5), torch.channels_last),
    "grown": (lambda: nn.ConvTranspose2d(3, 4, 2), (2, 3, 5, 5), torch.channels_last),
    "volumes": (lambda: nn.Conv3d(3, 4, 3), (2, 3, 5, 5, 5), torch.channels_last_3d),
    "matrix": (lambda: nn.Linear(5, 4), (2, 3, 5), torch.contiguous_format),
}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("make", "shape", "layout"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("of_weights", [True, False])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_gradients_and_state_lie_as_their_weights_do(
    make, shape, layout, of_weights, kind, precision
):
    """Where they do not, torch's fused steps compute nonsense on a CPU."""
    model = make()
    images = torch.rand(shape).contiguous(memory_format=layout)
    if of_weights:
        model.to(memory_format=layout)
    optimizer = make_optimizer(model, config(optimizer=kind))
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            model(images).float().square().sum().backward()
        for parameter in model.parameters():
            assert order(parameter.grad) == order(parameter)
        optimizer.step()
    for parameter in model.parameters():
        for value in optimizer.state[parameter].values():
            assert value.ndim == 0 or order(value) == order(parameter)


def order(tensor):
    """The axes in the order of memory; one of a single element has no place in it."""
    axes = [axis for axis in range(tensor.ndim) if tensor.shape[axis] > 1]
    return sorted(axes, key=tensor.stride, reverse=True)


@pytest.mark.parametrize(("kind", "sharded"), [("adamw", True), ("sgd", False), ("sgd", True)])
def test_steps_are_fused_where_torch_can(kind, sharded):
    optimizer = make_optimizer(Everything(), config(optimizer=kind), sharded=sharded)
    assert optimizer.defaults["fused"] == ((kind, sharded) != ("sgd", True))


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_it_is_torch_s_optimizer(kind):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    optimizer = make_optimizer(ours, config(optimizer=kind, weight_decay=0.1, learning_rate=0.01))
    if kind == "sgd":
        peer = torch.optim.SGD(
            theirs.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1
        )
    else:
        peer = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(5):
        x = torch.randn(4, 3)
        for model, steps in ((ours, optimizer), (theirs, peer)):
            steps.zero_grad()
            model(x).square().sum().backward()
            steps.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_the_learning_rate_is_set_for_all_groups():
    optimizer = make_optimizer(Everything(), config())
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
