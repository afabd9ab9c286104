import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data import Preparation, load_images, open_data
from visarch.errors import UserError

from .pictures import noise, save

BYTES = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)


def opened(tmp_path, like=None, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return open_data(str(tmp_path / "a.npz"), like=like)


def stored(data):
    """All samples as they are stored, in the order of their positions in the file."""
    by_position = {
        int(name.split("[")[1][:-1]): image
        for split in data.splits.values()
        for name, image in zip(split.names, split.images, strict=True)
    }
    return torch.stack([by_position[position] for position in sorted(by_position)])


def why_levels(data):
    return next(why for what, _, why in data.reasons if what == "levels")


def test_8_bit_images(tmp_path):
    data = opened(tmp_path, images=BYTES, labels=np.arange(20) % 3 * 10)
    assert data.kind == "array"
    assert (data.shape, data.levels) == ((1, 8, 8), 256)
    assert data.classes == ("0", "10", "20")
    np.testing.assert_array_equal(stored(data)[:, 0], BYTES)
    for split in data.splits.values():
        positions = [int(name.removeprefix("images[").removesuffix("]")) for name in split.names]
        assert split.labels.tolist() == [position % 3 for position in positions]
    json.dumps(data.describe())


def test_an_npy_file(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    data = open_data(str(tmp_path / "a.npy"))
    np.testing.assert_array_equal(stored(data)[:, 0], BYTES)
    assert data.classes is None


@pytest.mark.parametrize(
    ("values", "levels", "as_stored"),
    [
        (BYTES > 100, 256, np.where(BYTES > 100, 255, 0)),
        (BYTES.astype(np.int64), 256, BYTES),
        (BYTES.astype(">u2"), 256, BYTES),
        (BYTES.astype(np.uint16) * 16, 4096, BYTES * 16.0),
        (BYTES.astype(np.uint16) * 257, 65536, BYTES * 257.0),
        (BYTES.astype(np.float32), 256, BYTES),
        (BYTES.astype(np.float64) * 4, 1024, BYTES * 4.0),
        ((BYTES / 255).astype(np.float32), 256, BYTES),
        ((BYTES / 255).astype(np.float16), 256, BYTES),
        (BYTES / 255, 256, BYTES),
        ((BYTES > 100).astype(float), 256, np.where(BYTES > 100, 255, 0)),
        (BYTES / 256, None, BYTES / 256),
        (BYTES.astype(np.int8), None, None),
        (BYTES.astype(np.int64) * 300, None, None),
        (BYTES / 127.5 - 1, None, BYTES / 255),
    ],
)
def test_types_and_scales(tmp_path, values, levels, as_stored):
    data = opened(tmp_path, images=values)
    assert data.levels == levels
    kind = {256: torch.uint8, None: torch.float32}.get(levels, torch.int32)
    assert data.splits["train"].images.dtype == kind
    if as_stored is not None:
        np.testing.assert_allclose(stored(data)[:, 0], as_stored, atol=1e-6)
    if levels is None:
        low, high = data.floats
        np.testing.assert_allclose(
            low + stored(data)[:, 0].double() * (high - low), values, rtol=1e-5, atol=1e-4
        )


def test_training_samples_fill_the_unit_interval_and_others_are_not_clipped(tmp_path):
    train, test = np.linspace(-3, 5, 90).reshape(10, 9), np.full((2, 9), 9.0)
    data = opened(tmp_path, signals_train=train, signals_test=test, signals_val=train[:2])
    assert data.floats == (-3.0, 5.0)
    assert (data.splits["train"].images.min(), data.splits["train"].images.max()) == (0, 1)
    assert (data.splits["test"].images == 1.5).all()
    assert "smallest, -3, becomes 0 and their largest, 5, becomes 1" in why_levels(data)


def test_a_constant_off_the_unit_interval_has_no_scale(tmp_path):
    with pytest.raises(UserError, match=r"is -7.5 throughout; there is nothing to learn"):
        opened(tmp_path, images=np.full((4, 8, 8), -7.5))


def test_samples_that_are_not_finite_are_skipped_and_listed(tmp_path):
    values = np.random.default_rng(0).normal(size=(12, 8, 8))
    values[3, 0, 0], values[7, 1, 1] = np.nan, -np.inf
    labels = np.arange(12)
    data = opened(tmp_path, images=values, labels=labels)
    assert data.skipped == [
        ("images[3]", "holds values that are NaN or infinite"),
        ("images[7]", "holds values that are NaN or infinite"),
    ]
    assert sum(map(len, data.splits.values())) == 10
    for split in data.splits.values():
        assert torch.isfinite(split.images).all()
        assert split.names == [f"images[{label}]" for label in split.labels]
    assert "3" in data.classes


def test_if_no_sample_is_finite_there_is_no_data(tmp_path):
    with pytest.raises(UserError, match=r"Each of the 4 samples under images .* NaN or infinite"):
        opened(tmp_path, images=np.full((4, 8, 8), np.nan))


def test_splits_that_a_file_brings_are_used(tmp_path):
    data = opened(
        tmp_path,
        x_train=BYTES[:12],
        y_train=np.array(list("abcabcabcabc")),
        x_test=BYTES[12:],
        y_test=np.array(list("acacacac")),
    )
    assert list(data.splits) == ["train", "validation", "test"]
    assert data.classes == ("a", "b", "c")  # though the test samples lack b
    assert data.splits["test"].labels.tolist() == [0, 2] * 4
    assert data.splits["test"].names[0] == "x_test[0]"
    np.testing.assert_array_equal(data.splits["test"].images[:, 0], BYTES[12:])
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 12


def test_splits_must_have_one_shape(tmp_path):
    with pytest.raises(UserError, match="samples of 1×8×8 and 1×8×9; give them one shape"):
        opened(tmp_path, images_train=np.zeros((2, 8, 8)), images_test=np.zeros((2, 8, 9)))


@given(st.integers(2, 60), st.integers(0, 40))
def test_more_samples_move_none_of_the_others(tmp_path_factory, count, more):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    np.save(path, np.zeros((count + more, 8, 8), np.uint8))
    everything = set(open_data(str(path)).splits["train"].names)
    np.save(path, np.zeros((count, 8, 8), np.uint8))
    train = open_data(str(path)).splits["train"].names
    moved = set(train) ^ {name for name in everything if int(name[6:-1]) < count}
    assert len(moved) <= 1  # the one that a small set holds out by force


def test_image_size_and_channels(tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES)
    data = open_data(str(tmp_path / "a.npz"), image_size=(4, 6), channels=3)
    assert data.splits["train"].images.shape[1:] == (3, 4, 6)
    np.savez(tmp_path / "b.npz", signals=np.zeros((4, 20), np.uint8))
    assert open_data(str(tmp_path / "b.npz"), image_size=20).shape == (1, 20)
    with pytest.raises(UserError, match=r"signals\[0\] has the shape 1×20 where 1×10 is needed"):
        open_data(str(tmp_path / "b.npz"), image_size=10)
    np.savez(tmp_path / "c.npz", images=np.zeros((4, 5, 8, 8), np.uint8))
    with pytest.raises(UserError, match="has 5 channels where 3 are needed"):
        open_data(str(tmp_path / "c.npz"), channels=3)


@pytest.mark.parametrize(
    "values",
    [
        BYTES,
        BYTES.astype(np.uint16) * 16,
        BYTES / 255,
        BYTES / 256,
        BYTES / 100 - 1,
        BYTES.astype(np.float32),
    ],
)
def test_opened_like_itself_it_is_the_same(tmp_path, values):
    data = opened(tmp_path, images=values)
    remembered = Preparation.from_dict(json.loads(json.dumps(data.preparation.to_dict())))
    assert opened(tmp_path, images=values, like=remembered).fingerprint() == data.fingerprint()


def test_samples_off_the_scale_of_a_model_are_skipped(tmp_path):
    values = BYTES.astype(np.uint16) * 16
    like = opened(tmp_path, images=values).preparation
    values[5] += 200
    data = opened(tmp_path, images=values, like=like)
    assert [name for name, _ in data.skipped] == ["images[5]"]
    with pytest.raises(UserError, match=r"None of the samples .* images\[0\] has values from"):
        opened(tmp_path, images=values + np.uint16(5000), like=like)


def test_image_files_for_a_model_that_was_trained_on_an_array(tmp_path):
    path = save(tmp_path / "x.png", noise(8, 8, channels=1))
    like = opened(tmp_path, images=BYTES / 256).preparation
    unit = load_images([path], like).images
    np.testing.assert_allclose(unit[0, 0], (noise(8, 8, channels=1) + 0.5) / 256, rtol=1e-6)


def test_1d_and_3d(tmp_path):
    assert opened(tmp_path, signals=np.zeros((4, 3, 50))).shape == (3, 50)
    assert opened(tmp_path, volumes=np.zeros((4, 6, 8, 7), np.uint8)).shape == (1, 6, 8, 7)
    assert ("axes", "volumes", "volumes has the shape 4×6×8×7: volumes of one channel") in opened(
        tmp_path, volumes=np.zeros((4, 6, 8, 7), np.uint8)
    ).reasons


def test_arrays_that_are_not_used_are_told_of(tmp_path):
    data = opened(tmp_path, images=BYTES, ids=np.arange(20))
    assert ("other arrays", "ids", "not used") in data.reasons
