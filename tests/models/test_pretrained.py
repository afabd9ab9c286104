"""Models on disk: what is saved comes back, exactly or not at all."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from visarch import (
    Denoiser,
    GaussianVAE,
    ResNet,
    ResNetConfig,
    UNet,
    UNetConfig,
    VAEConfig,
    resnet18,
    resnet50,
)

from .variants import VARIANTS, Variant, unet_config
from .weights import randomize

pytestmark = pytest.mark.usefixtures("as_for_users")


def saved(model: nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@torch.no_grad()
def test_what_is_saved_comes_back(variant: Variant, tmp_path: Path, capfd):
    model, inputs = randomize(variant.make()), variant.inputs(2)
    other = type(model).from_pretrained(saved(model, tmp_path))
    assert capfd.readouterr() == ("", "")
    assert not other.training
    assert other.config == model.config
    assert str(other) == str(model)
    weights, others = model.state_dict(), other.state_dict()
    assert list(weights) == list(others)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    for ours, theirs in zip(model(*inputs), other(*inputs), strict=True):
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs)


def test_the_folder_holds_a_configuration_weights_and_a_card(tmp_path: Path):
    model = GaussianVAE(VAEConfig(image_shape=(1, 8, 8), channels=4, depth=1))
    saved(model, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("architecture") == "GaussianVAE"
    assert config.pop("image_shape") == [1, 8, 8]
    expected = dataclasses.asdict(model.config)
    assert config == {k: v for k, v in expected.items() if k != "image_shape"}
    assert "visarch" in (folder / "README.md").read_text()


def test_a_denoiser_remembers_its_classes_and_vectors(tmp_path: Path):
    model = Denoiser(unet_config(), num_classes=3, vector_dim=2)
    other = Denoiser.from_pretrained(saved(model, tmp_path))
    assert other.context.label.num_embeddings == 3 + 1
    assert other.context.vector.in_features == 2
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "Denoiser"
    assert (config["num_classes"], config["vector_dim"]) == (3, 2)
    assert config["unet"]["widths"] == [8, 12]


def test_saving_again_replaces_what_was_there(tmp_path: Path):
    saved(resnet18(), tmp_path)
    model = ResNet(ResNetConfig(depths=(1,), widths=(4,)))
    other = ResNet.from_pretrained(saved(model, tmp_path))
    assert other.config == model.config
    assert torch.equal(other.conv.weight, model.conv.weight)


def test_the_saved_model_can_be_saved_again(tmp_path: Path):
    first = saved(UNet(unet_config(attention="prenorm")), tmp_path / "a")
    second = saved(UNet.from_pretrained(first), tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_models_own_dtype_is_kept_apart_from_the_file(tmp_path: Path):
    """Weights saved in bfloat16 load into a model in float32, as torch.nn does it."""
    model = ResNet(ResNetConfig(depths=(1,), widths=(4,)))
    other = ResNet.from_pretrained(saved(model.bfloat16(), tmp_path))
    assert other.conv.weight.dtype == torch.float32
    assert torch.equal(other.conv.weight, model.conv.weight.float())


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda weights: weights.pop("conv.weight"), "conv.weight"),
        (lambda weights: weights.update(foreign=torch.zeros(1)), "foreign"),
        (lambda weights: weights.update({"norm.bias": torch.zeros(5)}), "norm.bias"),
    ],
    ids=["missing", "foreign", "of another shape"],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, answer: str, tmp_path: Path):
    folder = saved(ResNet(ResNetConfig(depths=(1,), widths=(4,))), tmp_path)
    change_weights(folder, change)
    with pytest.raises(RuntimeError, match=answer):
        ResNet.from_pretrained(folder)


def test_another_architecture_is_refused(tmp_path: Path):
    folder = saved(ResNet(ResNetConfig(depths=(1,), widths=(4,))), tmp_path)
    with pytest.raises(ValueError, match=r"'ResNet', not 'GaussianVAE'.*visarch\.load"):
        GaussianVAE.from_pretrained(folder)


# Names and shapes of all weights. A change here means that saved models no longer load.


def fingerprint(model: nn.Module) -> str:
    """Of every weight's name, shape and type, in whatever order."""
    lines = sorted(f"{k} {tuple(v.shape)} {v.dtype}" for k, v in model.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


CONTRACT = {
    "resnet50": (lambda: resnet50(1000), "74a82aca04c8ddcc"),
    "resnet18": (lambda: resnet18(1000), "d78728af4f2c10d1"),
    "resnet-large-stem": (lambda: ResNet(ResNetConfig(stem="large", ndim=3)), "3f8149a811e41ee4"),
    "unet": (UNet, "25af39e2373b70a1"),
    "unet-prenorm": (
        lambda: UNet(UNetConfig(attention="prenorm", num_heads=8)),
        "046c3c9d7a4a94a3",
    ),
    "denoiser": (lambda: Denoiser(num_classes=10, vector_dim=5), "caaa6295e110d6cf"),
    "vae": (lambda: GaussianVAE(VAEConfig(latent_dim=32, depth=4)), "b02b917f64332564"),
    "vae-bottleneck-full": (
        lambda: GaussianVAE(
            VAEConfig(latent_dim=32, depth=4, block="bottleneck", covariance="full")
        ),
        "b6cae85ee4563c15",
    ),
    "vae-learned-sigma": (
        lambda: GaussianVAE(VAEConfig(latent_dim=32, depth=4, patch_size=1, sigma="learned")),
        "fc7549c1f0241ce6",
    ),
}


@pytest.mark.parametrize(("make", "expected"), CONTRACT.values(), ids=CONTRACT)
def test_the_weights_keep_their_names_and_shapes(make, expected: str):
    with torch.device("meta"):
        model = make()
    assert fingerprint(model) == expected, "models saved before this change no longer load"
