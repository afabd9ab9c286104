"""Files of weights: what is in them comes out, and nothing in them is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from visarch.errors import UserError
from visarch.foreign.files import read_weights

WEIGHTS = {"a.weight": torch.tensor([[1.0, -2.0]]), "a.count": torch.tensor(3)}


def same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == WEIGHTS.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items()
    )


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".PT"])
def test_what_torch_writes(suffix: str, tmp_path: Path):
    torch.save(WEIGHTS, tmp_path / f"w{suffix}")
    assert same(read_weights(tmp_path / f"w{suffix}"))


def test_safetensors(tmp_path: Path):
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {f"module.{name}": t for name, t in w.items()},
        lambda w: {"model": {f"module._orig_mod.{name}": t for name, t in w.items()}},
        lambda w: {name: t.double() if t.is_floating_point() else t for name, t in w.items()},
        lambda w: {name: t.half() if t.is_floating_point() else t for name, t in w.items()},
    ],
    ids=["state_dict", "nested", "DDP", "compiled", "double", "half"],
)
def test_what_training_scripts_wrap_around(wrap, tmp_path: Path):
    torch.save(wrap(WEIGHTS), tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert same(found)
    assert found["a.weight"].dtype == torch.float32


class Trap:
    """A pickle of it writes a file when opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda x, f: f.write_bytes(pickle.dumps(x))])
def test_no_code_is_run(write, tmp_path: Path):
    write({"a": Trap(tmp_path / "sprung")}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w\.pt is a pickle with more than tensors.*refused"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_whole_model_is_refused(tmp_path: Path):
    torch.save(nn.Linear(1, 1), tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"torch\.nn\.modules\.linear\.Linear.*save_file"):
        read_weights(tmp_path / "w.pt")


REFUSED = {
    "nothing there": ("w.pt", lambda f: None, "There is no file"),
    "a folder": ("w.pt", lambda f: f.mkdir(), "There is no file"),
    "another suffix": (
        "w.ckpt",
        lambda f: torch.save(WEIGHTS, f),
        r"does not end in \.safetensors",
    ),
    "empty": ("w.pt", lambda f: f.touch(), "damaged, cut short"),
    "text": ("w.pth", lambda f: f.write_text("hello"), "damaged, cut short"),
    "no safetensors": ("w.safetensors", lambda f: f.write_bytes(b"\xff" * 99), "as safetensors"),
    "a tensor": ("w.pt", lambda f: torch.save(torch.zeros(1), f), "holds a Tensor"),
    "a list": ("w.pt", lambda f: torch.save([1], f), "holds a list"),
    "an empty dict": ("w.pt", lambda f: torch.save({}, f), "no state dict: empty"),
    "numbers": ("w.pt", lambda f: torch.save({"epoch": 3, "best": 0.5}, f), "epoch, best are no"),
    "not finite": (
        "w.pt",
        lambda f: torch.save({"a": torch.tensor([1, torch.nan])}, f),
        "a in .*not f",
    ),
    "nothing": (
        "w.pt",
        lambda f: torch.save({"a": torch.zeros(0, 3)}, f),
        "a in .*no numbers",
    ),
    "complex": ("w.pt", lambda f: torch.save({"a": torch.zeros(1) + 1j}, f), "complex64"),
    "sparse": ("w.pt", lambda f: torch.save({"a": torch.eye(2).to_sparse()}, f), "no plain tensor"),
}


@pytest.mark.parametrize(("name", "write", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_file_of_weights(name: str, write, answer: str, tmp_path: Path):
    write(tmp_path / name)
    with pytest.raises(UserError, match=answer):
        read_weights(tmp_path / name)


def test_a_file_cut_short(tmp_path: Path):
    torch.save(WEIGHTS, tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged, cut short"):
        read_weights(tmp_path / "w.pt")
