import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visarch.data.table import read_tables
from visarch.errors import UserError


def write(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def shape_of(tmp_path, key, *shape, ndim=None):
    """The shape (n, C, *spatial) that an array of a shape is read as."""
    tables, _ = read_tables(write(tmp_path / "a.npz", **{key: np.zeros(shape)}), ndim)
    return tables[""].values.shape


@pytest.mark.parametrize(
    ("key", "shape", "read_as"),
    [
        ("signals", (9, 50), (9, 1, 50)),
        ("signals", (9, 3, 50), (9, 3, 50)),
        ("signals", (9, 50, 12), (9, 12, 50)),
        ("images", (9, 5, 4), (9, 1, 5, 4)),
        ("images", (9, 20, 30, 13), (9, 13, 20, 30)),
        ("images", (9, 13, 20, 30), (9, 13, 20, 30)),
        ("volumes", (9, 4, 8, 9), (9, 1, 4, 8, 9)),
        ("volumes", (9, 2, 4, 8, 9), (9, 2, 4, 8, 9)),
        ("volumes", (9, 4, 8, 9, 2), (9, 2, 4, 8, 9)),
        ("x", (9, 50), (9, 1, 50)),
        ("data", (9, 28, 28), (9, 1, 28, 28)),
        ("arr_0", (9, 32, 32, 3), (9, 3, 32, 32)),
        ("x", (9, 1, 32, 32), (9, 1, 32, 32)),
        ("x", (9, 1, 8, 8, 8), (9, 1, 8, 8, 8)),
        ("IMAGES", (9, 8, 8), (9, 1, 8, 8)),
        ("anything", (9, 28, 28), (9, 1, 28, 28)),
    ],
)
def test_axes_are_read_as_documented(tmp_path, key, shape, read_as):
    assert shape_of(tmp_path, key, *shape) == read_as


def test_a_single_array_may_have_any_name_beside_its_labels(tmp_path):
    tables, _ = read_tables(write(tmp_path / "a.npz", faces=np.zeros((2, 8, 8)), y=[0, 1]))
    assert tables[""].key == "faces"
    assert tables[""].labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "shape",
    [(9, 12, 5000), (9, 3, 100), (480, 640, 3), (9, 16, 32, 32), (9, 3, 9, 3), (7,), ()],
)
def test_what_is_not_plain_is_asked_for(tmp_path, shape):
    source = write(tmp_path / "a.npz", x=np.zeros(shape))
    with pytest.raises(UserError, match=r"x in .* has the shape") as error:
        read_tables(source)
    assert "np.savez('a.npz', images=array)" in str(error.value)


@pytest.mark.parametrize(
    ("key", "shape", "other"),
    [("images", (9, 40), "signals"), ("images", (9, 1, 8, 8, 8), "volumes"), ("x", (), "images")],
)
def test_a_key_that_does_not_fit_is_answered_with_another(tmp_path, key, shape, other):
    source = write(tmp_path / "a.npz", **{key: np.zeros(shape)})
    shown = "×".join(map(str, shape)) or r"\(\)"
    with pytest.raises(UserError, match=rf"has the shape {shown}, .*{other}=array\)"):
        read_tables(source)


def test_what_a_model_expects_decides_where_the_key_does_not(tmp_path):
    assert shape_of(tmp_path, "x", 9, 12, 5000, ndim=1) == (9, 12, 5000)
    assert shape_of(tmp_path, "x", 9, 16, 32, 32, ndim=3) == (9, 1, 16, 32, 32)
    assert shape_of(tmp_path, "signals", 9, 3, 500, ndim=2) == (9, 3, 500)


@given(st.data())
def test_channels_first_and_last_are_the_same_samples(tmp_path_factory, data):
    ndim = data.draw(st.integers(1, 3))
    spatial = data.draw(st.lists(st.integers(3, 6), min_size=ndim, max_size=ndim))
    channels = data.draw(st.integers(1, 5))
    assume(channels < min(spatial[0], spatial[-1]))
    key = ("signals", "images", "volumes")[ndim - 1]
    first = np.random.default_rng(0).random((2, channels, *spatial))
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    for array in (first, np.moveaxis(first, 1, -1)):
        tables, _ = read_tables(write(path, **{key: array}))
        np.testing.assert_array_equal(tables[""].values, first)


def test_an_axis_of_channels_that_could_be_either_is_an_error(tmp_path):
    with pytest.raises(UserError, match="either 8 may be the number of channels"):
        shape_of(tmp_path, "images", 9, 8, 8, 8)


