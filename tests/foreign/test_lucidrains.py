"""lucidrains' U-Nets: refused, with the reasons that their names and shapes show."""

from __future__ import annotations

import pytest
import torch

from visarch.errors import UserError
from visarch.foreign.lucidrains import refuse

NAMES = {
    "init_conv.weight": (16, 3, 7, 7),
    "time_mlp.1.weight": (64, 16),
    "downs.0.0.mlp.1.weight": (32, 64),
    "downs.0.0.block1.proj.weight": (16, 16, 3, 3),
    "downs.0.0.block1.norm.g": (1, 16, 1, 1),
    "downs.0.2.mem_kv": (2, 4, 32, 4),
    "downs.0.2.to_out.1.g": (1, 16, 1, 1),
    "downs.0.3.1.weight": (16, 64, 1, 1),
    "ups.0.3.1.weight": (16, 32, 3, 3),
    "final_res_block.mlp.1.weight": (32, 64),
    "final_conv.weight": (3, 16, 1, 1),
}
"""Some of those of version 2.3.4, for dim=16."""

REASONS = {
    "init_conv.weight": "7×7",
    "downs.0.0.block1.norm.g": "RMSNorm",
    "downs.0.0.mlp.1.weight": "scales and shifts",
    "downs.0.2.mem_kv": "learned keys and values",
    "downs.0.2.to_out.1.g": "linear",
    "downs.0.3.1.weight": "folding 2×2 pixels",
    "ups.0.3.1.weight": "repeating pixels",
    "final_res_block.mlp.1.weight": "last residual block",
    "final_conv.weight": "1×1, where the note's is 3×3",
}


def refusal(weights: dict[str, torch.Tensor]) -> str:
    with pytest.raises(UserError) as caught:
        refuse(weights)
    return str(caught.value)


def test_every_difference_is_told_with_a_name_that_shows_it():
    answer = refusal({name: torch.empty(shape) for name, shape in NAMES.items()})
    for name, reason in REASONS.items():
        assert reason in answer
        assert f"({name})" in answer


@pytest.mark.parametrize("left_out", [name for name in REASONS if name != "init_conv.weight"])
def test_what_the_file_does_not_show_is_not_told(left_out: str):
    weights = {name: torch.empty(shape) for name, shape in NAMES.items() if name != left_out}
    assert REASONS[left_out] not in refusal(weights)


def test_older_versions_with_standardized_weights():
    weights = {name.replace("norm.g", "norm.weight"): torch.empty(s) for name, s in NAMES.items()}
    answer = refusal(weights)
    assert "weights are standardized" in answer
    assert "RMSNorm" not in answer


def test_another_network_is_called_so():
    assert "no U-Net of lucidrains" in refusal({"conv1.weight": torch.empty(1)})
