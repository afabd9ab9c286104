"""Training on images that are not held: decoded on demand, or streamed."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from visarch.cli import main

FLAGS = (
    "--latent-dim 4 --channels 8 --depth 1 --batch-size 8 --device cpu --warmup-steps 5 "
    "--initialization random --seed 3"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set for which the disk has no room."""
    monkeypatch.setenv("VISARCH_DATA_DISK", "0")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image()})
    data = datasets.Dataset.from_dict({"image": [*map(Image.fromarray, pixels)]}, features)
    (tmp_path / "set").mkdir()
    data.to_parquet(str(tmp_path / "set" / "train.parquet"))
    return f"hf:{tmp_path / 'set'}"


def train(source: str, out: Path, steps: int) -> bytes:
    arguments = f"train vae --data {source} --out {out} --steps {steps} {FLAGS}"
    assert main(arguments.split()) == 0
    return (out / "model" / "model.safetensors").read_bytes()


def test_interrupted_and_gone_on_with_it_is_the_same(tmp_path: Path, source: str) -> None:
    """Into the second pass, of 45 samples, and past the block that it began with."""
    whole = train(source, tmp_path / "whole", 14)
    train(source, tmp_path / "parts", 8)
    assert train(source, tmp_path / "parts", 14) == whole


def test_images_on_demand_teach_the_same(
    tmp_path: Path,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = source.removeprefix("hf:")
    held = train(source, tmp_path / "held", 12)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "5K")
    assert "held: on disk" not in capsys.readouterr().out
    assert train(source, tmp_path / "demand", 12) == held
    assert "held: on disk" in capsys.readouterr().out


def test_a_classifier_learns_from_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISARCH_DATA_DISK", "0")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    columns = {"image": [*map(Image.fromarray, pixels)], "label": [0, 1] * 25}
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(columns, features).to_parquet(str(tmp_path / "set/train.parquet"))
    out = tmp_path / "run"
    flags = "--preset small --steps 2 --batch-size 8 --device cpu --seed 3"
    data = f"hf:{tmp_path / 'set'}"
    assert main(["train", "classifier", "--data", data, "--out", str(out), *flags.split()]) == 0
    assert "accuracy" in (out / "metrics.csv").read_text()
