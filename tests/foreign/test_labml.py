"""labml.ai's U-Net: the same outputs at every time, or the reason why not."""

from __future__ import annotations

import re

import pytest
import torch

from visarch.errors import UserError
from visarch.foreign.labml import UNUSED, configuration, denoiser, outputs
from visarch.models.config import UNetConfig

from .peers import MISSHAPEN, trained

pytestmark = pytest.mark.usefixtures("as_for_users")

SMALL = {"n_channels": 32, "ch_mults": (1, 2), "is_attn": (False, True), "n_blocks": 1}
CASES = {
    "default": {},
    "two levels": SMALL,
    "attention everywhere": SMALL | {"is_attn": (True, True), "n_blocks": 2, "image_channels": 1},
    "one level": SMALL | {"ch_mults": (1,), "is_attn": (True,)},
}


def peer(**settings):
    pytest.importorskip("labml_nn", reason="the extra `peers` is not installed")
    from labml_nn.diffusion.ddpm.unet import UNet

    return UNet(**settings)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
@torch.no_grad()
def test_the_same_outputs(settings: dict):
    theirs = trained(peer(**settings))
    weights = dict(theirs.state_dict())
    ours = denoiser(weights)
    steps = torch.tensor([0.0, 41.0, 999.0])
    x = torch.randn(3, settings.get("image_channels", 3), 16, 16)
    expected = theirs(x, steps)
    torch.testing.assert_close(ours(x, steps / 1000), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs(weights, x, steps), expected, rtol=1e-5, atol=1e-5)


def test_its_default_is_the_notes_but_for_attention_and_last_groups():
    with torch.device("meta"):
        found = configuration(dict(peer().state_dict()))
    assert found == UNetConfig(widths=(64, 128, 256, 1024), attention="residual", last_groups=8)


REFUSED = {
    "level": (SMALL | {"ch_mults": (2, 1)}, {}, "widens 32 channels to 64"),
    "middle": (SMALL | {"is_attn": (True, False)}, {}, "lowest level does not attend"),
    "heads": (SMALL, {"middle.attn.projection.weight": (384, 64)}, r"\(384, 64\), of other heads"),
    "unknown": (SMALL, {"extra": (1,)}, "unknown: extra"),
    "shape": (SMALL, {"norm.weight": (3,)}, r"norm\.weight is \(3,\), not \(32,\)"),
}


@pytest.mark.parametrize(("settings", "changes", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named(settings: dict, changes: dict, answer: str):
    weights = dict(peer(**settings).state_dict())
    weights |= {name: torch.zeros(shape) for name, shape in changes.items()}
    with pytest.raises(UserError, match=answer):
        denoiser(weights)


@pytest.mark.parametrize("shape", MISSHAPEN, ids=str)
def test_no_tensor_may_have_another_shape(shape: tuple[int, ...]):
    weights = dict(peer(**SMALL).state_dict())
    for name in weights:
        if UNUSED not in name:
            with pytest.raises(ValueError, match=re.escape(name) + "|dim is (5|11)"):
                denoiser(weights | {name: torch.zeros(shape)})


def test_numbers_that_are_no_place_of_a_block():
    weights = {**peer(**SMALL).state_dict(), "down.last.res.conv1.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"unknown: down\.last"):
        denoiser(weights)


def test_another_network_is_named():
    with pytest.raises(UserError, match=r"no DDPM U-Net.*image_proj\.weight.*begin with conv"):
        denoiser({"conv.weight": torch.zeros(1)})


def test_a_missing_tensor_is_named():
    weights = dict(peer(**SMALL).state_dict())
    del weights["up.0.res.time_emb.bias"]
    with pytest.raises(UserError, match=r"missing: up\.0\.res\.time_emb\.bias"):
        denoiser(weights)
