"""Independent public implementations of the same networks, with our weights copied into them.

The peers are not needed for anything else but benchmarks: ``make test`` installs them, and where
they are missing these tests are skipped.
"""

from dataclasses import replace

import pytest
import torch

from visarch import ResNet, ResNetConfig, UNetConfig
from visarch.bench.peers import huggingface, labml

from .weights import randomize

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

RESNETS = {
    "resnet50-small-stem": ResNetConfig(),
    "resnet50-large-stem": ResNetConfig(stem="large"),
    "residual-blocks": ResNetConfig(block="residual", depths=(2, 1, 3), widths=(8, 12, 16)),
    "five-channels": ResNetConfig(in_channels=5, depths=(1, 2), widths=(8, 12), stem="large"),
}


@pytest.mark.parametrize("config", RESNETS.values(), ids=RESNETS)
def test_resnet_is_that_of_transformers(config: ResNetConfig):
    pytest.importorskip("transformers", reason="the extra `peers` is not installed")
    ours = randomize(ResNet(replace(config, num_classes=3)))
    x = torch.rand(2, config.in_channels, 32, 45)
    with torch.no_grad():
        steps = ours.stages(x) | {"logits": ours(x)}
        peer = huggingface.resnet(ours)
        output = peer.resnet(x, output_hidden_states=True)
        expected = [*output.hidden_states, output.pooler_output.flatten(1), peer(x).logits]
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
def test_unet_and_its_time_embedding_are_those_of_labml(config: UNetConfig):
    """Two differences of theirs are set aside: attention keeps a shortcut, and 8 last groups."""
    pytest.importorskip("labml_nn", reason="the extra `peers` is not installed")
    ours = labml.like_labml(config)
    randomize(ours)
    x, t = torch.rand(2, config.in_channels, 32, 24), torch.tensor([0.0, 0.731])
    with torch.no_grad():
        peer = labml.unet(ours)
        torch.testing.assert_close(ours(x, t), peer(x, 1000 * t), **TOLERANCE)
