"""A package is the fast copy: in another process, without a compiler, without code of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils import _pytree as pytree

from tests.models.variants import KINDS, VARIANTS, Variant
from tests.models.weights import randomize
from visarch.errors import UserError
from visarch.performance import choices
from visarch.performance.package import load_package, save_package

FILE = "model.safetensors"


@pytest.mark.parametrize("variant", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_packed_comes_back(variant: Variant, precision, tmp_path: Path, monkeypatch):
    has_units = choices.Choice("bf16", "a test says so")
    monkeypatch.setattr(choices, "precision", lambda *_, **__: has_units)
    model, inputs = randomize(variant.make()), variant.inputs(2)
    save_package(model, tmp_path / FILE, precision)
    loaded, fast = load_package(tmp_path / FILE), model.optimize_for_inference(precision=precision)
    assert type(loaded) is type(fast)
    assert loaded.precision == precision
    assert loaded.config == model.config
    ours, theirs = (pytree.tree_leaves(network(*inputs)) for network in (loaded, fast))
    assert all(map(torch.equal, ours, theirs))


def test_a_normalization_of_inputs_comes_back(tmp_path: Path):
    variant = VARIANTS["resnet-bottleneck-small-stem"]
    model, (x,) = randomize(variant.make()), variant.inputs(2)
    plain = model.optimize_for_inference(precision="fp32")(x)
    channels = model.config.in_channels
    model.normalize_inputs([0.3] * channels, [0.2] * channels)
    save_package(model, tmp_path / FILE, "fp32")
    loaded, fast = load_package(tmp_path / FILE), model.optimize_for_inference(precision="fp32")
    assert torch.equal(loaded(x), fast(x))
    assert not torch.allclose(fast(x), plain)


def test_it_is_the_same_in_another_process_which_loads_no_compiler(tmp_path: Path):
    variant = VARIANTS["resnet-bottleneck-small-stem"]
    model, (x,) = randomize(variant.make()), variant.inputs(2)
    save_package(model, tmp_path / FILE, "fp32")
    expected = model.optimize_for_inference(precision="fp32")(x)
    save_file({"x": x, "expected": expected}, tmp_path / "tensors")
    code = """
import sys
from safetensors.torch import load_file
from visarch.performance.package import load_package
tensors = load_file("tensors")
actual = load_package("model.safetensors")(tensors["x"])
compiles = "torch._inductor.compile_fx" in sys.modules
print((actual - tensors["expected"]).abs().max().item(), compiles)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PATH": ""}
    )
    assert result.returncode == 0, result.stderr
    error, compiles = result.stdout.split()
    assert float(error) < 1e-6
    assert compiles == "False"


def test_the_file_holds_weights_in_their_final_precision_and_a_header(tmp_path: Path):
    model = VARIANTS["resnet-bottleneck-small-stem"].make()
    save_package(model, tmp_path / FILE, "bf16")
    tensors = load_file(tmp_path / FILE)
    assert tensors["conv.weight"].dtype == torch.bfloat16
    assert tensors["classifier.weight"].dtype == torch.float32
    assert not any("norm" in name for name in tensors)
    with safe_open(tmp_path / FILE, "pt") as file:
        header = file.metadata()
    assert header["architecture"] == "ResNet"
    assert json.loads(header["settings"])["num_classes"] == 3


def test_without_units_for_bf16_it_is_computed_in_fp32(tmp_path: Path, monkeypatch):
    variant = VARIANTS["unet-literal"]
    model, inputs = randomize(variant.make()), variant.inputs(2)
    save_package(model, tmp_path / FILE, "bf16")
    monkeypatch.setattr(choices, "precision", lambda *_, **__: choices.Choice("fp32", "no units"))
    loaded = load_package(tmp_path / FILE)
    assert loaded.precision == "fp32"
    with torch.no_grad():
        expected = model(*inputs)
    assert (loaded(*inputs) - expected).norm() <= 0.02 * expected.norm()


def test_what_is_no_package_is_answered_with_its_name(tmp_path: Path):
    with pytest.raises(UserError, match="nowhere cannot be opened"):
        load_package(tmp_path / "nowhere")
    (tmp_path / "text").write_text("no weights here")
    with pytest.raises(UserError, match="text cannot be opened"):
        load_package(tmp_path / "text")
    save_file({"weight": torch.ones(2)}, tmp_path / "weights")
    with pytest.raises(UserError, match=r"no inference package of this version.*None"):
        load_package(tmp_path / "weights")


def test_a_package_that_lacks_weights_is_refused(tmp_path: Path):
    save_package(VARIANTS["resnet-features-only"].make(), tmp_path / FILE)
    with safe_open(tmp_path / FILE, "pt") as file:
        header = file.metadata()
    tensors = load_file(tmp_path / FILE)
    del tensors["conv.weight"]
    save_file(tensors, tmp_path / FILE, header)
    with pytest.raises(UserError, match=r"(?s)model\.safetensors is damaged.*conv\.weight"):
        load_package(tmp_path / FILE)


def test_a_fast_copy_has_no_weights_to_pack(tmp_path: Path):
    fast = VARIANTS["resnet-features-only"].make().optimize_for_inference()
    with pytest.raises(ValueError, match="InferenceResNet"):
        save_package(fast, tmp_path / FILE)
