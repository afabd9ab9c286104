from dataclasses import dataclass

import pytest
import torch
from torch import nn

from visarch.training.guard import BufferSnapshot, Guard, diagnose

from .toy import ToyTask, toy_model, toy_trainer

NAN = float("nan")


def everything(trainer):
    """All tensors and counters that a step may change, by name."""
    state = trainer.state()
    del state["step"], state["bad_steps_in_a_row"], state["skipped_steps"]
    return {name: t.clone() for name, t in trainer.tensors().items()}, state


def same(one, other):
    (tensors, state), (others, other_state) = one, other
    equal = all(torch.equal(tensors[name], others[name]) for name in tensors)
    return tensors.keys() == others.keys() and equal and state == other_state


def spoil_loss(loss):
    return loss * NAN


def spoil_loss_alone(loss):
    return loss + NAN  # its gradient is finite


def spoil_gradient(loss):
    loss.register_hook(lambda gradient: gradient * float("inf"))
    return loss * 1


@pytest.mark.parametrize("spoil", [spoil_loss, spoil_loss_alone, spoil_gradient])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("bad_step", [0, 3])
def test_a_bad_step_changes_nothing(tmp_path, spoil, optimizer, bad_step):
    task = ToyTask(spoil=lambda step, loss: spoil(loss) if step == bad_step else loss)
    trainer = toy_trainer(tmp_path, task, optimizer=optimizer)
    for _ in range(bad_step):
        trainer.step()
    before = everything(trainer)
    trainer.step()
    assert same(everything(trainer), before)
    assert (trainer.guard.skipped, trainer.guard.in_a_row) == (1, 1)
    trainer.step()
    assert not same(everything(trainer), before)
    assert (trainer.guard.skipped, trainer.guard.in_a_row) == (1, 0)


def test_a_snapshot_brings_back_every_buffer():
    model = toy_model()
    snapshot = BufferSnapshot(model)
    for _ in range(2):
        model(torch.rand(4, 1, 4, 4))
        snapshot.take()
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        model(torch.rand(4, 1, 4, 4))
        assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])
        snapshot.restore()
        assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())


def test_the_guard_counts_bad_steps_in_a_row():
    guard = Guard(max_bad_steps=2)
    for good in (False, True, False):
        guard.count(good=good)
    assert not guard.exhausted
    guard.count(good=False)
    assert guard.exhausted
    assert guard.skipped == 3


class Log(nn.Module):
    def forward(self, x):
        return x.log()


@dataclass
class Answer:
    value: object


class Wrapped(nn.Module):
    """Gives its answer in an object, as a distribution does."""

    def __init__(self):
        super().__init__()
        self.log = Log()

    def forward(self, x):
        return Answer({"inside": [self.log(x)]})


class Model(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1)
        self.inner = inner
        nn.init.constant_(self.first.weight, 1.0)
        nn.init.constant_(self.first.bias, 0.0)

    def forward(self, x):
        return self.inner(self.first(x))


class Between(Model):
    def forward(self, x):
        return self.inner(self.first(x) / 0)


IMAGES = torch.ones(3, 1, 2, 2)
NAMES = ["a.png", "b.png", "c.png"]


def finding(model, images=IMAGES, precision="fp32", loss=lambda y: (y.mean(), {})):
    return diagnose(model, lambda: loss(model(images)), images, NAMES, precision=precision)


def test_it_finds_the_images():
    images = IMAGES.clone()
    images[1, 0, 1, 1] = NAN
    found = finding(Model(Log()), images, precision="bf16")
    assert "in the data: b.png. Try looking at these images" in found
    assert "a.png" not in found


def test_it_finds_the_module_and_the_size_of_its_input():
    found = finding(Model(nn.Sequential(nn.Identity(), Log())), -7 * IMAGES)
    assert "in the output of inner.1 (Log), from finite inputs of magnitude up to 7" in found
    assert "--learning-rate" in found
    assert "precision" not in found


def test_it_looks_into_objects_and_containers():
    model = Model(Wrapped())
    found = finding(model, -IMAGES, loss=lambda y: (y.value["inside"][0].mean(), {}))
    assert "in the output of inner.log (Log)" in found

    class Hidden(Wrapped):
        def forward(self, x):
            return Answer({"inside": [x.log()]})

    found = finding(Model(Hidden()), -IMAGES, loss=lambda y: (y.value["inside"][0].mean(), {}))
    assert "in the output of inner (Hidden)" in found


def test_it_finds_what_is_computed_between_modules():
    assert "given to inner (Identity), computed between" in finding(Between(nn.Identity()))


def test_it_finds_the_term_and_the_sum():
    def with_term(y):
        return y.mean() * NAN, {"error": y.mean(), "kl": y.mean() * NAN}

    assert "in the loss term kl, from finite outputs" in finding(Model(Log()), loss=with_term)
    found = finding(Model(Log()), loss=lambda y: (y.mean() * NAN, {"error": y.mean()}))
    assert "in the sum of the loss" in found


def test_it_finds_the_gradient():
    # the slope of the root is infinite at log 1 = 0
    found = finding(Model(Log()), loss=lambda y: (y.sqrt().mean(), {}))
    assert "in the gradient of first." in found


def test_it_finds_weights_that_were_bad_before():
    model = Model(Log())
    model.first.bias.data.fill_(float("inf"))
    assert "in the weight first.bias, before the step" in finding(model)


def test_half_precision_is_the_first_suspect():
    found = finding(Model(Log()), -IMAGES, precision="fp16")
    assert "Try --precision fp32 instead of fp16, or a lower --learning-rate" in found


def test_a_good_batch_is_not_accused_and_nothing_is_left_behind():
    model = Model(Log())
    assert finding(model) is None
    finding(model, -IMAGES)
    finding(model, loss=lambda y: (y.sqrt().mean(), {}))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    for parameter in model.parameters():
        assert parameter.grad is None
        assert not parameter._backward_hooks
