import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visarch.data import Preparation, load_images, numbers, open_data
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


def test_context_vectors_with_and_without_splits(tmp_path):
    vectors = np.arange(40.0).reshape(20, 2)
    data = opened(tmp_path, images=BYTES, vectors=vectors)
    assert data.vector_names == ("v1", "v2")
    for split in data.splits.values():
        positions = [int(name[7:-1]) for name in split.names]
        assert split.vectors.dtype == torch.float32
        np.testing.assert_array_equal(split.vectors, vectors[positions])
    data = opened(
        tmp_path,
        x_train=BYTES[:15],
        x_test=BYTES[15:],
        vectors_train=vectors[:15],
        test_vectors=vectors[15:, :],
    )
    np.testing.assert_array_equal(data.splits["test"].vectors, vectors[15:])
    assert opened(tmp_path, images=BYTES, vectors=np.arange(20)).vector_names == ("v1",)
    assert opened(tmp_path, images=BYTES).vector_names is None


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((19, 2)), "20 samples under images but 19 vectors under vectors"),
        (np.zeros((20, 2, 2)), "vectors has the shape 20×2×2; vectors must be one for each"),
        (np.zeros((20, 0)), "vectors must be one for each sample"),
        (np.array(["a"] * 20), "vectors must hold numbers"),
        (np.full((20, 2), np.nan), r"vectors\[0\] is \[nan nan\]; every number must be finite"),
    ],
)
def test_vectors_that_cannot_be_used(tmp_path, vectors, message):
    with pytest.raises(UserError, match=message):
        opened(tmp_path, images=BYTES, vectors=vectors)


def test_vectors_for_one_split_only(tmp_path):
    with pytest.raises(UserError, match="vectors of one length for each of x_train, x_test"):
        opened(tmp_path, x_train=BYTES, x_test=BYTES, vectors_train=np.zeros((20, 2)))


def test_a_class_that_only_test_has_is_left_out(tmp_path):
    data = opened(
        tmp_path,
        x_train=BYTES[:15],
        y_train=np.arange(15) % 3 * 5,
        x_test=BYTES[15:],
        y_test=np.array([0, 7, 10, 5, 7]),
    )
    assert data.classes == ("0", "5", "10")
    assert data.splits["test"].labels.tolist() == [0, 2, 1]
    assert data.splits["test"].names == ["x_test[0]", "x_test[2]", "x_test[3]"]
    np.testing.assert_array_equal(data.splits["test"].images[:, 0], BYTES[[15, 17, 18]])
    assert [name for name, _ in data.skipped] == ["x_test[1]", "x_test[4]"]


def test_the_classes_of_a_model_number_the_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=BYTES, labels=np.arange(20) % 2)
    data = open_data(tmp_path / "a.npz", classes=("1", "0", "2"))
    assert data.classes == ("1", "0", "2")
    for split in data.splits.values():
        assert split.labels.tolist() == [1 - int(name[7:-1]) % 2 for name in split.names]


STORED = [
    BYTES,
    BYTES > 100,
    BYTES.astype(np.uint16) * 16,
    BYTES.astype(">i4") * 16,
    BYTES / 255,
    BYTES.astype(np.float32) / 100 - 1,
    np.asfortranarray(BYTES / 300),
]


@pytest.mark.parametrize("values", STORED)
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_what_does_not_fit_into_memory_is_read_from_the_file(tmp_path, monkeypatch, values, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        np.savez(path, images=values, labels=np.arange(20) % 2, more=values)
    before = path.read_bytes()
    held = open_data(path)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "500")
    lazy = open_data(path)
    assert lazy.preparation == held.preparation
    assert ("held", "on disk") in [reason[:2] for reason in lazy.reasons]
    for name, split in lazy.splits.items():
        assert not split.in_memory
        order = torch.randperm(len(split))
        batch, whole = split.read(order), held.splits[name].read(order)
        assert batch.images.dtype == whole.images.dtype
        assert torch.equal(batch.images, whole.images)
        assert suffix == ".npy" or torch.equal(batch.labels, whole.labels)
        assert split.names == held.splits[name].names
    assert path.read_bytes() == before


def test_samples_in_the_file_that_are_not_finite_are_skipped(tmp_path, monkeypatch):
    values = BYTES / 300
    values[4, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    held = open_data(tmp_path / "a.npy")
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "0")
    lazy = open_data(tmp_path / "a.npy")
    assert lazy.skipped == held.skipped == [("array[4]", "holds values that are NaN or infinite")]
    for name, split in lazy.splits.items():
        images = split.read(torch.arange(len(split))).images
        assert torch.equal(images, held.splits[name].images)


def test_a_compressed_array_must_fit_into_memory(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=BYTES)
    monkeypatch.setenv("VISARCH_DATA_MEMORY", "500")
    with pytest.raises(UserError, match=r"images in .* is compressed, .* Write it with np.savez"):
        open_data(tmp_path / "a.npz")


def test_five_channels_of_images_signals_and_volumes(tmp_path):
    rng = np.random.default_rng(0)
    for key, shape in {"images": (50, 37), "signals": (101,), "volumes": (6, 9, 7)}.items():
        values = rng.integers(0, 256, (8, 5, *shape), dtype=np.uint8)
        data = opened(tmp_path, **{key: values})
        assert data.shape == (5, *shape)
        np.testing.assert_array_equal(stored(data), values)
        last = opened(tmp_path, **{key: np.moveaxis(values, 1, -1)})
        np.testing.assert_array_equal(stored(last), values)


def test_pieces_are_the_whole(monkeypatch):
    monkeypatch.setattr(numbers, "_PIECE", 200)
    values = np.random.default_rng(0).normal(size=(20, 1, 8, 8))
    values[7, 0, 0, 0] = np.inf
    own = numbers.of_one_type({"": values})[""]
    assert len(list(own.pieces())) == 20
    assert np.flatnonzero(~own.finite()).tolist() == [7]
    mask = own.finite()
    assert own.range(mask) == (values[mask].min(), values[mask].max())
    assert not own.are_whole(mask, 255)
