import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import open_data
from visarch.data import parquet as reading
from visarch.data.hub import must_stream
from visarch.errors import UserError

from .pictures import noise, save


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def repository(root, counts, shards=1):
    """A data set as one finds it on the hub: sample k of a split shows noise number k."""
    features = datasets.Features(
        {"picture": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a", "c"])}
    )
    for split, count in counts.items():
        written = datasets.Dataset.from_dict(
            {
                "picture": [Image.fromarray(noise(8, 8, seed=n)) for n in range(count)],
                "label": [n % 3 for n in range(count)],
            },
            features=features,
        )
        for shard in range(shards):
            path = root / "data" / f"{split}-{shard:05}-of-{shards:05}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            written.shard(shards, shard, contiguous=True).to_parquet(str(path))
    return f"hf:{root}"


def test_a_data_set_through_the_datasets_package(tmp_path):
    data = open_data(repository(tmp_path / "set", {"train": 20, "test": 4}, shards=2))
    assert data.kind == "hub"
    assert data.classes == ("b", "a", "c")
    assert list(data.splits) == ["train", "validation", "test"]
    for name, split in data.splits.items():
        assert split.in_memory
        for own, image, label in zip(split.names, split.images, split.labels, strict=True):
            prefix, _, number = own[:-1].partition("[")
            assert prefix == ("test" if name == "test" else "train")
            np.testing.assert_array_equal(image, noise(8, 8, seed=int(number)).transpose(2, 0, 1))
            assert label == int(number) % 3


def test_a_folder_of_image_files_through_the_datasets_package(tmp_path):
    for number in range(12):
        name = f"{('train', 'test')[number % 2]}/{('cat', 'dog')[number // 2 % 2]}/{number}.png"
        save(tmp_path / "set" / name, noise(8, 8, seed=number))
    data = open_data(f"hf:{tmp_path / 'set'}")
    assert data.classes == ("cat", "dog")
    assert len(data.splits["test"]) == 6


def test_images_that_do_not_fit_into_memory_are_read_from_the_cache(tmp_path, monkeypatch):
    source = repository(tmp_path / "set", {"train": 20, "validation": 6})
    whole = open_data(source)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    data = open_data(source)
    for name, split in data.splits.items():
        order = torch.randperm(len(split))
        assert not split.in_memory
        assert torch.equal(split.read(order).images, whole.splits[name].images[order])
        assert torch.equal(split.read(order).labels, whole.splits[name].labels[order])


def test_splits_of_other_names(tmp_path):
    data = open_data(repository(tmp_path / "one", {"everything": 9}))
    assert sum(map(len, data.splits.values())) == 9
    data = open_data(repository(tmp_path / "more", {"train": 9, "valid": 3, "unlabeled": 2}))
    assert list(data.splits) == ["train", "validation"]
    assert [name for name, _ in data.skipped] == ["unlabeled"]
    with pytest.raises(UserError, match=r"the splits .*, and none for training"):
        open_data(repository(tmp_path / "none", {"validation": 3, "test": 3}))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf:owner/nothing", r"'hf:owner/nothing' cannot be opened: .*HF_HUB_OFFLINE keeps"),
        ("hf:owner/nothing:config", "cannot be opened: .*only data sets that were opened before"),
        ("hf:nothing", "names no data set; write hf:owner/name"),
        ("hf:", "names no data set"),
        ("hf:a/b/c", "names no data set"),
    ],
)
def test_what_cannot_be_opened_is_said_in_a_paragraph(source, message):
    with pytest.raises(UserError, match=message) as error:
        open_data(source)
    assert "\n" not in str(error.value)


def test_a_configuration_that_is_not_there(tmp_path):
    source = repository(tmp_path / "set", {"train": 3})
    with pytest.raises(UserError, match="A configuration is written behind a colon"):
        open_data(f"{source}:other")
    assert open_data(f"{source}:default").kind == "hub"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'visarch\[data\]'"):
        open_data("hf:owner/name")


def test_what_does_not_fit_on_the_disk_is_to_be_streamed(tmp_path, monkeypatch):
    source = repository(tmp_path / "set", {"train": 3})
    assert must_stream(source) is None
    monkeypatch.setenv("VISARCH_DATA_DISK", "1K")
    assert "may be taken" in must_stream(source)
