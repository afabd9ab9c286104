"""Independent public implementations of the same networks, with our weights copied into them.

The peers are not needed for anything else: ``make test`` installs them (extra ``peers``), and where
they are missing these tests are skipped.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from visarch import Denoiser, ResNet, ResNetConfig, UNetConfig

from .weights import randomize

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers", reason="the extra `peers` is not installed")


@pytest.fixture(scope="module")
def labml_unet() -> ModuleType:
    """labml.ai's diffusion U-Net, which the note follows, without the rest of its package."""
    package = importlib.util.find_spec("labml_nn")
    if package is None or package.origin is None:
        pytest.skip("the extra `peers` is not installed")
    path = Path(package.origin).parent / "diffusion" / "ddpm" / "unet.py"
    spec = importlib.util.spec_from_file_location("labml_unet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def adopt(peer: nn.Module, ours: nn.Module, renamings: list[tuple[str, str]]) -> nn.Module:
    """The peer with our weights under its own names: all of ours, for all of its own."""
    renamed = {}
    for name, tensor in ours.state_dict().items():
        for old, new in renamings:
            name = name.replace(old, new)
        renamed[name] = tensor
    peer.load_state_dict(renamed, strict=True, assign=True)
    return peer.eval()


RESNETS = {
    "resnet50-small-stem": ResNetConfig(),
    "resnet50-large-stem": ResNetConfig(stem="large"),
    "residual-blocks": ResNetConfig(block="residual", depths=(2, 1, 3), widths=(8, 12, 16)),
    "five-channels": ResNetConfig(in_channels=5, depths=(1, 2), widths=(8, 12), stem="large"),
}


@pytest.mark.parametrize("config", RESNETS.values(), ids=RESNETS)
def test_resnet_is_that_of_transformers(transformers: ModuleType, config: ResNetConfig):
    ours = randomize(ResNet(config))
    residual = config.block == "residual"
    with torch.device("meta"):
        peer = transformers.ResNetModel(
            transformers.ResNetConfig(
                num_channels=config.in_channels,
                embedding_size=config.widths[0],
                hidden_sizes=[width * (1 if residual else 4) for width in config.widths],
                depths=list(config.depths),
                layer_type="basic" if residual else "bottleneck",
            )
        )
        if config.stem == "small":  # theirs has the large one only
            convolution = nn.Conv2d(config.in_channels, config.widths[0], 3, padding=1, bias=False)
            peer.embedder.embedder.convolution = convolution
            peer.embedder.pooler = nn.Identity()
    renamings = [("conv.", "embedder.embedder.convolution.")]
    renamings += [("norm.", "embedder.embedder.normalization.")]
    renamings += [("shortcut.0.", "shortcut.convolution.")]
    renamings += [("shortcut.1.", "shortcut.normalization.")]
    renamings += [(f"conv{i + 1}.", f"layer.{i}.convolution.") for i in range(3)]
    renamings += [(f"norm{i + 1}.", f"layer.{i}.normalization.") for i in range(3)]
    renamings += [(f"stacks.{i}.", f"encoder.stages.{i}.layers.") for i in range(4)]
    adopt(peer, ours, renamings)

    x = torch.rand(2, config.in_channels, 32, 45)
    with torch.no_grad():
        steps = ours.stages(x)
        output = peer(x, output_hidden_states=True)
    expected = [*output.hidden_states, output.pooler_output.flatten(1)]
    for (name, actual), hidden in zip(steps.items(), expected, strict=True):
        torch.testing.assert_close(actual, hidden, **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


UNETS = {
    "the-notes": UNetConfig(attention="residual"),
    "three-levels": UNetConfig(
        in_channels=1,
        widths=(32, 32, 96),
        attends=(True, False, True),
        num_blocks=1,
        context_dim=128,
        attention="residual",
    ),
}


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS)
def test_unet_and_its_time_embedding_are_those_of_labml(labml_unet: ModuleType, config: UNetConfig):
    """Two differences of theirs are set aside: attention keeps a shortcut, and 8 last groups."""
    ours = randomize(Denoiser(config))
    above = (config.widths[0], *config.widths)
    with torch.device("meta"):
        peer = labml_unet.UNet(
            image_channels=config.in_channels,
            n_channels=config.widths[0],
            ch_mults=[b // a for a, b in zip(above, config.widths, strict=False)],
            is_attn=config.attends,
            n_blocks=config.num_blocks,
        )
    peer.norm.num_groups = config.num_groups
    for module in peer.modules():
        if isinstance(module, labml_unet.AttentionBlock):
            del module.norm  # made there, and never applied

    first, *down = [f"unet.descend.{name}." for name in ours.unet.descend]
    turn, *up = [f"unet.ascend.{name}." for name in ours.unet.ascend]
    renamings = [
        ("context.time1.", "time_emb.lin1."),
        ("context.time2.", "time_emb.lin2."),
        (first, "image_proj."),
        *((name, f"down.{index}.") for index, name in enumerate(down)),
        (f"{turn}first.block.", "middle.res1."),
        (f"{turn}first.attention.", "middle.attention."),
        (f"{turn}second.block.", "middle.res2."),
        *((name, f"up.{index}.") for index, name in enumerate(up)),
        ("unet.norm.", "norm."),
        ("unet.conv.", "final."),
        ("block.", "res."),
        ("attention.attn.", "attn."),
        ("context.", "time_emb."),
    ]
    resamplings = [
        f"{path}.{index}."
        for path in ("down", "up")
        for index, module in enumerate(getattr(peer, path))
        if isinstance(module, labml_unet.Downsample | labml_unet.Upsample)
    ]
    renamings += [(name, f"{name}conv.") for name in resamplings]
    adopt(peer, ours, renamings)

    x, t = torch.rand(2, config.in_channels, 32, 24), torch.tensor([0.0, 0.731])
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), peer(x, 1000 * t), **TOLERANCE)
