"""The U-Net: the note's sizes at every step, any image size, its context, its attention."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch import Attn, ContextEmbedding, Denoiser, GroupNorm, UNet, UNetConfig
from visarch.models.unet import ResBlockU, ResidualAttn, swish

from .variants import unet_config
from .weights import randomize

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
THREE_LEVELS = {"widths": (4, 6, 8), "attends": (False, True, True), "num_groups": 2}


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def steps_of(model: UNet, x: Tensor, u: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of every named step, in the order in which they are made."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in (model.descend, model.ascend):
        for name, step in part.items():
            step.register_forward_hook(
                lambda _, __, z, name=name: shapes.__setitem__(name, tuple(z.shape[1:]))
            )
    shapes["y"] = tuple(model(x, u).shape[1:])
    return shapes


# The note's network.


def test_the_default_has_the_parameters_of_the_specification():
    with torch.device("meta"):
        assert num_parameters(UNet()) == 168_803_523


def test_every_step_has_the_size_of_the_note():
    with torch.device("meta"):
        shapes = steps_of(UNet(), torch.empty(2, 3, 32, 32), torch.empty(2, 256))
    expected = {
        **dict.fromkeys(["z1", "z2", "z3"], (64, 32, 32)),
        "z4": (64, 16, 16),
        **dict.fromkeys(["z5", "z6"], (128, 16, 16)),
        "z7": (128, 8, 8),
        **dict.fromkeys(["z8", "z9"], (256, 8, 8)),
        "z10": (256, 4, 4),
        **dict.fromkeys(["z11", "z12"], (1024, 4, 4)),
        **dict.fromkeys(["y13", "y12", "y11"], (1024, 4, 4)),
        "y10_bar": (256, 4, 4),
        **dict.fromkeys(["y10", "y9", "y8"], (256, 8, 8)),
        "y7_bar": (128, 8, 8),
        **dict.fromkeys(["y7", "y6", "y5"], (128, 16, 16)),
        "y4_bar": (64, 16, 16),
        **dict.fromkeys(["y4", "y3", "y2", "y1"], (64, 32, 32)),
        "y": (3, 32, 32),
    }
    assert shapes == expected
    assert [name for name in shapes if name != "y"] == list(expected)[:-1]


def test_attention_follows_the_steps_where_the_note_has_it():
    with torch.device("meta"):
        model = UNet()
    attending = {name.rsplit(".", 2)[0] for name, _ in model.named_parameters() if ".proj" in name}
    assert attending == {
        f"{part}.attention"
        for part in (
            *("descend.z8", "descend.z9", "descend.z11", "descend.z12", "ascend.y13.first"),
            *("ascend.y12", "ascend.y11", "ascend.y10_bar", "ascend.y9", "ascend.y8"),
            "ascend.y7_bar",
        )
    }
    heads = {(m.num_heads, m.head_dim == m.channels) for m in model.modules() if type(m) is Attn}
    assert heads == {(1, True)}
    assert {m.num_groups for m in model.modules() if isinstance(m, GroupNorm)} == {32}
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.1}


# Any size.


@pytest.mark.parametrize(
    "sizes", [(50, 37), (31, 31), (32, 32), (3, 70), (1, 1), (101,), (1,), (9, 8, 7)]
)
@pytest.mark.parametrize("in_channels", [1, 5])
def test_the_image_keeps_its_size(sizes: tuple[int, ...], in_channels: int):
    config = unet_config(**THREE_LEVELS, in_channels=in_channels, ndim=len(sizes), num_blocks=1)
    model, x = UNet(config).eval(), torch.rand(2, in_channels, *sizes)
    with torch.no_grad():
        assert model(x, torch.randn(2, 16)).shape == x.shape


def test_channels_out_may_differ_from_those_in():
    model = UNet(unet_config(in_channels=4, out_channels=7))
    assert model(torch.rand(2, 4, 8, 8), torch.randn(2, 16)).shape == (2, 7, 8, 8)


@pytest.mark.parametrize("sizes", [(7, 9), (4, 10), (5,), (3, 4, 6)])
def test_sides_that_cannot_be_halved_are_padded_with_zeros_and_cropped(sizes: tuple[int, ...]):
    model = randomize(UNet(unet_config(**THREE_LEVELS, ndim=len(sizes), num_blocks=1)))
    x, u = torch.rand(2, 3, *sizes), torch.randn(2, 16)
    larger = torch.zeros(2, 3, *(4 * math.ceil(size / 4) for size in sizes))
    inside = (..., *(slice(size) for size in sizes))
    larger[inside] = x
    with torch.no_grad():
        torch.testing.assert_close(model(x, u), model(larger, u)[inside])


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@pytest.mark.parametrize("widths", [(4,), (4, 8), (8, 4, 6, 6)])
def test_any_number_of_levels_and_blocks(widths: tuple[int, ...], num_blocks: int):
    """Steps are numbered as in the note: one ascent step beside each descent step, one turn."""
    attends = tuple(level % 2 == 1 for level in range(len(widths)))
    config = unet_config(widths=widths, attends=attends, num_groups=2, num_blocks=num_blocks)
    shapes = steps_of(UNet(config), torch.rand(2, 3, 8, 8), torch.randn(2, 16))

    number = len(widths) * (num_blocks + 1)
    down = [name for name in shapes if name.startswith("z")]
    up = [name for name in shapes if name.startswith("y") and name not in ("y", f"y{number + 1}")]
    assert down == [f"z{i}" for i in range(1, number + 1)]
    barred = [name for name in up if name.endswith("_bar")]
    assert barred == [
        f"y{level * (num_blocks + 1) + 1}_bar" for level in reversed(range(1, len(widths)))
    ]
    assert [n for n in up if n not in barred] == [f"y{i}" for i in range(number, 0, -1)]
    for name in barred:  # ȳ_i is as large as z_i; y_i as the z above
        assert shapes[name][1:] == shapes[f"z{name[1:-4]}"][1:]
    for i in range(1, number):
        assert shapes[f"y{i + 1}"][1:] == shapes[f"z{i}"][1:]


# The residual block and its context.


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("out_channels", [4, 6])
def test_the_residual_block_follows_the_note(out_channels: int, ndim: int):
    block = randomize(ResBlockU(4, out_channels, context_dim=5, num_groups=2, ndim=ndim)).double()
    x, u = torch.randn(2, 4, *(5, 4, 3)[:ndim]).double(), torch.randn(2, 5).double()

    def norm_and_swish(norm: GroupNorm, x: Tensor) -> Tensor:
        x = functional.group_norm(x, 2, norm.weight, norm.bias)
        return x * x.sigmoid()

    conv, conv1, conv2 = CONVOLVE[ndim], block.conv1, block.conv2
    z1 = conv(norm_and_swish(block.norm1, x), conv1.weight, conv1.bias, padding=1)
    context = functional.linear(u * u.sigmoid(), block.context.weight, block.context.bias)
    z2 = z1 + context.view(2, out_channels, *(1,) * ndim)
    z3 = conv(norm_and_swish(block.norm2, z2), conv2.weight, conv2.bias, padding=1)
    same = out_channels == 4
    shortcut = x if same else conv(x, block.shortcut.weight, block.shortcut.bias)
    torch.testing.assert_close(block(x, u), z3 + shortcut, rtol=0, atol=1e-10)


def test_dropout_drops_while_training_and_only_then():
    block, x, u = ResBlockU(4, 4, num_groups=2), torch.rand(2, 4, 5, 5), torch.randn(2, 256)
    assert not torch.equal(block(x, u), block(x, u))
    block.eval()
    assert torch.equal(block(x, u), block(x, u))
    assert torch.equal(UNet(unet_config(dropout=0.0)).descend.z2.block.dropout(x), x)


@torch.no_grad()
def test_each_image_has_its_own_context():
    model = randomize(UNet(unet_config()))
    x, u = torch.rand(1, 3, 8, 8).expand(3, 3, 8, 8), torch.randn(3, 16)
    together = model(x, u)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], model(x[:1], u[i : i + 1]))
    assert (together[0] - together[1]).abs().max() > 1e-3


# The forms of attention.


@torch.no_grad()
def test_the_forms_of_attention():
    attn, norm, x = Attn(8, num_heads=2), GroupNorm(8, num_groups=4), torch.randn(2, 8, 3, 5)
    nn.init.normal_(norm.weight)
    torch.testing.assert_close(ResidualAttn(attn, nn.Identity())(x), x + attn(x))
    torch.testing.assert_close(ResidualAttn(attn, norm)(x), x + attn(norm(x)))


@pytest.mark.parametrize(
    ("form", "modules"),
    [("literal", [Attn]), ("residual", [ResidualAttn]), ("prenorm", [ResidualAttn])],
)
def test_the_form_is_that_of_the_configuration(form: str, modules: list[type]):
    model = UNet(unet_config(attention=form, num_heads=2, head_dim=3))
    steps = [model.descend.z5, model.ascend.y7.first, model.ascend.y6, model.ascend.y4_bar]
    assert all(type(step.attention) in modules for step in steps)
    assert type(model.descend.z3.attention) is nn.Identity
    for module in model.modules():
        if isinstance(module, ResidualAttn):
            assert isinstance(module.norm, GroupNorm if form == "prenorm" else nn.Identity)
        if isinstance(module, Attn):
            assert (module.num_heads, module.head_dim) == (2, 3)


@torch.no_grad()
@pytest.mark.parametrize("form", ["residual", "prenorm"])
def test_a_shortcut_lets_the_image_past_an_attention_that_says_nothing(form: str):
    silent, without = UNet(unet_config(attention=form)), UNet(unet_config(attends=(False, False)))
    for module in silent.modules():
        if isinstance(module, Attn):
            nn.init.zeros_(module.output.weight)
            nn.init.zeros_(module.output.bias)
    weights = {k: v for k, v in silent.state_dict().items() if ".attention." not in k}
    without.load_state_dict(weights, strict=True)
    x, u = torch.rand(2, 3, 8, 8), torch.randn(2, 16)
    torch.testing.assert_close(silent.eval()(x, u), without.eval()(x, u))


# The context embedding.


def test_the_time_is_embedded_as_written():
    embedding = ContextEmbedding(32).double()
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    frequencies = 10_000.0 ** -(np.arange(4) / 3)  # geometric from 1 to 10⁻⁴
    angles = 1000 * t.numpy()[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    hidden = linear(embedding.time1, waves)
    expected = linear(embedding.time2, hidden / (1 + np.exp(-hidden)))
    np.testing.assert_allclose(embedding(t).detach().numpy(), expected, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_embedding_in_low_precision_still_tells_the_time(dtype: torch.dtype):
    """Angles reach 1000 radians, where numbers of 16 bits stand several radians apart."""
    embedding, t = ContextEmbedding(64), torch.linspace(0, 1, 33)
    expected = embedding(t)
    actual = embedding.to(dtype)(t)
    assert actual.dtype == dtype
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=0.02)


def test_times_apart_are_told_apart():
    u = ContextEmbedding(256)(torch.linspace(0, 1, 101))
    assert torch.cdist(u, u).fill_diagonal_(1).min() > 1e-2


def test_a_label_adds_its_own_vector_and_no_label_another():
    embedding, t = ContextEmbedding(32, num_classes=3), torch.rand(4)
    labels = torch.tensor([0, 1, 2, -1])
    without = embedding(t)
    added = embedding(t, labels) - without
    assert torch.equal(embedding(t, torch.full((4,), -1)), without)
    assert torch.equal(added[3], torch.zeros(32))
    plain = ContextEmbedding(32)
    plain.load_state_dict({k: v for k, v in embedding.state_dict().items() if "label" not in k})
    vectors = embedding(t, labels) - plain(t)
    assert torch.cdist(vectors, vectors).fill_diagonal_(1).min() > 0.1  # four, all different
    torch.testing.assert_close(embedding(t.flip(0), labels) - plain(t.flip(0)), vectors)


@pytest.mark.parametrize("label", [-2, 3])
def test_a_label_that_there_is_not_is_refused(label: int):
    with pytest.raises(IndexError):
        ContextEmbedding(32, num_classes=3)(torch.rand(1), torch.tensor([label]))


def test_a_vector_is_added_linearly():
    embedding, t, v = ContextEmbedding(16, vector_dim=2), torch.rand(3), torch.randn(3, 2)
    zero, weight = torch.zeros(3, 2), embedding.vector.weight
    torch.testing.assert_close(embedding(t, None, v) - embedding(t, None, zero), v @ weight.T)
    torch.testing.assert_close(
        embedding(t, vector=zero)[0] - embedding(t, vector=zero)[1],
        embedding(t, vector=v[:1].expand(3, 2))[0] - embedding(t, vector=v[:1].expand(3, 2))[1],
        rtol=0,
        atol=1e-5,
    )


@torch.no_grad()
def test_the_denoiser_is_the_unet_under_its_embedding():
    model = randomize(Denoiser(unet_config(), num_classes=3, vector_dim=2))
    x, t, v = torch.rand(2, 3, 8, 8), torch.rand(2), torch.randn(2, 2)
    label = torch.tensor([2, -1])
    assert torch.equal(model(x, t, label, v), model.unet(x, model.context(t, label, v)))
    assert model.config == model.unet.config


def test_swish():
    x = torch.linspace(-5, 5, 11)
    torch.testing.assert_close(swish(x), x / (1 + torch.exp(-x)))


@pytest.mark.usefixtures("as_for_users")
def test_a_configuration_read_from_json_is_the_same():
    assert UNetConfig(widths=[64, 128, 256, 1024], attends=[False, False, True, True]) == (
        UNetConfig()
    )


X, T, U = torch.zeros(2, 3, 8, 8), torch.zeros(2), torch.zeros(2, 16)

REFUSED = {
    "no levels": (lambda: UNetConfig(widths=(), attends=()), r"widths \(\)"),
    "levels that attend": (
        lambda: UNetConfig(attends=(True, False)),
        r"attends \(True, False\) must say yes or no for each of the 4 levels",
    ),
    "blocks": (lambda: UNetConfig(num_blocks=0), "num_blocks is 0.*at least 1"),
    "form of attention": (
        lambda: UNetConfig(attention="linear"),
        "attention is 'linear'.*literal, residual, prenorm",
    ),
    "groups": (
        lambda: UNetConfig(widths=(32, 48), attends=(True, True), num_groups=32),
        r"num_groups 32 does not divide the widths \[48\].*a divisor of 16, such as 16",
    ),
    "negative groups": (lambda: UNetConfig(num_groups=-4), "num_groups is -4.*at least 1"),
    "no groups": (lambda: UNetConfig(num_groups=0), "num_groups is 0.*at least 1"),
    "no context": (lambda: UNetConfig(context_dim=0), "context_dim is 0.*at least 1"),
    "empty heads": (lambda: UNetConfig(head_dim=0), "head_dim is 0.*at least 1"),
    "widths": (
        lambda: UNetConfig(widths=(32, -32), attends=(True, True)),
        r"widths is \(32, -32\).*at least 1",
    ),
    "heads": (
        lambda: UNet(unet_config(num_heads=5)),
        r"5 heads do not divide 12 channels.*\[1, 2, 3, 4, 6, 12\]",
    ),
    "no channels": (lambda: UNetConfig(in_channels=0), "in_channels is 0.*at least 1"),
    "axes": (lambda: UNetConfig(ndim=4), "ndim is 4.*1, 2, 3"),
    "dropout": (lambda: UNetConfig(dropout=-0.5), r"dropout is -0.5.*\[0, 1\)"),
    "channels of the input": (
        lambda: UNet(unet_config(in_channels=1))(X, U),
        r"UNet.*\(2, 3, 8, 8\).*2-d with 1 channels.*\(batch, 1, height, width\)",
    ),
    "length of the context": (
        lambda: UNet(unet_config())(X, torch.zeros(2, 15)),
        r"context of shape \(2, 15\) for 2 images.*\(2, 16\)",
    ),
    "number of contexts": (
        lambda: UNet(unet_config())(X, torch.zeros(1, 16)),
        r"context of shape \(1, 16\) for 2 images.*\(2, 16\)",
    ),
    "length of the embedding": (lambda: ContextEmbedding(20), "dim is 20.*multiple of 8"),
    "too short an embedding": (lambda: ContextEmbedding(8), "dim is 8.*16"),
    "no classes": (lambda: ContextEmbedding(num_classes=0), "num_classes is 0.*at least 1"),
    "empty vectors": (lambda: ContextEmbedding(vector_dim=0), "vector_dim is 0.*at least 1"),
    "labels not asked for": (
        lambda: Denoiser(unet_config())(X, T, torch.zeros(2, dtype=torch.long)),
        "labels were given.*without num_classes",
    ),
    "vectors not asked for": (
        lambda: Denoiser(unet_config())(X, T, vector=torch.zeros(2, 5)),
        "vector was given.*without vector_dim",
    ),
    "vectors not given": (
        lambda: Denoiser(unet_config(), vector_dim=5)(X, T),
        r"vector is None.*\(batch, 5\)",
    ),
    "length of the vectors": (
        lambda: Denoiser(unet_config(), vector_dim=5)(X, T, vector=torch.zeros(2, 4)),
        r"vector is \(2, 4\).*\(batch, 5\)",
    ),
}


@pytest.mark.usefixtures("as_for_users")
@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()
