"""labml.ai's U-Net computes what ours does (tests/models/test_peers.py), but is another one."""

import pytest
import torch

from visarch.bench.peers import labml
from visarch.models.config import UNetConfig


def test_labmls_unet_learns_with_weights_of_its_own():
    pytest.importorskip("labml_nn")
    config = UNetConfig(
        widths=(32, 64), attends=(False, True), num_blocks=1, context_dim=128, attention="residual"
    )
    ours = labml.like_labml(config)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    for weight in labml.unet(ours).parameters():
        weight.data.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_labmls_steps_go_from_its_noise_to_its_image():
    pytest.importorskip("labml_nn")
    diffusion = labml.diffusion(lambda x, t: torch.zeros_like(x))
    assert len(diffusion.alpha_bar) == labml.NUM_STEPS
    assert diffusion.alpha_bar[0] > 0.999
    assert diffusion.alpha_bar[-1] < 1e-4
