"""Parquet files in the Hugging Face image layout: a column of encoded images, and one of labels."""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from visarch.data.columns import Columns, choose_columns
from visarch.data.found import Found, split_counts
from visarch.data.layout import SPLITS
from visarch.data.memory import memory_limit
from visarch.errors import UserError

_HELD = 2
"""Row groups that are held at a time where a file is read in order."""


def find_parquet(source: str, files: Mapping[str, Path], *, in_order: bool = False) -> Found:
    """The images in Parquet files, whose names or folders say which split they are.

        train.parquet   test.parquet   data/train-00000-of-00002.parquet   validation/0000.parquet

    The encoded images are held in memory. Where they are too many, the tables are written once to
    the cache of Hugging Face's datasets, from where any of them can be read at once; with
    `in_order`, for readers that go through them one after the other, a few are held at a time.

    Args:
        source: what was asked for.
        files: the files by their names relative to it.

    Raises:
        UserError: a package is missing, a file is damaged, or no column holds images.
    """
    require("pyarrow")
    splits, left_out = _splits({name: path for name, path in files.items() if _is_parquet(name)})
    columns: Columns | None = None
    found = Found("parquet", [], left_out=left_out, by_value=True)
    for split, own in splits.items():
        groups = RowGroups([files[name] for name in own], source)
        if columns is None:
            columns = choose_columns(groups.schema, source)
        elif choose_columns(groups.schema, source) != columns:
            raise UserError(
                f"The Parquet files in {source!r} do not have the same columns ({own[0]} differs): "
                "give the folder of those that belong together."
            )
        if in_order:
            images: Sequence[Any] = groups.of(columns.image)
        elif groups.bytes_of(columns.image) <= memory_limit() // 4:
            images = groups.column(columns.image)
        else:
            images = _mapped(groups.paths).column(columns.image)
            why = "the images do not fit into memory: their table was written to Hugging Face's "
            found.reasons.append(("table", "on disk", why + "cache, HF_DATASETS_CACHE"))
        labels: Sequence[Any] = [None] * groups.num_rows
        if columns.label is not None:
            labels = groups.column(columns.label).to_pylist()
        prefix = split or Path(source).stem
        found.samples += columns.samples(images, labels, split, prefix, groups.paths[0].parent)
    assert columns is not None
    found.classes, found.why_classes = columns.classes, columns.why
    found.reasons += columns.reasons
    if len(splits) > 1:
        value = split_counts(sample.split for sample in found.samples)
        found.reasons.append(("split", value, "by the names of the Parquet files"))
    return found


class RowGroups:
    """Parquet files of one schema, one after the other, read no further than is asked for."""

    def __init__(self, paths: Sequence[Path], source: str) -> None:
        self.paths = paths
        self._parquet = import_module("pyarrow.parquet")
        self._errors = import_module("pyarrow").ArrowException
        self._files = []
        for path in paths:
            try:
                self._files.append(self._parquet.ParquetFile(path, memory_map=True))
            except (self._errors, OSError) as error:
                raise UserError(f"{path} is no Parquet file, or is damaged: {str(error).rstrip('.')}.") from error
        self.schema = self._files[0].schema_arrow
        for path, file in zip(paths, self._files, strict=True):
            if not file.schema_arrow.equals(self.schema):
                raise UserError(
                    f"{path} has other columns than {paths[0]}, which is of the same split in "
                    f"{source!r}: give the folder of those that belong together."
                )
        self.num_rows = sum(file.metadata.num_rows for file in self._files)

    def bytes_of(self, name: str) -> int:
        """How many bytes a column has."""
        total = 0
        for file in self._files:
            for group in range(file.metadata.num_row_groups):
                own = file.metadata.row_group(group)
                chunks = (own.column(position) for position in range(own.num_columns))
                total += sum(
                    chunk.total_uncompressed_size
                    for chunk in chunks
                    if chunk.path_in_schema.split(".")[0] == name
                )
        return total

    def column(self, name: str) -> Any:
        """A whole column.

        Raises:
            UserError: a file is damaged.
        """
        pyarrow = import_module("pyarrow")
        chunks: list[Any] = []
        for path, file in zip(self.paths, self._files, strict=True):
            try:
                chunks += file.read([name]).column(name).chunks
            except (self._errors, OSError) as error:
                raise UserError(f"{path} is damaged: {error}.") from error
        return pyarrow.chunked_array(chunks, type=self.schema.field(name).type)

    def of(self, name: str) -> InOrder:
        """A column whose rows are read a group at a time."""
        return InOrder(self._files, name)


class InOrder(Sequence[Any]):
    """A column of Parquet files of which the row groups read last are held."""

    def __init__(self, files: Sequence[Any], name: str) -> None:
        self._name = name
        self._starts: list[int] = []
        self._groups: list[tuple[Any, int]] = []
        self._length = 0
        for file in files:
            for group in range(file.metadata.num_row_groups):
                self._starts.append(self._length)
                self._groups.append((file, group))
                self._length += file.metadata.row_group(group).num_rows
        self._held: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(self._length))

    def __getitem__(self, row: Any) -> Any:
        place = bisect_right(self._starts, row) - 1
        file, group = self._groups[place]
        with self._lock:
            if place not in self._held:
                for old in list(self._held)[: len(self._held) - _HELD + 1]:
                    del self._held[old]
                self._held[place] = file.read_row_group(group, [self._name]).column(0)
            return self._held[place][row - self._starts[place]]


def require(package: str) -> None:
    """Go on only where a package of the extra is installed.

    Raises:
        UserError: it is not.
    """
    if find_spec(package) is None:
        raise UserError(f"This needs the package {package}: pip install 'visarch[data]'")


def _mapped(paths: Sequence[Path]) -> Any:
    require("datasets")
    dataset = import_module("datasets").Dataset.from_parquet([str(path) for path in paths])
    return dataset.data.table


def _splits(files: Mapping[str, Path]) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """The files of each split, and those of none; a single split is no split."""
    splits: dict[str, list[str]] = {}
    for name in sorted(files):
        splits.setdefault(_split_of(name), []).append(name)
    if len(splits) == 1:
        return {"": next(iter(splits.values()))}, []
    why = "names neither train, validation nor test, as other Parquet files here do"
    left_out = [(name, why) for name in splits.pop("", [])]
    if "train" not in splits:
        raise UserError(
            f"There are Parquet files for {' and '.join(sorted(splits))}, but none for training: "
            "call one train.parquet, or give one of them by itself."
        )
    order = ("train", "validation", "test")
    return {split: splits[split] for split in order if split in splits}, left_out


def _split_of(name: str) -> str:
    """train, validation or test, by how a file's name or one of its folders' begins."""
    for part in reversed(name.split("/")):
        first = re.split(r"[-_. ]", part.lower().removeprefix("partial-"))[0]
        if first in SPLITS:
            return SPLITS[first]
    return ""


def _is_parquet(name: str) -> bool:
    return name.lower().endswith(".parquet")
