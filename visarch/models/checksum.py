"""What tensors in a file add up to: a bit that flips on a disk is noticed, not computed with."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

KEY = "checksum"
"""What it is called in the metadata of a file of weights."""


def checksum(tensors: Mapping[str, Tensor], about: str = "") -> str:
    """SHA-256 of tensors on the CPU with their names, types and shapes, and of a text with them."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_weights(path: Path) -> None:
    """That a file of weights holds what was written, where it says what that adds up to.

    Raises:
        ValueError: it does not.
        SafetensorError: it is no safetensors file.
    """
    with safe_open(path, framework="pt", device="cpu") as file:
        written, names = (file.metadata() or {}).get(KEY), file.keys()
        if written and written != checksum({name: file.get_tensor(name) for name in names}):
            raise ValueError(
                f"{path.name} is damaged: it holds other numbers than were written. Take a copy of "
                "it from elsewhere"
            )
