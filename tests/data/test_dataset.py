import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data import Batch, Data, Split


def make_data(num_images=6, **changes) -> Data:
    images = torch.arange(num_images * 12, dtype=torch.uint8).view(num_images, 3, 2, 2)
    vectors = torch.arange(num_images * 2, dtype=torch.float32).view(num_images, 2)
    names = list("abcdefgh"[:num_images])
    train = Split("train", images, torch.arange(num_images) % 2, names, vectors)
    validation = train.take("validation", [0])
    data = Data(
        source="here",
        kind="folder",
        shape=(3, 2, 2),
        levels=256,
        splits={"train": train, "validation": validation},
        classes=("cat", "dog", "owl"),
        reasons=[("channels", "3", "all images are in color")],
        skipped=[("x.png", "is empty (0 bytes)")],
        vector_names=("age", "dose"),
    )
    return replace(data, **changes)


@given(st.permutations(range(6)))
def test_reading_in_any_order_gives_those_samples(order):
    split = make_data().splits["train"]
    batch = split.read(torch.tensor(order))
    assert len(batch) == 6
    assert batch.indices.tolist() == order
    assert torch.equal(batch.images, split.images[list(order)])
    assert batch.labels.tolist() == [position % 2 for position in order]
    assert batch.vectors.tolist() == [[2 * position, 2 * position + 1] for position in order]


def test_samples_may_repeat_and_need_no_labels():
    split = Split("train", torch.rand(3, 1, 4), None, list("abc"))
    batch = split.read(torch.tensor([2, 2, 0, 2]))
    assert batch.labels is None
    assert batch.vectors is None
    assert torch.equal(batch.images[0], batch.images[3])
    assert batch.images.shape == (4, 1, 4)


def test_a_position_that_is_not_there_is_an_error():
    with pytest.raises(IndexError):
        make_data().splits["train"].read(torch.tensor([6]))


def test_a_batch_moves_as_a_whole():
    batch = make_data().splits["train"].read(torch.tensor([1])).to("meta")
    assert isinstance(batch, Batch)
    tensors = (batch.images, batch.labels, batch.vectors, batch.indices)
    assert {tensor.device for tensor in tensors} == {torch.device("meta")}


def test_the_description_is_json_and_complete():
    data = make_data()
    described = data.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["splits"]["train"] == {
        "count": 6,
        "classes": {"cat": 3, "dog": 3, "owl": 0},
        "names": list("abcdef"),
    }
    assert described["skipped"] == [{"name": "x.png", "why": "is empty (0 bytes)"}]
    assert described["fingerprint"] == data.fingerprint()
    assert described["preparation"] == data.preparation.to_dict()
    deviation = pytest.approx((35 / 3) ** 0.5)
    assert described["vectors"]["names"] == ["age", "dose"]
    assert described["vectors"]["mean"] == [5, 6]
    assert described["vectors"]["deviation"] == [deviation, deviation]


def test_a_number_that_never_changes_can_be_divided_by_its_deviation():
    data = make_data()
    data.splits["train"].vectors[:, 0] = 7
    mean, deviation = data.vector_scale
    assert mean.tolist() == [7, 6]
    assert deviation[0] == 1


def test_data_without_vectors_says_so():
    data = make_data(vector_names=None)
    for split in data.splits.values():
        split.vectors = None
    assert data.vector_scale is None
    assert data.describe()["vectors"] is None


def test_the_fingerprint_is_of_the_content_alone():
    data = make_data()
    assert make_data(source="there", reasons=[], skipped=[]).fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    "change",
    ["pixel", "label", "class", "levels", "fewer", "scale", "split", "vector", "vector name"],
)
def test_the_fingerprint_notices(change):
    before = make_data().fingerprint()
    data = make_data()
    train = data.splits["train"]
    match change:
        case "pixel":
            train.images[3, 1, 0, 1] += 1
        case "label":
            train.labels[2] = 2
        case "class":
            data.classes = ("cat", "dog", "elk")
        case "levels":
            data.levels = 1024
        case "fewer":
            data.splits["train"] = train.take("train", range(5))
        case "scale":
            data.floats = (-1.0, 1.0)
        case "split":
            data.splits["test"] = data.splits.pop("validation")
        case "vector":
            train.vectors[5, 1] = -1
        case "vector name":
            data.vector_names = ("age", "weight")
    assert data.fingerprint() != before
