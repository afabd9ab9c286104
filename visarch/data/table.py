"""What an `.npz` or `.npy` file holds: which arrays are samples and labels, and what axes mean.

Under the keys `signals`, `images` and `volumes` it is plain what the axes mean. Under `x`, `data`
and `arr_0`, and in an `.npy`, their number and sizes decide, or the user is asked:

    axes  read as                                   if
    2     signals (n, L)
    3     images (n, H, W)                          both sides ≥ 8, neither over 4 times the other
    4     images (n, C, H, W) or (n, H, W, C)       just one of the outer two (after n) is ≤ 4
    5     volumes (n, C, D, H, W) or (n, D, H, W, C)

An axis for channels is always the smaller of the outer two. Labels are under `labels` or `y`,
context vectors (n, v) under `vectors`. A key may carry its split: `x_train`, `y_train`,
`test_images`, `val_labels`, `vectors_train`.

Samples that do not fit into memory stay in the file, from where they are read when needed.
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from visarch.data.layout import SPLITS
from visarch.data.memory import gibibytes, memory_limit
from visarch.data.preparation import times
from visarch.errors import UserError

_NDIM = {"signals": 1, "images": 2, "volumes": 3, "x": None, "data": None, "arr_0": None}
_LABELS = ("labels", "y")
_VECTORS = ("vectors",)
_THINGS = {1: "signals", 2: "images", 3: "volumes"}
_LARGEST_GUESSED_CHANNELS = 4
_DAMAGES = (
    *(OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Table:
    """The samples and labels of one split."""

    key: str
    values: np.ndarray
    """(n, C, *spatial), of the type it has in the file."""
    labels: np.ndarray | None
    """(n,), numbers or strings."""
    vectors: np.ndarray | None
    """(n, v) float32."""
    layout: str
    """How the axes were read, and why."""


def read_tables(source: str, ndim: int | None = None) -> tuple[dict[str, Table], list[str]]:
    """The splits of a file ("" stands for a file without splits), and the keys that are not used.

    `ndim` says how many spatial dimensions to expect where the key leaves it open.

    Raises:
        UserError: the file cannot be read, lacks what is needed, or could be read in two ways.
    """
    with _opened(source) as arrays:
        split_and_stem = {key: _split_and_stem(key) for key in arrays}
        stems = sorted({stem for _, stem in split_and_stem.values() if stem in _NDIM})
        others = {stem for _, stem in split_and_stem.values() if stem not in _LABELS + _VECTORS}
        if not stems and len(others) == 1:
            stems = list(others)  # it can be no other, whatever its name
        if len(stems) != 1:
            there = ", ".join(arrays) or "none"
            raise UserError(
                f"{source!r} holds {' and '.join(stems) if stems else 'none'} of the arrays "
                f"{', '.join(_NDIM)}; exactly one is needed. Its keys: {there}."
            )
        keys = {split: key for key, (split, stem) in split_and_stem.items() if stem == stems[0]}
        if set(keys) != {""} and ("train" not in keys or "" in keys):
            raise UserError(
                f"{source!r} holds {' and '.join(keys.values())}: give one array for all samples, "
                "or one for training (its key ending in _train) beside others for validation and "
                "test."
            )
        labels = {split: key for key, (split, stem) in split_and_stem.items() if stem in _LABELS}
        vectors = {split: key for key, (split, stem) in split_and_stem.items() if stem in _VECTORS}
        tables = {}
        for split, key in keys.items():
            values, layout = _channels_first(arrays[key], _NDIM.get(stems[0]) or ndim, key, source)
            targets = _labels(arrays[labels[split]], labels[split]) if split in labels else None
            context = _vectors(arrays[vectors[split]], vectors[split]) if split in vectors else None
            for what, own, about in (("labels", labels, targets), ("vectors", vectors, context)):
                if about is not None and len(about) != len(values):
                    raise UserError(
                        f"{source!r} has {len(values)} samples under {key} but {len(about)} {what} "
                        f"under {own[split]}; there must be one for each."
                    )
            tables[split] = Table(key, values, targets, context, layout)
        widths = {None if own.vectors is None else own.vectors.shape[1] for own in tables.values()}
        if len(widths) > 1:
            raise UserError(
                f"{source!r} must have vectors of one length for each of "
                f"{', '.join(keys.values())}; there are {', '.join(vectors.values())}."
            )
        named = [own[split] for own in (labels, vectors) for split in keys if split in own]
        used = {*keys.values(), *named}
        return tables, [key for key in arrays if key not in used]


def _channels_first(
    values: np.ndarray, ndim: int | None, key: str, source: str
) -> tuple[np.ndarray, str]:
    """Samples as (n, C, *spatial), and how their axes were read."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        kind = getattr(values, "dtype", "no array")  # an archive may hold any files
        raise UserError(
            f"{key} in {source!r} has the type {kind}; samples must be booleans, integers or "
            "floating-point numbers."
        )
    shape = times(values.shape)
    if values.size == 0:
        raise UserError(f"{key} in {source!r} has the shape {shape or '()'} and holds no samples.")
    why = f"{key} has the shape {shape}"
    if ndim is None:
        ndim = _guess_ndim(values.shape)
    if ndim is None or values.ndim not in (ndim + 1, ndim + 2):
        raise UserError(_unclear(key, values.shape, source))
    if values.ndim == ndim + 1:
        return values[:, None], f"{why}: {_THINGS[ndim]} of one channel"
    first, last = values.shape[1], values.shape[-1]
    if first == last:
        raise UserError(
            f"{key} in {source!r} has the shape {shape}, where either {first} may be the number of "
            "channels; leave an axis of one channel out, or put the channels next to the samples "
            "with another size."
        )
    if first > last:
        values = np.moveaxis(values, -1, 1)
    place = "first" if first < last else "last"
    return values, f"{why}: {_THINGS[ndim]} of {min(first, last)} channels, which come {place}"


