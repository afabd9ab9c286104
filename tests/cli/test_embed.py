"""``visarch embed``: every image of the data, with its place in the latent space."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from visarch.data import open_data, to_unit
from visarch.run import load_run


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_every_image_comes_with_its_name_split_and_label(trained, visarch):
    output, _ = visarch(f"embed {trained.path}")
    path = trained.path / f"outputs/embeddings-{Path(trained.data).stem}.npz"
    assert str(path) in output
    arrays = read(path)
    described = json.loads((trained.path / "data.json").read_text())
    data = open_data(trained.data)
    expected = [
        (name, split, label)
        for split, content in described["splits"].items()
        for name, label in zip(
            content["names"],
            [None] * content["count"]
            if data.classes is None
            else [data.classes[label] for label in data.splits[split].labels],
            strict=True,
        )
    ]
    assert arrays["names"].tolist() == [name for name, _, _ in expected]
    assert arrays["splits"].tolist() == [split for _, split, _ in expected]
    if data.classes is None:
        assert not {"labels", "classes"} & set(arrays)
    else:
        labels = arrays["classes"][arrays["labels"]].tolist()
        assert labels == [label for _, _, label in expected]
    assert arrays["means"].shape == arrays["standard_deviations"].shape == (len(expected), 8)


def test_the_embedding_of_each_image_is_its_posterior(trained, visarch, tmp_path: Path):
    visarch(f"embed {trained.path} {trained.data} --out {tmp_path / 'a.npz'}")
    arrays = read(tmp_path / "a.npz")
    run = load_run(str(trained.path))
    rows = {name: row for row, name in enumerate(arrays["names"].tolist())}
    for split in run.open_data().splits.values():
        name, image = split.names[-1], split.images[-1:]
        posterior = run.model.encode(to_unit(image, run.preparation.levels))
        row = rows[name]
        assert arrays["means"][row] == pytest.approx(
            posterior.mean[0].detach().numpy(), rel=1e-3, abs=1e-5
        )
        assert arrays["standard_deviations"][row] == pytest.approx(
            posterior.scale[0].detach().numpy(), rel=1e-3
        )


def test_files(colors, visarch, tmp_path: Path):
    files = [f"{colors.data}/warm/{number}.png" for number in (2, 0)]
    output, _ = visarch(f"embed {colors.path} {' '.join(files)} --out {tmp_path}")
    arrays = read(tmp_path / "embeddings-files.npz")
    assert set(arrays) == {"names", "means", "standard_deviations"}
    assert arrays["names"].tolist() == files
    assert "names 2, means 2×8, standard_deviations 2×8" in output


def test_other_data_has_its_own_classes(digits, colors, visarch, tmp_path: Path):
    _, notes = visarch(f"embed {digits.path} {colors.data} --out {tmp_path / 'a.npz'}")
    assert notes == "skipped warm/broken.png: is no image: it holds text\n"
    arrays = read(tmp_path / "a.npz")
    assert arrays["classes"].tolist() == ["cold", "warm"]
    folders = [name.partition("/")[0] for name in arrays["names"].tolist()]
    assert arrays["classes"][arrays["labels"]].tolist() == folders
    assert len(folders) == 60


def test_parquet(colors, visarch, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    visarch(f"embed {colors.path} --out {tmp_path / 'a.parquet'}")
    visarch(f"embed {colors.path} --out {tmp_path / 'a.npz'}")
    table, arrays = parquet.read_table(tmp_path / "a.parquet"), read(tmp_path / "a.npz")
    assert table["names"].to_pylist() == arrays["names"].tolist()
    assert table["labels"].to_pylist() == arrays["classes"][arrays["labels"]].tolist()
    assert np.array_equal(np.stack(table["means"].to_numpy()), arrays["means"])


def test_parquet_without_pyarrow_is_one_line(digits, refused, monkeypatch, tmp_path: Path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "visarch.cli.embed.find_spec",
        lambda name: None if name == "pyarrow" else find_spec(name),
    )
    answer = refused(f"embed {digits.path} --out {tmp_path / 'a.parquet'}")
    assert answer.endswith("needs a package: pip install 'visarch[data]'")
    assert not list(tmp_path.iterdir())


def test_mistakes(digits, signals, refused, tmp_path: Path):
    assert "no folder and does not end in .npz or .parquet" in refused(
        f"embed {digits.path} --out a.csv"
    )
    assert "There is no run folder" in refused(f"embed {tmp_path / 'none'}")
    assert "There is no 'nowhere'" in refused(f"embed {digits.path} nowhere")
    assert "trained on 1-d data" in refused(f"embed {signals.path} digits")
    shutil.copytree(digits.path / "model", tmp_path / "lone")
    assert "say which data to take" in refused(f"embed {tmp_path / 'lone'}")


def test_a_classifier_s_embedding_is_what_its_last_layer_sees(shades, visarch, tmp_path: Path):
    visarch(f"embed {shades.path} {shades.data} --out {tmp_path / 'a.npz'}")
    arrays = read(tmp_path / "a.npz")
    assert arrays["features"].shape == (90, 6)
    run = load_run(str(shades.path))
    split = run.open_data().splits["validation"]
    features = run.model.features(to_unit(split.images, 256)).detach().numpy()
    rows = [arrays["names"].tolist().index(name) for name in split.names]
    assert arrays["features"][rows] == pytest.approx(features, rel=1e-3, abs=1e-5)


def test_streamed_images_come_without_their_labels_and_are_not_measured(
    shades, visarch, refused, tmp_path, monkeypatch
):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("VISARCH_DATA_DISK", "0")
    source = f"hf:{shades.data}"
    _, notes = visarch(f"embed {shades.path} {source} --out {tmp_path / 'e.npz'}")
    assert "Labels of streamed images are not kept: those of train." in notes
    arrays = read(tmp_path / "e.npz")
    assert len(arrays["names"]) == len(set(arrays["names"])) == 90
    streamed = arrays["splits"] == "train"
    assert (arrays["labels"][streamed] == -1).all()
    assert (arrays["labels"][~streamed] >= 0).all()
    answer = refused(f"evaluate {shades.path} --data {source} --split train")
    assert "are streamed" in answer
    assert "choose a held-out --split" in answer
