"""The norms against torch.nn's, and the template's promise: zero mean, unit variance."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from visarch import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, normalize
from visarch.blocks.normalization import Normalization

BATCH_NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORMS = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
EPSILON = st.sampled_from([1e-5, 1e-2])
SIZES = st.lists(st.integers(2, 4), max_size=3).map(tuple)
SOME_SIZES = st.lists(st.integers(2, 4), min_size=1, max_size=3).map(tuple)


def batch(channels: int, sizes: tuple[int, ...]) -> Tensor:
    """Away from zero mean and unit variance, differently in every channel."""
    shape = (1, channels, *(1,) * len(sizes))
    x = torch.randn(3, channels, *sizes, dtype=torch.float64)
    return x * (torch.rand(shape, dtype=x.dtype) + 0.5) + torch.randn(shape, dtype=x.dtype)


def with_weights(norm: Normalization) -> Normalization:
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.double()


def peer_of(norm: Normalization, peer: nn.Module) -> nn.Module:
    peer.load_state_dict(norm.state_dict(), strict=True)
    return peer.double()


def values_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    sources = [x, *(parameter for _, parameter in sorted(module.named_parameters()))]
    return [y, *torch.autograd.grad((y * direction).sum(), sources)]


def assert_equal(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@given(groups=st.integers(1, 3), per_group=st.integers(1, 3), sizes=SIZES, epsilon=EPSILON)
def test_group_norm_is_torchs(groups: int, per_group: int, sizes: tuple[int, ...], epsilon: float):
    channels = groups * per_group
    norm = with_weights(GroupNorm(channels, num_groups=groups, epsilon=epsilon))
    peer = peer_of(norm, nn.GroupNorm(groups, channels, eps=epsilon))
    x = batch(channels, sizes)
    assert_equal(values_and_gradients(norm, x), values_and_gradients(peer, x))


@given(channels=st.integers(1, 4), sizes=SOME_SIZES, epsilon=EPSILON)
def test_instance_norm_is_torchs(channels: int, sizes: tuple[int, ...], epsilon: float):
    norm = with_weights(InstanceNorm(channels, epsilon=epsilon))
    peer = peer_of(norm, INSTANCE_NORMS[len(sizes)](channels, eps=epsilon, affine=True))
    x = batch(channels, sizes)
    assert_equal(values_and_gradients(norm, x), values_and_gradients(peer, x))


@given(channels=st.integers(1, 4), sizes=SIZES, epsilon=EPSILON)
def test_layer_norm_is_torchs_over_the_whole_image(channels, sizes, epsilon: float):
    """torch's normalizes alike; its γ and β per pixel are ours, repeated over the pixels."""
    norm, x = with_weights(LayerNorm(channels, epsilon=epsilon)), batch(channels, sizes)
    peer = nn.LayerNorm((channels, *sizes), eps=epsilon, dtype=torch.float64)
    per_channel = (channels, *(1,) * len(sizes))
    peer.weight.data = norm.weight.data.view(per_channel).expand(channels, *sizes).contiguous()
    peer.bias.data = norm.bias.data.view(per_channel).expand(channels, *sizes).contiguous()
    assert_equal(norm(x), peer(x))


@given(
    channels=st.integers(1, 4),
    sizes=SIZES,
    epsilon=EPSILON,
    momentum=st.sampled_from([0.1, 0.5]),
)
def test_batch_norm_is_torchs_while_training_and_after(channels, sizes, epsilon, momentum):
    norm = with_weights(BatchNorm(channels, epsilon=epsilon, momentum=momentum))
    peer = BATCH_NORMS[len(sizes)](channels, eps=epsilon, momentum=momentum)
    peer = peer_of(norm, peer)
    for _ in range(3):
        x = batch(channels, sizes)
        assert_equal(values_and_gradients(norm, x), values_and_gradients(peer, x))
    assert list(norm.state_dict()) == list(peer.state_dict())
    assert_equal(norm.state_dict(), peer.state_dict())
    assert norm.num_batches_tracked == 3

    x, before = batch(channels, sizes), {k: v.clone() for k, v in norm.state_dict().items()}
    assert_equal(values_and_gradients(norm.eval(), x), values_and_gradients(peer.eval(), x))
    assert all(torch.equal(norm.state_dict()[name], before[name]) for name in before)


