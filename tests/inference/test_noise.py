"""Noise by number and by split: who else is drawn changes nothing."""

import torch
from torch import nn

from visarch.inference.noise import evaluation_noise, numbered_normal
from visarch.training.randomness import StepNoise, derive_seed


def test_noise_depends_on_purpose_seed_and_number_alone():
    whole = numbered_normal("a", 3, range(5), (2, 4))
    assert torch.equal(numbered_normal("a", 3, [4, 1], (2, 4)), whole[[4, 1]])
    assert not torch.equal(numbered_normal("b", 3, range(5), (2, 4)), whole)
    assert not torch.equal(numbered_normal("a", 4, range(5), (2, 4)), whole)
    assert len(whole.flatten().unique()) == whole.numel()


def test_noise_is_standard_normal():
    draws = numbered_normal("a", 0, range(200), (3, 10, 10))
    assert abs(float(draws.mean())) < 0.02
    assert abs(float(draws.std()) - 1) < 0.02


def test_a_split_is_evaluated_with_the_noise_of_its_training():
    ours = evaluation_noise(nn.Linear(1, 1), "test", 7).fork(2, 3)
    theirs = StepNoise(derive_seed("evaluate test", 7), 0, 64).fork(2, 3)
    assert torch.equal(ours.normal(4), theirs.normal(4))
    assert torch.equal(ours.uniform(), theirs.uniform())
