import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from visarch.blocks.normalization import BatchNorm
from visarch.training.batchnorm import Moments, exact_batchnorm_statistics

from .toy import toy_data, toy_model, toy_trainer


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = BatchNorm(2), BatchNorm(3)
        self.conv = nn.Conv2d(2, 3, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.second(self.dropout(self.conv(self.first(x).relu())))


def exact(model, batches):
    exact_batchnorm_statistics(model, [lambda b=b: model(b) for b in batches])


def statistics(x):
    axes = [axis for axis in range(x.ndim) if axis != 1]
    return x.mean(axes), x.var(axes, correction=0)


@given(st.lists(st.integers(2, 9), min_size=1, max_size=6), st.floats(-100, 100))
def test_statistics_are_those_of_the_whole_set_however_it_is_cut(sizes, shift):
    generator = torch.Generator().manual_seed(len(sizes))
    images = torch.randn(sum(sizes), 2, 3, generator=generator, dtype=torch.float64) + shift
    norm = BatchNorm(2).double()
    exact(norm, images.split(sizes))
    mean, variance = statistics(images)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-10, atol=1e-12)


def test_statistics_are_those_of_all_processes_together():
    batches = torch.randn(4, 8, 2, 6, 6).double().unbind()
    mean, variance = statistics(torch.cat(batches))
    seen = []
    for own in (batches[:3], batches[3:], ()):  # one that had nothing to do
        norm = BatchNorm(2).double()
        forwards = [lambda b=b, norm=norm: norm(b) for b in own]
        exact_batchnorm_statistics(norm, forwards, lambda ours: seen.append(ours) or seen)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-12, atol=1e-12)


def test_deeper_layers_see_what_batches_in_training_give_them_without_dropout():
    torch.manual_seed(0)
    model, batches = TwoLayers(), torch.randn(5, 8, 2, 6, 6).unbind()
    model.first.running_mean.fill_(1e6)  # what was there before does not matter
    seen = []
    for batch in batches:
        mean, variance = (value[:, None, None] for value in statistics(batch))
        seen.append(model.conv(((batch - mean) / (variance + 1e-5).sqrt()).relu()))
    mean, variance = statistics(torch.cat(seen).detach())
    exact(model, batches)
    torch.testing.assert_close(model.second.running_mean, mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model.second.running_var, variance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_else_changes(training):
    model = TwoLayers().train(training)
    model.first.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    untouched = ("weight", "bias", "num_batches_tracked")
    before = {k: v.clone() for k, v in model.state_dict().items() if k.endswith(untouched)}
    exact(model, torch.randn(3, 4, 2, 6, 6).unbind())
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_failing_batch_leaves_no_hooks_and_the_flags():
    model = TwoLayers().eval()
    with pytest.raises(ZeroDivisionError):
        exact_batchnorm_statistics(model, [lambda: 1 // 0])
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())


def test_it_makes_eval_mode_do_what_training_mode_does_on_the_set_as_one_batch():
    model, images = toy_model(dropout=0.0), toy_data().splits["train"].images
    expected = model.train()(images)
    exact(model, [images])
    torch.testing.assert_close(model.eval()(images), expected)


def test_a_model_without_batchnorm_is_not_run():
    exact_batchnorm_statistics(nn.Linear(2, 2), [lambda: 1 // 0])


def test_the_final_pass_mixes_classes_as_training_does(tmp_path):
    """A folder lists one class after the other, and a batch of one class is like no other batch."""
    trainer = toy_trainer(tmp_path)
    batches = []
    read = trainer.split.read
    trainer.split.read = lambda indices: batches.append(indices) or read(indices)
    trainer.final_model()
    assert sorted(torch.cat(batches).tolist()) == list(range(37))
    assert all(batch.min() < 18 < batch.max() for batch in batches)


def test_half_precision_is_widened_before_summing():
    images = torch.full((64, 1, 32, 32), 1.0).bfloat16()
    images[::2] = 3
    norm = BatchNorm(1).bfloat16()
    exact(norm, images.split(16))
    assert norm.running_mean.item() == 2
    assert norm.running_var.item() == 1


def test_moments_add_up_in_any_order():
    a, b = (Moments(n, torch.randn(2).double(), torch.rand(2).double()) for n in (3, 50))
    torch.testing.assert_close((a + b).variance, (b + a).variance)
    assert (a + b).count == 53
