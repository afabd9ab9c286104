"""Every task on every kind of data: signals, odd images, volumes, one channel and five."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import visarch as library

SHAPES = {
    "signals": ("signals", (1, 101)),
    "signals of 5 channels": ("signals", (5, 101)),
    "odd images": ("images", (3, 50, 37)),
    "odd images of 5 channels": ("images", (5, 50, 37)),
    "volumes": ("volumes", (1, 6, 9, 7)),
}
FLAGS = {
    "vae": "--latent-dim 4 --channels 8 --depth 1",
    "classifier": "--preset small --depths 1 1 --widths 8 16",
    "diffusion": "--widths 8 16 --num-groups 4 --context-dim 16 --sampling-steps 2",
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tuple[int, ...]]:
    """An .npz of eighty samples of two classes that differ in their brightness."""
    key, shape = request.param
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    values = random.uniform(0, 0.5, (80, *shape)) + 0.5 * labels.reshape(-1, *[1] * len(shape))
    path = tmp_path / "data.npz"
    np.savez(path, **{key: values.astype(np.float32), "labels": labels})
    return path, shape


def trained(task: str, data: Path, visarch: Callable[[str], tuple[str, str]]) -> Path:
    out = data.parent / task
    visarch(
        f"train {task} --data {data} --out {out} --steps 3 --batch-size 8 --warmup-steps 1 "
        f"--device cpu {FLAGS[task]}"
    )
    assert (out / "report.html").is_file()
    return out


@pytest.mark.parametrize("task", ["vae", "diffusion"])
def test_what_can_be_sampled(task: str, data, visarch):
    path, shape = data
    run = trained(task, path, visarch)
    pictures = run / "outputs" / "few.png"
    visarch(f"sample {run} -n 3 --out {pictures}")
    assert pictures.is_file()
    with np.load(pictures.with_suffix(".npz")) as values:
        (samples,) = values.values()
        kept = (3, *shape) if shape[0] > 1 else (3, *shape[1:])
        assert samples.shape == kept
        assert np.isfinite(samples).all()
    output, _ = visarch(f"evaluate {run} --json")
    assert np.isfinite(json.loads(output)["metrics"]["bits/dim"])
    visarch(f"interpolate {run} 0 1 --steps 3")


def test_what_can_be_classified(data, visarch):
    path, shape = data
    run = trained("classifier", path, visarch)
    output, _ = visarch(f"evaluate {run} --json")
    found = json.loads(output)
    right = found["metrics"]["accuracy"] * found["images"]
    assert found["images"] > 0
    assert right == pytest.approx(round(right), abs=1e-4)  # a share of whole images
    output, _ = visarch(f"predict {run} {path} --json")
    answers = json.loads(output)
    assert len(answers) == 80
    for answer in answers:
        assert {told["class"] for told in answer["predictions"]} == {"0", "1"}
        assert sum(told["probability"] for told in answer["predictions"]) == pytest.approx(1)
    visarch(f"embed {run} --out {run / 'features.npz'}")
    with np.load(run / "features.npz") as columns:
        assert columns["features"].shape == (80, 16)
        assert np.isfinite(columns["features"]).all()
    model = library.load(run)
    assert model.config.num_classes == 2
    assert model.config.in_channels == shape[0]
