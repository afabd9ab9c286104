"""What somebody new brings and types: a handful of odd images, classes, a table, no labels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHORT = "--steps 2 --batch-size 4 --warmup-steps 1 --device cpu"
TINY = {
    "vae": f"{SHORT} --latent-dim 4 --channels 8 --depth 1",
    "classifier": f"{SHORT} --preset small --depths 1 1 --widths 8 16",
    "diffusion": f"{SHORT} --widths 8 16 --num-groups 4 --context-dim 16 --sampling-steps 2",
}


def draw(path: Path, size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Seven images of all sizes and modes, no two alike."""
    folder = tmp_path / "odd"
    draw(folder / "tall.JPG", (90, 31))
    draw(folder / "wide.png", (20, 77), "RGBA", 1)
    draw(folder / "gray.bmp", (33, 33), "L", 2)
    draw(folder / "palette.gif", (40, 40), "P", 3)
    draw(folder / "deep" / "deeper" / "tiny.webp", (5, 4), "RGB", 4)
    draw(folder / "black and white.tiff", (64, 50), "1", 5)
    draw(folder / "print.jpeg", (28, 60), "CMYK", 6)
    return folder


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Twenty images of each of three classes."""
    for seed in range(60):
        draw(
            tmp_path / "pets" / ("cat", "dog", "owl")[seed % 3] / f"{seed}.png", (12, 12), seed=seed
        )
    return tmp_path / "pets"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Thirty images, and a table with two numbers for each."""
    lines = ["file,warmth,size"]
    for seed in range(30):
        draw(tmp_path / "shots" / f"{seed}.png", (12, 12), seed=seed)
        lines.append(f"{seed}.png,{seed / 30:.3f},{seed % 4}")
    (tmp_path / "shots" / "labels.csv").write_text("\n".join(lines))
    return tmp_path / "shots"


@pytest.mark.parametrize("task", ["vae", "diffusion"])
def test_seven_odd_images(task: str, odd: Path, visarch, tmp_path: Path):
    before = content(odd)
    visarch(f"train {task} --data {odd} --out {tmp_path / 'run'} {TINY[task]}")
    visarch(f"sample {tmp_path / 'run'} -n 4")
    visarch(f"evaluate {tmp_path / 'run'}")
    assert content(odd) == before


@pytest.mark.parametrize("task", ["vae", "classifier", "diffusion"])
def test_three_classes(task: str, pets: Path, visarch, tmp_path: Path):
    run = tmp_path / "run"
    output, _ = visarch(f"train {task} --data {pets} --out {run} {TINY[task]}")
    assert "cat, dog, owl" in output
    visarch(f"evaluate {run}")
    visarch(f"embed {run}" if task != "diffusion" else f"sample {run} -n 2 --label owl")
    if task == "classifier":
        output, _ = visarch(f"predict {run} {pets / 'owl' / '2.png'} --json")
        (answer,) = json.loads(output)
        assert {told["class"] for told in answer["predictions"]} == {"cat", "dog", "owl"}


def test_a_table_of_vectors(table: Path, visarch, refused, tmp_path: Path):
    run = tmp_path / "run"
    output, _ = visarch(f"train diffusion --data {table} --out {run} {TINY['diffusion']}")
    assert "vectors of 2 numbers" in output
    visarch(f"sample {run} -n 2 --vector 0.5 1")
    assert "--vector" in refused(f"sample {run} -n 2 --vector 0.5")
    assert "--label" in refused(f"sample {run} -n 2 --label cat")


def test_images_without_labels_make_no_classifier(odd: Path, refused, tmp_path: Path):
    answer = refused(f"train classifier --data {odd} --out {tmp_path / 'run'} {TINY['classifier']}")
    assert "no labels" in answer
    for way_out in ("sub-folder", "CSV", "npz", "train vae", "train diffusion"):
        assert way_out in answer
    assert not (tmp_path / "run").exists()


def test_labels_for_a_model_without_are_refused(odd: Path, visarch, refused, tmp_path: Path):
    run = tmp_path / "run"
    visarch(f"train diffusion --data {odd} --out {run} {TINY['diffusion']}")
    assert "--label" in refused(f"sample {run} --label cat")
    assert "--guidance" in refused(f"sample {run} --guidance 2")
    assert "--vector" in refused(f"sample {run} --vector 1")


def test_flags_of_another_task_are_refused(odd: Path, visarch, refused, tmp_path: Path):
    run = tmp_path / "run"
    visarch(f"train vae --data {odd} --out {run} {TINY['vae']}")
    assert "--label" in refused(f"sample {run} --label cat")
    assert "--steps" in refused(f"sample {run} --steps 5")
    assert "vae" in refused(f"predict {run} {odd / 'tall.JPG'}")