@pytest.mark.parametrize(
    ("pattern", "labels"), [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("DATA_{}", "Y_{}")]
)
def test_keys_may_carry_their_split(tmp_path, pattern, labels):
    arrays = {}
    for number, split in enumerate(("train", "val", "test"), 1):
        arrays[pattern.format(split)] = np.full((number, 8, 8), number, np.uint8)
        arrays[labels.format(split)] = np.arange(number)
    tables, unused = read_tables(write(tmp_path / "a.npz", **arrays))
    assert unused == []
    assert list(tables) == ["train", "validation", "test"]
    for number, table in enumerate(tables.values(), 1):
        assert table.values.shape == (number, 1, 8, 8)
        assert table.labels.tolist() == list(range(number))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("x", "x_train"), "give one array for all samples"),
        (("x_val", "x_test"), "or one for training"),
        (("x", "images"), "holds images and x of the arrays"),
        (("a", "b"), "holds none of the arrays .* Its keys: a, b."),
        (("y",), "holds none of the arrays .* Its keys: y."),
    ],
)
def test_keys_that_say_too_little_or_too_much(tmp_path, keys, message):
    source = write(tmp_path / "a.npz", **{key: np.zeros((2, 8, 8)) for key in keys})
    with pytest.raises(UserError, match=message):
        read_tables(source)


def test_arrays_that_are_not_used_are_named(tmp_path):
    source = write(tmp_path / "a.npz", images=np.zeros((2, 8, 8)), weights=np.ones(2), y=[0, 1])
    assert read_tables(source)[1] == ["weights"]


@pytest.mark.parametrize(
    ("labels", "read_as"),
    [
        (np.array([3, 1, 2], np.uint8), [3, 1, 2]),
        (np.array([[3], [1], [2]]), [3, 1, 2]),
        (np.array([3.0, 1.0, 2.0]), [3, 1, 2]),
        (np.array(["c", "a", "é"]), ["c", "a", "é"]),
        (np.array(["c", "é", "b"], object), "objects"),
        (np.array([b"c", b"a", b"b"]), ["c", "a", "b"]),
        (np.array([0.5, 1.0, 2.0]), "labels must be whole numbers or strings"),
        (np.array([np.nan, 1.0, 2.0]), "labels must be whole numbers or strings"),
        (np.eye(3), "labels must be one for each sample"),
        (np.arange(4), "3 samples under x but 4 labels under y"),
    ],
)
def test_labels(tmp_path, labels, read_as):
    source = write(tmp_path / "a.npz", x=np.zeros((3, 8, 8)), y=labels)
    if isinstance(read_as, str):
        with pytest.raises(UserError, match=read_as):
            read_tables(source)
    else:
        assert read_tables(source)[0][""].labels.tolist() == read_as


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 8, 8), complex), np.zeros((2, 8, 8), "M8[s]"), np.zeros((2, 8, 8), "U3")],
    ids=["complex", "dates", "text"],
)
def test_values_that_are_no_numbers_are_refused(tmp_path, values):
    with pytest.raises(UserError, match="samples must be booleans, integers or floating-point"):
        read_tables(write(tmp_path / "a.npz", x=values))


def test_no_samples(tmp_path):
    with pytest.raises(UserError, match="has the shape 0×28×28 and holds no samples"):
        shape_of(tmp_path, "images", 0, 28, 28)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code in the file was run",))


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_python_objects_are_never_loaded(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    objects = np.array([Bomb(), Bomb()], dtype=object)
    if suffix == ".npz":
        np.savez(path, x=objects)
    else:
        np.save(path, objects)
    with pytest.raises(UserError, match="holds Python objects, which are not loaded"):
        read_tables(str(path))


def test_a_bare_pickle_is_no_array(tmp_path):
    (tmp_path / "a.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="is no NumPy file; write it with"):
        read_tables(str(tmp_path / "a.npy"))


def damaged(content: bytes) -> list[bytes]:
    middle = len(content) // 2
    flipped = bytearray(content)
    flipped[middle] ^= 255
    return [content[:middle], content[:30], bytes(flipped)]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("kind", ["npz", "compressed", "npy"])
def test_a_damaged_file_is_refused(tmp_path, kind, which):
    path = tmp_path / ("a.npy" if kind == "npy" else "a.npz")
    values = np.random.default_rng(0).random((9, 8, 8))
    if kind == "npy":
        np.save(path, values)
    else:
        (np.savez_compressed if kind == "compressed" else np.savez)(path, x=values)
    path.write_bytes(damaged(path.read_bytes())[which])
    if kind == "npy" and which == 2:
        read_tables(str(path))  # one value is another; an .npy has no checksum to tell by
        return
    with pytest.raises(UserError, match="is damaged or cannot be read"):
        read_tables(str(path))


def test_an_empty_file_and_an_archive_of_other_things(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        read_tables(str(tmp_path / "a.npz"))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("photo.jpg", b"not an array")
    with pytest.raises(UserError, match=r"photo.jpg in .* has the type no array"):
        read_tables(str(tmp_path / "b.npz"))
