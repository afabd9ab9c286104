import copy

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from visarch.training.ema import PowerEma
from visarch.training.processes import share_batch
from visarch.training.sharding import Blueprint, gather, is_sharded_launch, local, part, whole

from .toy import toy_model


@pytest.fixture
def mesh(tmp_path):
    """A mesh of one process."""
    store = distributed.FileStore(str(tmp_path / "meeting"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_a_plain_tensor_is_whole_and_its_own_part():
    tensor, like = torch.rand(3), torch.rand(3)
    assert whole(tensor) is tensor
    assert part(tensor, like) is tensor
    assert local([tensor, like])[0] is tensor
    assert gather({"x": tensor}, keep=True)["x"] is tensor
    assert gather({"x": tensor}, keep=False) == {}


def test_a_shared_out_tensor_and_back(mesh):
    tensor = torch.rand(5, 2)
    like = distribute_tensor(torch.zeros(5, 2), mesh, [Shard(0)])
    held = part(tensor, like)
    assert isinstance(held, DTensor)
    assert held.placements == like.placements
    assert torch.equal(whole(held), tensor)
    assert torch.equal(gather({"x": held}, keep=True)["x"], tensor)
    assert gather({"x": held}, keep=False) == {}
    mine, plain = local([held, tensor])
    mine.zero_()
    assert not whole(held).any()
    assert plain is tensor


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)
        self.norm, self.dropout = nn.BatchNorm1d(3), nn.Dropout(0.5)
        self.register_buffer("constant", torch.rand(3), persistent=False)

    def forward(self, x):
        return self.norm(self.dropout(self.second(self.first(x)))) + self.constant


def test_a_plain_copy_does_what_the_model_did_before_it_was_shared():
    model = Everything()
    expected = copy.deepcopy(model)
    blueprint = Blueprint(model)
    share_batch(model)
    with torch.no_grad():
        model.first.bias.fill_(2)
        expected.first.bias.fill_(2)
    built = blueprint.build(model, torch.clone)
    x = torch.rand(4, 3)
    for each in (built, expected):
        torch.manual_seed(0)
        each.result = each(x)  # without a group of processes
    assert torch.equal(built.result, expected.result)
    assert built.second.weight is built.first.weight is not model.first.weight
    assert not built.second.bias.requires_grad
    assert torch.equal(built.norm.running_mean, expected.norm.running_mean)
    assert not model.norm.running_mean.any()
    assert all(tensor.is_meta for tensor in blueprint._model.parameters())


def test_a_plain_copy_may_share_memory_and_takes_the_mode():
    model = Everything().eval()
    built = Blueprint(model).build(model, whole)
    assert built.first.weight.data_ptr() == model.first.weight.data_ptr()
    assert not built.training


def test_an_average_of_shared_out_weights_is_the_average_of_the_weights(mesh):
    torch.manual_seed(0)
    plain, shared = toy_model(), toy_model()
    averages = [PowerEma(plain, 0.1)]
    blueprint = Blueprint(shared)
    held = blueprint.build(
        shared, lambda t: distribute_tensor(t, mesh, [Shard(0)]) if t.ndim else t
    )
    averages.append(PowerEma(held, 0.1, lambda model: blueprint.build(model, torch.clone)))
    for _ in range(3):
        for model in (plain, held):
            torch.manual_seed(1)
            for parameter in model.parameters():
                local([parameter.data])[0].add_(torch.rand(parameter.shape))
        for average in averages:
            average.update()
    for ours, theirs in zip(*(average.model.parameters() for average in averages), strict=True):
        assert torch.equal(ours, whole(theirs))


@pytest.mark.parametrize(("said", "sharded"), [(None, False), ("false", False), ("true", True)])
def test_accelerate_says_whether_to_shard(monkeypatch, said, sharded):
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    if said:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", said)
    assert is_sharded_launch() == sharded
