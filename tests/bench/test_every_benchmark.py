"""Every benchmark, from end to end in miniature: one round of the smallest networks."""

import subprocess
from collections.abc import Callable
from importlib import import_module
from math import isfinite
from typing import Any

import pytest

from visarch.bench import BENCHMARKS, harness
from visarch.bench import measure as measuring
from visarch.bench.measure import measure
from visarch.bench.peers import require
from visarch.bench.resnet_infer import ResNetInfer
from visarch.bench.resnet_train import ResNetTrain
from visarch.bench.sample import Sample
from visarch.bench.startup import Startup, _python
from visarch.bench.trainer_overhead import TrainerOverhead
from visarch.bench.unet_infer import UNetInfer
from visarch.bench.unet_train import UNetTrain
from visarch.bench.vae_nll import VAENll
from visarch.bench.vae_train import VAETrain
from visarch.errors import UserError
from visarch.models.config import ResNetConfig, UNetConfig, VAEConfig

UNET = UNetConfig(
    widths=(32, 64), attends=(False, True), attention="residual", context_dim=128, num_blocks=1
)
RESNET = ResNetConfig(num_classes=10, depths=(1, 1), widths=(8, 16))
VAE = VAEConfig(
    image_shape=(1, 28, 28),
    latent_dim=8,
    channels=8,
    depth=1,
    sigma="constant",
    initial_sigma=1.0,
)

MINIATURES: dict[str, Callable[[], Any]] = {
    "unet-train": lambda: UNetTrain(batch_size=4, side=16, config=UNET, backend="eager"),
    "unet-infer": lambda: UNetInfer(
        batch_sizes=(2, 1), side=16, config=UNET, diffusers_widths=(32, 64)
    ),
    "resnet-train": lambda: ResNetTrain(batch_size=4, side=16, config=RESNET),
    "resnet-infer": lambda: ResNetInfer(batch_sizes=(2, 1), side=16, config=RESNET),
    "vae-train": lambda: VAETrain(batch_size=4, config=VAE),
    "vae-nll": lambda: VAENll(num_images=4, num_samples=20, config=VAE),
    "sample": lambda: Sample(num_images=16, side=8, config=UNET),
    "trainer-overhead": lambda: TrainerOverhead(tasks=("vae",)),
    "startup": Startup,
}
UNLIKE = {"diffusers' UNet2DModel, eager fp32", "labml.ai's sampler"}
"""Peers of which there is nothing to compare."""


def test_there_is_a_miniature_of_each():
    assert MINIATURES.keys() == BENCHMARKS.keys()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_is_where_the_list_says(name: str):
    module, _, class_name = BENCHMARKS[name].target.partition(":")
    benchmark = getattr(import_module(module), class_name)()
    assert type(benchmark) is type(MINIATURES[name]())
    assert callable(benchmark.races)


@pytest.mark.parametrize("name", [name for name in MINIATURES if name != "startup"])
def test_it_compares_then_measures(name: str, monkeypatch: pytest.MonkeyPatch):
    benchmark = MINIATURES[name]()
    try:
        require(benchmark.packages)
    except UserError as missing:
        pytest.skip(str(missing))
    monkeypatch.setattr(harness, "TURN", 0.0)
    monkeypatch.setattr(measuring, "apart", lambda benchmark: benchmark.races())
    found = measure(name, benchmark, seconds=0, rounds=1)
    assert found["benchmark"] == name
    assert found["versions"].keys() >= {"torch", *benchmark.packages}
    for race in found["races"]:
        compared = " ".join(agreement["what"] for agreement in race["agreements"])
        assert race["peers"]
        for lap in (race["ours"], *race["peers"]):
            assert isfinite(lap["per_second"])
            assert lap["per_second"] > 0
            assert len(lap["turns"]) == 1
        for peer in race["peers"]:
            assert peer["name"] in compared or peer["name"] in UNLIKE
            assert peer["ratio"]["median"] == pytest.approx(
                peer["turns"][0] / race["ours"]["turns"][0]
            )


def test_what_startup_starts_comes_to_its_end():
    """Help, and the first step of a training, once each: more would take long."""
    help_, _, first_step = Startup().races()
    for race in (help_, first_step):
        race.ours.make().call()


def test_a_start_that_fails_is_no_measurement():
    with pytest.raises(subprocess.CalledProcessError):
        _python("-c", "raise SystemExit('there was no step')").call()
