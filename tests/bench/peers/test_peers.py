"""What is missing is named, and weights are copied whole."""

import pytest
import torch
from torch import nn

from visarch.bench.peers import adopt, renamed, require
from visarch.errors import UserError


def test_what_is_missing_is_named_with_what_installs_it():
    require(["torch", "numpy"])
    with pytest.raises(UserError) as caught:
        require(["torch", "no-such-runtime"])
    assert str(caught.value) == (
        "This is measured beside no-such-runtime, which is not installed: "
        "pip install 'visarch[bench]'"
    )


def test_what_needs_little_is_installed_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("visarch.bench.peers._is_installed", lambda package: False)
    with pytest.raises(UserError) as caught:
        require(["labml-nn", "diffusers"])
    assert str(caught.value).endswith(
        "labml-nn and diffusers, which are not installed: pip install 'visarch[bench]' && "
        "pip install --no-deps labml-nn==0.5.1"
    )


def test_weights_are_copied_and_none_is_left_over():
    peer, weights = nn.Linear(2, 1), {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
    adopt(peer, weights)
    weights["weight"].zero_()
    assert peer.weight.tolist() == [[1.0, 1.0]]
    with pytest.raises(AssertionError, match=r"no weights for \['bias'\]"):
        adopt(peer, {"weight": torch.ones(1, 2)})
    adopt(peer, {"weight": torch.ones(1, 2)}, unused="bias")
    with pytest.raises(AssertionError, match=r"no place for \['scale'\]"):
        adopt(peer, {**weights, "scale": torch.ones(1)})


def test_names_are_replaced_in_order():
    weight = torch.ones(1)
    assert renamed({"a.b": weight}, [("a.", "b."), ("b.", "c.")]) == {"c.b": weight}
