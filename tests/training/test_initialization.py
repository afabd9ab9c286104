"""Starting from weights that expect normalized images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from visarch import ResNet, ResNetConfig
from visarch.training.initialization import absorb_normalization, start_from

MEAN, DEVIATION = (0.5, 0.4, 0.1), (0.2, 0.3, 2.0)


def network() -> ResNet:
    model = ResNet(ResNetConfig(num_classes=2, depths=(1,), widths=(4,))).eval()
    model.norm.running_mean.normal_()
    return model


@torch.no_grad()
def test_a_network_takes_images_as_they_are_in_place_of_normalized_ones():
    normalizing, absorbing, x = network(), network(), torch.rand(2, 3, 9, 9)
    absorbing.load_state_dict(normalizing.state_dict())
    normalizing.normalize_inputs(MEAN, DEVIATION)
    absorb_normalization(absorbing, MEAN, DEVIATION)
    expected, found = normalizing.stages(x)["z"], absorbing.stages(x)["z"]
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(found[inside], expected[inside])
    assert not torch.allclose(found, expected)  # at the edge, which is why images are normalized


@pytest.mark.parametrize("settings", [{}, {"mean": MEAN, "deviation": DEVIATION}])
def test_training_starts_from_weights_for_images_as_they_are(settings: dict, tmp_path: Path):
    kept, model = network(), network()
    kept.save_pretrained(tmp_path)
    (tmp_path / "task.json").write_text(json.dumps({"settings": settings}))
    assert start_from(model, str(tmp_path)) == "all of its weights fit"
    if settings:
        absorb_normalization(kept, **settings)
    for name, tensor in kept.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
