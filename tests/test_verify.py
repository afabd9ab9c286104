"""`visarch verify` holds for the package as it is, and not for one with a broken box."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

import visarch.verify
from visarch.blocks import attention, convolution, normalization, residual
from visarch.cli import main
from visarch.errors import UserError
from visarch.models import unet, vae
from visarch.training import batchnorm
from visarch.verify import CLAIMS, Result, verify
from visarch.verify.claim import EXACT, NUMERIC, Claim, Draw, Errors, distance, standard_errors


def names_of_failures(**options):
    return {result.claim.name for result in verify(**options) if not result.holds}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_claim_holds(seed):
    results = verify(cases=3, seed=seed)
    assert {result.claim.name: result.failure for result in results if not result.holds} == {}
    assert len(results) == len(CLAIMS) >= 30
    for result in results:
        bounds = result.claim.measure.bounds
        assert result.errors.double <= bounds.double
        assert (result.errors.single is None) == (bounds.single is None)


def test_claims_can_be_told_apart():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)


def test_the_documentation_lists_every_claim():
    text = (Path(__file__).parents[1] / "docs" / "maths.md").read_text(encoding="utf-8")
    assert [claim.name for claim in CLAIMS if f"*{claim.name}*" not in text] == []


def test_cases_cover_the_dimensions_and_repeat_themselves():
    draws = [Draw(0, "a claim", case) for case in range(6)]
    assert [draw.ndim for draw in draws] == [1, 2, 3, 1, 2, 3]
    numbers = [draw.array(2).tolist() for draw in draws]
    assert numbers == [Draw(0, "a claim", case).array(2).tolist() for case in range(6)]
    assert len({tuple(pair) for pair in numbers}) == 6
    assert Draw(1, "a claim", 0).array() != Draw(0, "a claim", 0).array()
    assert Draw(0, "another", 0).array() != Draw(0, "a claim", 0).array()


def test_distance():
    assert distance([1.0, 2.5], [1.0, 2.0]) == 0.25  # relative to the largest value
    assert distance([0.0, 0.5], [0.0, 0.0]) == 0.5  # but never to less than 1
    assert distance(torch.tensor([math.nan]), [1.0]) == math.inf
    assert distance({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 2.0}) == 0.5
    with pytest.raises(ValueError, match=r"shape \(1,\) where \(2,\) is expected"):
        distance([1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="steps"):
        distance({"a": 1.0}, {"b": 1.0})


def test_standard_errors():
    samples = torch.tensor([1.0, 3.0] * 8).double().numpy()  # mean 2, standard error √(16/15)/4
    assert standard_errors(samples, 3.0).double == pytest.approx(4 / math.sqrt(16 / 15))


@pytest.mark.parametrize(
    ("errors", "measure", "failure"),
    [
        (Errors(2e-10, 0.0), NUMERIC, "2e-10 in float64, not ≤ 1e-10"),
        (Errors(0.0, 2e-4), NUMERIC, "0.0002 in float32, not ≤ 0.0001"),
        (Errors(math.nan, 0.0), NUMERIC, "nan in float64"),
        (Errors(1.0), EXACT, "1 in float64, not ≤ 0"),
    ],
)
def test_an_error_above_its_bound_is_a_failure(monkeypatch, errors, measure, failure):
    claim = Claim("a claim", "a source", lambda draw: errors, measure)
    monkeypatch.setattr(visarch.verify, "CLAIMS", (claim,))
    (result,) = verify(cases=2, seed=0)
    assert not result.holds
    assert failure in result.failure
    assert result.num_cases == 1


def test_a_case_that_raises_is_a_failure(monkeypatch):
    def case(draw: Draw) -> Errors:
        raise RuntimeError("broken")

    monkeypatch.setattr(visarch.verify, "CLAIMS", (Claim("a claim", "a source", case),))
    (result,) = verify(cases=2, seed=0)
    assert result.failure == "case 0 (1-d): RuntimeError: broken"
    assert result.errors.double == math.inf


def test_a_later_small_error_does_not_hide_an_earlier_one(monkeypatch):
    found = iter([Errors(1e-12, 1e-6), Errors(1e-14, 1e-5)])
    claim = Claim("a claim", "a source", lambda draw: next(found))
    monkeypatch.setattr(visarch.verify, "CLAIMS", (claim,))
    assert verify(cases=2, seed=0) == [Result(claim, 2, Errors(1e-12, 1e-5))]


def test_claims_are_chosen_by_name_source_or_area():
    assert {claim.area for claim in visarch.verify.claims("unet")} == {"unet"}
    assert {claim.source for claim in visarch.verify.claims("fact 1.4")} == {"note, Fact 1.4"}
    assert [claim.name for claim in visarch.verify.claims("conv is its")] == ["Conv is its loops"]


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(UserError, match="--cases is 0"):
        verify(cases=0, seed=0)
    with pytest.raises(UserError, match="--seed is -1"):
        verify(cases=1, seed=-1)
    with pytest.raises(UserError, match="no claim has 'nonsense'"):
        verify(cases=1, seed=0, only="nonsense")


# Each box broken in the way it is most often broken, and a claim that must notice. The breaks
# replace what the package computes with and leave the claims themselves alone.

conv_forward = convolution.Conv.forward
log_prob = vae.GaussianPosterior.log_prob
kl = vae.GaussianPosterior.kl


def conv_without_padding(self, x):
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[self.ndim]
    return convolve(x, self.weight, self.bias, stride=self.stride)


def conv_with_flipped_filters(self, x):
    axes = range(2, 2 + self.ndim)
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[self.ndim]
    flipped = self.weight.flip(*axes)
    return convolve(x, flipped, self.bias, stride=self.stride, padding=self.padding)


def trans_conv_with_flipped_filters(self, x):
    axes = range(2, 2 + self.ndim)
    transposed = {
        1: functional.conv_transpose1d,
        2: functional.conv_transpose2d,
        3: functional.conv_transpose3d,
    }[self.ndim]
    flipped = self.weight.flip(*axes)
    return transposed(x, flipped, self.bias, stride=self.stride, padding=self.padding)


def same_conv_cropped_at_its_start(self, x):
    y = conv_forward(self, x)
    for axis, size in enumerate(x.shape[2:], start=2):
        kept = -(-size // self.stride)
        y = y.narrow(axis, y.shape[axis] - kept, kept)
    return y


def norm_with_a_larger_epsilon(self, x):
    return torch.group_norm(x, self.num_groups, self.weight, self.bias, 1e-3)


def batch_norm_that_samples_at_test_time(self, x):
    return functional.batch_norm(
        x, None, None, self.weight, self.bias, training=True, eps=self.epsilon
    )


def batch_norm_with_swapped_momentum(self, x):
    return functional.batch_norm(
        x,
        self.running_mean,
        self.running_var,
        self.weight,
        self.bias,
        training=self.training,
        momentum=1 - self.momentum,
        eps=self.epsilon,
    )


def bottleneck_without_its_last_relu(self, x):
    z1 = self.norm1(self.conv1(x))
    z2 = self.norm2(self.conv2(functional.relu(z1)))
    return self.norm3(self.conv3(functional.relu(z2))) + self.shortcut(x)


def residual_block_without_shortcut(self, x):
    u = functional.relu(self.norm1(self.conv1(x)))
    return functional.relu(self.norm2(self.conv2(u)))


def ascent_with_the_wrong_order(self, z, u):
    waiting = list(z.values())
    y = waiting[-1]
    for step in self.values():
        if isinstance(step, unet.Turn):
            y = step(y, u)
        elif isinstance(step, unet.Step):
            y = step(torch.cat([waiting.pop(), y], dim=1), u)
        else:
            y = step(y)
    return y


def block_without_context(self, x, u):
    z1 = self.conv1(unet.swish(self.norm1(x)))
    return self.conv2(self.dropout(unet.swish(self.norm2(z1)))) + self.shortcut(x)


def attention_kernel(**options):
    def attend(query, key, value):
        return functional.scaled_dot_product_attention(query, key, value, **options)

    return SimpleNamespace(scaled_dot_product_attention=attend)


BREAKS = {
    "Conv drops its padding": (
        (convolution.Conv, "forward", conv_without_padding),
        "Conv is its loops",
    ),
    "Conv flips its filters": (
        (convolution.Conv, "forward", conv_with_flipped_filters),
        "Conv(x) = V vec(x) + b",
    ),
    "TransConv flips its filters": (
        (convolution.TransConv, "forward", trans_conv_with_flipped_filters),
        "TransConv is zeros between pixels, then flipped filters",
    ),
    "TransConv is no adjoint": (
        (convolution.TransConv, "forward", trans_conv_with_flipped_filters),
        "TransConv(x) = Vᵀ vec(x) + b, V of the implicit convolution",
    ),
    "Pad puts the odd zero behind": (
        (convolution.SameConv, "forward", same_conv_cropped_at_its_start),
        "ConvLayer is ReLU⟨W, Pad(x)⟩, for odd and even k",
    ),
    "attention is not scaled": (
        (attention, "functional", attention_kernel(scale=1.0)),
        "Attn is its five steps, for 1 to 4 heads of any size",
    ),
    "attention looks back only": (
        (attention, "functional", attention_kernel(is_causal=True)),
        "Attn commutes with every permutation of the pixels",
    ),
    "epsilon is larger": (
        (normalization.Normalization, "forward", norm_with_a_larger_epsilon),
        "GroupNorm is select k' = k, g(c') = g(c)",
    ),
    "BatchNorm samples at test time": (
        (normalization.BatchNorm, "forward", batch_norm_that_samples_at_test_time),
        "BatchNorm at test time uses no statistics of the batch",
    ),
    "momentum is swapped": (
        (normalization.BatchNorm, "forward", batch_norm_with_swapped_momentum),
        "moving averages move by r ← (1 − m) r + m s each batch",
    ),
    "batches count alike whatever their size": (
        (
            batchnorm.Moments,
            "__add__",
            lambda a, b: batchnorm.Moments(
                a.count + b.count, (a.mean + b.mean) / 2, (a.variance + b.variance) / 2
            ),
        ),
        "after training: statistics of the full data set, in any batches",
    ),
    "a ReLU is missing": (
        (residual.BottleneckBlock, "forward", bottleneck_without_its_last_relu),
        "BottleneckBlock is the lecture's C → D → D → C'",
    ),
    "f(x) without x": (
        (residual.ResidualBlock, "forward", residual_block_without_shortcut),
        "f(x) + x: where f vanishes (last γ = β = 0) a block is ReLU(x)",
    ),
    "⊕ concatenates the other way round": (
        (unet.Ascend, "forward", ascent_with_the_wrong_order),
        "UNet is Descend, Ascend, Conv(swish(GroupNorm(y₁)))",
    ),
    "the context is forgotten": (
        (unet.ResBlockU, "forward", block_without_context),
        "ResBlockU is its lines, context and shortcut included",
    ),
    "ReLU in place of swish": (
        (unet, "swish", torch.relu),
        "Descend makes z₁ … z₁₂ as its lines do",
    ),
    "the KL has the wrong sign": (
        (vae.GaussianPosterior, "kl", lambda self: -kl(self)),
        "KL, full, is the Monte Carlo mean of log q − log r",
    ),
    "the KL has the wrong sign in closed form": (
        (vae.GaussianPosterior, "kl", lambda self: -kl(self)),
        "KL, diagonal: ½ Σ (s² + μ² − 1 − log s²)",
    ),
    "the ELBO adds the KL": (
        (vae.GaussianPosterior, "kl", lambda self: -kl(self)),
        "ELBO = evidence at the exact posterior",
    ),
    "the density lacks its constant": (
        (vae.GaussianPosterior, "log_prob", lambda self, z: log_prob(self, z) + 1),
        "the importance-weighted bound is the evidence there, for every K",
    ),
    "Σ^{1/2} is not triangular": (
        (
            vae,
            "_cholesky_factor",
            lambda entries, size: entries.new_ones(len(entries), size, size),
        ),
        "full Σ^{1/2} is lower triangular, its diagonal positive",
    ),
}


@pytest.mark.parametrize(("replacement", "claim"), BREAKS.values(), ids=BREAKS)
def test_a_broken_box_fails(monkeypatch, replacement, claim):
    assert names_of_failures(cases=6, seed=0, only=claim) == set()
    monkeypatch.setattr(*replacement)
    assert claim in names_of_failures(cases=6, seed=0, only=claim)


def test_the_command_prints_a_table(capsys):
    assert main(["verify", "--cases", "1", "--only", "Fact 1.4"]) == 0
    out = capsys.readouterr().out
    assert "TransConv(x) = Vᵀ vec(x) + b" in out
    assert "note, Fact 1.4" in out
    assert "holds" in out
    assert "4 of 4 claims hold: 4 cases from seed 0" in out


def test_the_command_fails_with_a_broken_box(monkeypatch, capsys):
    monkeypatch.setattr(convolution.Conv, "forward", conv_without_padding)
    assert main(["verify", "--cases", "6", "--only", "Conv is its loops"]) == 1
    out = capsys.readouterr().out
    assert "fails" in out
    assert "✗ Conv is its loops: case " in out


def test_the_command_prints_json(monkeypatch, capsys):
    options = ["verify", "--cases", "2", "--seed", "3", "--only", "Conv is its loops", "--json"]
    assert main(options) == 0
    record = json.loads(capsys.readouterr().out)
    (claim,) = record["claims"]
    assert record["holds"]
    assert (record["cases"], record["seed"]) == (2, 3)
    assert (claim["claim"], claim["source"]) == ("Conv is its loops", "note, 1.1")
    assert 0 <= claim["float64"] <= claim["bound_float64"] == 1e-10
    assert 0 < claim["float32"] <= claim["bound_float32"] == 1e-4

    def refuse(self, x):
        raise RuntimeError("broken")

    monkeypatch.setattr(convolution.Conv, "forward", refuse)
    assert main(options) == 1
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert claim["float64"] is None
    assert claim["failure"] == "case 0 (1-d): RuntimeError: broken"


@pytest.mark.parametrize("options", [["--cases", "0"], ["--only", "nonsense"], ["--seed", "-1"]])
def test_the_command_refuses_what_cannot_be_tried(options, capsys):
    assert main(["verify", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("visarch: ")
    assert captured.err.count("\n") == 1
