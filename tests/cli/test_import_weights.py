"""``visarch import``: a file of another package becomes a model folder that the verbs open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import visarch as package
from visarch.foreign import importing

from ..foreign.peers import PeerResNet, trained

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def peer(tmp_path: Path) -> PeerResNet:
    """A small ResNet of torchvision's names, whose weights lie in weights.safetensors."""
    network = trained(PeerResNet(18, classes=3, width=8))
    save_file(dict(network.state_dict()), tmp_path / "weights.safetensors")
    return network


@torch.no_grad()
@pytest.mark.parametrize("origin", ["torchvision", "timm"])
def test_a_resnet(peer, origin: str, visarch, tmp_path: Path):
    output, _ = visarch(f"import {tmp_path}/weights.safetensors --from {origin} --out {tmp_path}/m")
    assert "depths 2 2 2 2, large stem, 3 channels, 3 classes" in output
    assert f"Next: visarch predict {tmp_path}/m" in output
    x = torch.randn(2, 3, 64, 64)
    model = package.load(tmp_path / "m")
    torch.testing.assert_close(model(x), peer(x), rtol=1e-5, atol=1e-5)
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "task.json"}
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"weights of {origin}" in card
    assert "(0.485, 0.456, 0.406) is subtracted" in card


@torch.no_grad()
def test_predict_prepares_images_as_the_other_package_does(peer, visarch, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "names.txt").write_text("tench\ngoldfish\nshark\n")
    visarch(
        f"import {tmp_path}/weights.safetensors --from timm --out {tmp_path}/m "
        f"--image-size 32 40 --class-names {tmp_path}/names.txt"
    )
    output, _ = visarch(f"predict {tmp_path}/m {tmp_path}/a.png --json")
    x = (torch.tensor(pixels).permute(2, 0, 1) + 0.5) / 256
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    expected = peer(x[None]).softmax(1)[0].tolist()
    ((row),) = json.loads(output)
    found = {p["class"]: p["probability"] for p in row["predictions"]}
    assert found == pytest.approx(
        dict(zip(("tench", "goldfish", "shark"), expected, strict=True)), rel=1e-3
    )


@torch.no_grad()
def test_a_unet_of_labml(visarch, tmp_path: Path):
    pytest.importorskip("labml_nn", reason="the extra `peers` is not installed")
    from labml_nn.diffusion.ddpm.unet import UNet

    theirs = trained(UNet(n_channels=32, ch_mults=(1, 2), is_attn=(False, True), n_blocks=1))
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "w.pt")
    output, _ = visarch(f"import {tmp_path}/w.pt --from labml --out {tmp_path}/a/m")
    assert "t = step / 1000" in output
    x, steps = torch.randn(2, 3, 16, 16), torch.tensor([3.0, 999.0])
    model = package.load(tmp_path / "a" / "m")
    torch.testing.assert_close(model(x, steps / 1000), theirs(x, steps), rtol=1e-5, atol=1e-5)


def test_an_empty_folder_that_one_stands_in_is_filled(peer, visarch, tmp_path: Path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    visarch(f"import {tmp_path}/weights.safetensors --from timm --out .")
    assert "# here\n" in Path("README.md").read_text("utf-8")
    assert package.load(tmp_path / "here").config.num_classes == 3


def test_what_is_refused_leaves_nothing(peer, refused, tmp_path: Path):
    file, out = f"{tmp_path}/weights.safetensors", tmp_path / "m"
    assert "image_proj.weight" in refused(f"import {file} --from labml --out {out}")
    assert "no U-Net of lucidrains" in refused(f"import {file} --from lucidrains --out {out}")
    assert "There is no file" in refused(f"import {tmp_path}/no.pt --from timm --out {out}")
    assert "--from is 'keras'" in refused(f"import {file} --from keras --out {out}")
    assert "--mean is 1: " in refused(f"import {file} --from timm --mean 1 --out {out}")
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").touch()
    assert "exists already" in refused(f"import {file} --from timm --out {out}")


def test_flags_of_classifiers_are_refused_for_a_unet(refused, peer, tmp_path: Path):
    answer = refused(
        f"import {tmp_path}/weights.safetensors --from labml --image-size 8 --out {tmp_path}/m"
    )
    assert "leave them out" in answer


def test_other_outputs_are_found(peer, refused, monkeypatch, tmp_path: Path):
    wrong = importing.resnet.outputs
    monkeypatch.setattr(importing.resnet, "outputs", lambda w, x: wrong(w, x) + 1e-3)
    answer = refused(f"import {tmp_path}/weights.safetensors --from timm --out {tmp_path}/m")
    assert "differ from those of the network" in answer
    assert not (tmp_path / "m").exists()