def test_a_batch_norm_in_eval_mode_looks_at_each_example_alone():
    norm = with_weights(BatchNorm(3)).eval()
    x = batch(3, (4, 4))
    assert_equal(norm(x)[1:2], norm(x[1:2]))


SELECTED = {  # the axes of (b, G, C/G, pixels) that are normalized together
    "batch": (0, 3),
    "layer": (1, 2, 3),
    "instance": (3,),
    "group": (2, 3),
}


@pytest.mark.parametrize("select", SELECTED)
@given(groups=st.integers(1, 3), per_group=st.integers(1, 3), sizes=SOME_SIZES)
def test_the_selected_elements_have_zero_mean_and_unit_variance(select, groups, per_group, sizes):
    x = batch(groups * per_group, sizes)
    options = {"num_groups": groups} if select == "group" else {}
    normalized = normalize(x, select, **options, epsilon=0.0)
    split = normalized.reshape(len(x), groups, per_group, -1)
    axes = SELECTED[select]
    means, variances = split.mean(axes), split.var(axes, correction=0)
    assert_equal(means, torch.zeros_like(means))
    assert_equal(variances, torch.ones_like(variances))


@pytest.mark.parametrize("select", SELECTED)
@given(groups=st.integers(1, 3), per_group=st.integers(1, 3), sizes=SOME_SIZES)
def test_the_layers_are_the_template_with_gamma_and_beta(select, groups, per_group, sizes):
    channels = groups * per_group
    layers = {
        "batch": BatchNorm(channels),
        "layer": LayerNorm(channels),
        "instance": InstanceNorm(channels),
        "group": GroupNorm(channels, num_groups=groups),
    }
    layer, x = with_weights(layers[select]), batch(channels, sizes)
    options = {"num_groups": groups} if select == "group" else {}
    gamma, beta = (v.view(-1, *(1,) * len(sizes)) for v in (layer.weight, layer.bias))
    assert_equal(layer(x), gamma * normalize(x, select, **options) + beta)


def test_groups_are_of_consecutive_channels():
    """Channel c belongs to group ⌊c / (C / G)⌋: what another group holds changes nothing."""
    norm, x = with_weights(GroupNorm(6, num_groups=3)), batch(6, (4,))
    changed = x.clone()
    changed[:, 2:4] += batch(2, (4,))
    same = (norm(x) == norm(changed)).all((0, 2))
    assert same.tolist() == [True, True, False, False, True, True]


def test_the_note_has_32_groups_and_its_epsilon():
    norm = GroupNorm(64)
    assert (norm.num_groups, norm.epsilon) == (32, 0.00001)


REFUSED = {
    "groups that do not divide": (
        lambda: GroupNorm(12, num_groups=5),
        r"GroupNorm: 5 groups do not divide 12 channels.*\[1, 2, 3, 4, 6, 12\]",
    ),
    "the default groups": (lambda: GroupNorm(48), "32 groups do not divide 48 channels"),
    "no groups": (lambda: GroupNorm(4, num_groups=0), r"0 groups.*\[1, 2, 4\]"),
    "channels of the input": (
        lambda: LayerNorm(4)(torch.zeros(2, 3, 5)),
        r"LayerNorm.*\(2, 3, 5\).*\(batch, 4, …\)",
    ),
    "channels of the batch": (
        lambda: BatchNorm(4)(torch.zeros(2, 3, 5)),
        r"BatchNorm.*\(2, 3, 5\).*\(batch, 4, …\)",
    ),
    "one value": (lambda: BatchNorm(4)(torch.zeros(1, 4)), r"[Mm]ore than 1 value per channel"),
    "groups not asked for": (
        lambda: normalize(torch.zeros(2, 4), "layer", num_groups=2),
        'num_groups is 2 with select="layer"',
    ),
    "groups not given": (
        lambda: normalize(torch.zeros(2, 4), "group"),
        'num_groups is None with select="group"',
    ),
    "groups of the template": (
        lambda: normalize(torch.zeros(2, 4), "group", num_groups=3),
        r"3 groups do not divide 4 channels.*\[1, 2, 4\]",
    ),
}


@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()