def _guess_ndim(shape: tuple[int, ...]) -> int | None:
    """Number of spatial dimensions, None where it is not plain."""
    if len(shape) == 3:
        short, long = sorted(shape[1:])
        return 2 if short >= 8 and long <= 4 * short else None
    if len(shape) == 4:
        outer = (shape[1] <= _LARGEST_GUESSED_CHANNELS, shape[-1] <= _LARGEST_GUESSED_CHANNELS)
        return 2 if sum(outer) == 1 else None
    return {2: 1, 5: 3}.get(len(shape))


def _unclear(key: str, shape: tuple[int, ...], source: str) -> str:
    name = Path(source).with_suffix(".npz").name
    likely = {2: "signals", 5: "volumes"}.get(len(shape), "images")
    return (
        f"{key} in {source!r} has the shape {times(shape) or '()'}, which cannot be read with "
        "certainty. Say what it is by its key: signals (n, L) or (n, C, L), images (n, H, W), "
        "(n, C, H, W) or (n, H, W, C), volumes (n, D, H, W), (n, C, D, H, W) or (n, D, H, W, C), "
        f"as in np.savez({name!r}, {likely}=array)."
    )


def _labels(labels: np.ndarray, key: str) -> np.ndarray:
    """Labels (n,) as whole numbers or strings."""
    if not isinstance(labels, np.ndarray):
        raise UserError(f"{key} is no array.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(
            f"{key} has the shape {times(labels.shape)}; labels must be one for each sample, (n,)."
        )
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8")
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all():
        return labels.astype(np.int64)
    if labels.dtype.kind not in "biuU":
        raise UserError(
            f"{key} holds {labels.dtype} values; labels must be whole numbers or strings."
        )
    return labels


def _vectors(vectors: np.ndarray, key: str) -> np.ndarray:
    """Context vectors (n, v); numbers (n,) are vectors of one number."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "biuf":
        raise UserError(f"{key} must hold numbers, one vector for each sample: (n, v).")
    if vectors.ndim == 1:
        vectors = vectors[:, None]
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise UserError(
            f"{key} has the shape {times(vectors.shape)}; vectors must be one for each sample, "
            "(n, v)."
        )
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise UserError(f"{key}[{bad[0]}] is {vectors[bad[0]]}; every number must be finite.")
    return vectors.astype(np.float32)


def _split_and_stem(key: str) -> tuple[str, str]:
    """A key's split, "" if it names none, and the rest: x_train and train_x are ("train", "x")."""
    first, _, after = key.lower().partition("_")
    before, _, last = key.lower().rpartition("_")
    if first in SPLITS and after:
        return SPLITS[first], after
    if last in SPLITS and before:
        return SPLITS[last], before
    return "", key.lower()


@contextlib.contextmanager
def _opened(source: str) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of a file by key, read when asked for; nothing in the file is ever executed."""
    path = Path(source).expanduser()
    try:
        with open(path, "rb") as file:
            magic = file.read(6)
            if not magic.startswith((b"\x93NUMPY", b"PK")):
                content = "is empty" if not magic else "is no NumPy file"
                raise UserError(f"{source!r} {content}; write it with np.savez or np.save.")
            file.seek(0)
            if magic.startswith(b"PK"):
                yield _Archive(path, np.load(file, allow_pickle=False))
            else:
                fits = 2 * path.stat().st_size <= memory_limit()
                array = np.load(file, allow_pickle=False) if fits else _mapped(path, 0)
                yield {"array": array}
    except UserError:
        raise
    except _DAMAGES as error:
        if "allow_pickle" in str(error):
            raise UserError(
                f"{source!r} holds Python objects, which are not loaded because that could run "
                "code. Often they come from samples of unequal shapes: bring them to one shape and "
                "save them as an array of numbers."
            ) from error
        raise UserError(f"{source!r} is damaged or cannot be read: {error}.") from error


class _Archive(Mapping[str, np.ndarray]):
    """The arrays of an `.npz` file; one that does not fit into memory stays where it is."""

    def __init__(self, path: Path, arrays: Any) -> None:
        self._path, self._arrays = path, arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, key: str) -> np.ndarray:
        name = key if key in self._arrays.zip.namelist() else f"{key}.npy"
        info = self._arrays.zip.getinfo(name)
        if 2 * info.file_size <= memory_limit():
            return self._arrays[key]
        if info.compress_type != zipfile.ZIP_STORED:
            raise UserError(
                f"{key} in {str(self._path)!r} is compressed, and its {gibibytes(info.file_size)} "
                "do not fit into memory. Write it with np.savez or np.save: samples can then be "
                "read one by one."
            )
        with open(self._path, "rb") as file:
            file.seek(info.header_offset + 26)
            lengths = struct.unpack("<HH", file.read(4))  # of the name and of what follows it
        return _mapped(self._path, info.header_offset + 30 + sum(lengths))


def _mapped(path: Path, offset: int) -> np.ndarray:
    """The array that is written from `offset` on, left in the file until it is read."""
    with open(path, "rb") as file:
        file.seek(offset)
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, in_columns, dtype = read_header(file)
        start = file.tell()
    if dtype.hasobject:
        raise ValueError("allow_pickle")
    order: Literal["C", "F"] = "F" if in_columns else "C"
    # "c": what is written to it never reaches the file
    return np.memmap(path, dtype, "c", start, shape, order)
