import threading

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from visarch.data import open_data, stream
from visarch.errors import UserError

from .pictures import noise, save
from .test_hub import cache, repository  # noqa: F401

COUNT, BLOCK = 60, 8


@pytest.fixture(autouse=True)
def streamed(monkeypatch):
    monkeypatch.setenv("VISARCH_DATA_DISK", "0")
    monkeypatch.setattr(stream, "_BLOCK", BLOCK)


@pytest.fixture
def data(tmp_path):
    return open_data(repository(tmp_path / "set", {"train": COUNT, "test": 5}, shards=3))


def numbers(images):
    """Which noise each image shows."""
    shown = {noise(8, 8, seed=n).transpose(2, 0, 1).tobytes(): n for n in range(COUNT)}
    return [shown[image.numpy().tobytes()] for image in images]


def test_training_samples_are_streamed_and_the_others_read(data):
    train = data.splits["train"]
    assert train.sequential
    assert not train.in_memory
    assert train.labelled
    assert len(train) == 54  # a tenth is held out
    assert data.classes == ("b", "a", "c")
    assert numbers(data.splits["validation"].images) == list(range(6))
    assert numbers(data.splits["test"].images) == list(range(5))
    assert not data.splits["test"].sequential
    assert [value for what, value, _ in data.reasons if what == "held"] == ["streamed"]


def test_each_pass_has_every_sample_once_in_an_order_of_its_own(data):
    train = data.splits["train"]
    passes = [train.read(torch.arange(54 * n, 54 * (n + 1))) for n in range(3)]
    orders = [numbers(batch.images) for batch in passes]
    for order, batch in zip(orders, passes, strict=True):
        assert sorted(order) == list(range(6, 60))
        assert batch.labels.tolist() == [number % 3 for number in order]
    assert orders[0] != orders[1] != orders[2]


def test_seed_and_pass_alone_decide_the_order(data, tmp_path):
    first = data.splits["train"].read(torch.arange(108))
    again = open_data(f"hf:{tmp_path / 'set'}").splits["train"].read(torch.arange(108))
    assert torch.equal(first.images, again.images)
    other = data.splits["train"].seeded(1).read(torch.arange(108))
    assert not torch.equal(first.images, other.images)
    assert sorted(numbers(first.images)) == sorted(numbers(other.images))
    assert torch.equal(other.images, data.splits["train"].seeded(1).read(torch.arange(108)).images)


@pytest.mark.parametrize("size", [4, 7, 20])
def test_processes_that_read_their_share_of_each_batch_see_what_one_would(data, size, tmp_path):
    whole = data.splits["train"].read(torch.arange(120))
    for rank in range(2):
        own = data.splits["train"].seeded(0)  # as another process opens it
        for start in range(0, 120, 2 * size):
            share = torch.arange(start, min(start + 2 * size, 120)).chunk(2)[rank]
            batch = own.read(share)
            assert torch.equal(batch.images, whole.images[share])
            assert torch.equal(batch.labels, whole.labels[share])
            assert torch.equal(batch.indices, share)


def test_no_more_is_decoded_than_is_asked_for(data, monkeypatch):
    decoded = []
    own = stream.Pictures._decode
    monkeypatch.setattr(
        stream.Pictures, "_decode", lambda self, n: decoded.append(n) or own(self, n)
    )
    data.splits["train"].read(torch.arange(100, 104))
    assert len(decoded) == 4


def test_going_on_anywhere_and_going_back(data):
    whole = data.splits["train"].read(torch.arange(120)).images
    train = data.splits["train"].seeded(0)
    for start in (90, 30, 110, 0, 53):
        indices = torch.arange(start, start + 9)
        assert torch.equal(train.read(indices).images, whole[indices])
    mixed = torch.tensor([70, 3, 55, 3])
    assert torch.equal(train.read(mixed).images, whole[mixed])


def test_threads_may_read_at_the_same_time(data):
    whole = data.splits["train"].read(torch.arange(54)).images
    wrong = []

    def read(start):
        indices = torch.arange(start, 54, 4)
        if not torch.equal(data.splits["train"].read(indices).images, whole[indices]):
            wrong.append(start)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_stream_is_described_without_being_read(data, monkeypatch):
    monkeypatch.setattr(stream.Stream, "read_labelled", None)
    described = data.describe()
    assert described["splits"]["train"] == {"count": 54, "classes": None, "names": []}
    assert described["fingerprint"] == data.fingerprint()
    assert "number 7 of the stream" in data.splits["train"].names[7]


def test_its_names_end_with_the_first_pass(data):
    names = list(data.splits["train"].names)
    assert len(names) == len(set(names)) == 54
    assert "number 53 of the stream" in names[-1]


def test_some_samples_can_be_taken_and_held(data):
    taken = data.splits["train"].take("shown", [1, 5])
    assert taken.in_memory
    assert torch.equal(taken.images, data.splits["train"].read(torch.tensor([1, 5])).images)
    with pytest.raises(ValueError, match="decoded on demand"):
        data.splits["train"].to("cpu")


def test_a_validation_split_is_used_where_there_is_one(tmp_path):
    data = open_data(repository(tmp_path / "set", {"train": 30, "val": 7}))
    assert len(data.splits["train"]) == 30
    assert len(data.splits["validation"]) == 7
    assert sorted(numbers(data.splits["train"].read(torch.arange(30)).images)) == list(range(30))


def test_other_formats_are_counted(tmp_path):
    for number in range(20):
        save(
            tmp_path / "set" / "train" / "ab"[number % 2] / f"{number}.png",
            noise(8, 8, seed=number),
        )
    data = open_data(f"hf:{tmp_path / 'set'}")
    assert len(data.splits["train"]) == 18
    assert len(set(numbers(data.splits["train"].read(torch.arange(18)).images))) == 18


def write(root, columns, **features):
    """A data set of one Parquet file."""
    root.mkdir()
    features = datasets.Features({"image": datasets.Image(), **features})
    datasets.Dataset.from_dict(columns, features).to_parquet(str(root / "train.parquet"))
    return f"hf:{root}"


def pictures(count):
    return [Image.fromarray(noise(8, 8, seed=number)) for number in range(count)]


def test_labels_without_names_cannot_be_numbered_in_a_stream(tmp_path):
    columns = {"image": pictures(20), "label": [3] * 20}
    data = open_data(write(tmp_path / "set", columns, label=datasets.Value("int64")))
    assert data.classes is None
    why = next(why for what, _, why in data.reasons if what == "classes")
    assert "only where the schema names the classes" in why
    assert data.splits["train"].read(torch.arange(3)).labels is None
    assert not data.splits["train"].labelled


def test_a_damaged_image_in_a_stream_is_named(tmp_path):
    columns = {"image": [*pictures(1500), {"bytes": b"text", "path": None}]}
    train = open_data(write(tmp_path / "set", columns)).splits["train"]
    with pytest.raises(UserError, match=r"number \d+ of pass 0 in .* is no image: it holds text"):
        train.read(torch.arange(len(train)))


def test_labels_of_the_model_number_the_stream(tmp_path):
    source = repository(tmp_path / "set", {"train": 30})
    data = open_data(source, classes=("c", "b", "a"))
    batch = data.splits["train"].read(torch.arange(27))
    expected = [{0: 1, 1: 2, 2: 0}[number % 3] for number in numbers(batch.images)]
    assert batch.labels.tolist() == expected
    assert np.unique(expected).tolist() == [0, 1, 2]
