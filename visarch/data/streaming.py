"""How a data set on the hub is opened that fits neither into memory nor on the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from visarch.data.assembly import assemble
from visarch.data.columns import Columns, choose_columns
from visarch.data.dataset import Data
from visarch.data.found import Found, Sample
from visarch.data.hub import attempt, splits_of
from visarch.data.preparation import Preparation
from visarch.data.reading import Progress
from visarch.data.stream import Numbered, Stream, StreamedSplit, tables_of

_LOOKED_AT = 1000
_HELD_OUT = 5000


def open_stream(
    source: str,
    why: str,
    *,
    image_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    like: Preparation | None = None,
    known: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Data:
    """A data set whose training samples are streamed; of the others the first few are read.

    Up to 5,000 samples each for validation and test are read beforehand, the first of theirs. Where
    no split is for validation, they are the first of the training samples, a tenth at most.

    Raises:
        UserError: it cannot be opened, or no column holds images.
    """
    loaded, splits, left_out = _streamed(source)
    found = Found("hub", [], left_out=left_out)
    (key, *others) = splits.pop("train", None) or splits.pop("")
    found.left_out += [(other, f"is another split for training than {key}") for other in others]
    training = loaded[key]
    columns = choose_columns(training.features.arrow_schema, source)
    found.classes, found.why_classes = columns.classes, columns.why
    found.reasons += [*columns.reasons, ("held", "streamed", why)]
    if columns.classes is None and columns.label is not None:
        text = "which can be numbered in a stream only where the schema names the classes"
        found.why_classes = f"the column {columns.label} holds plain values, {text}"
        columns = replace(columns, label=None)

    count = _count(source, key, training)
    held_out = 0
    if "validation" not in splits:
        first = training.shard(num_shards=training.num_shards, index=0)
        table = _first_rows(first, max(1, min(_HELD_OUT, count // 10)))
        held_out = table.num_rows
        found.samples += _samples(columns, table, "validation", key)
        text = f"the first of {key}, as no split is for validation"
        found.reasons.append(("split", f"{held_out} validation", text))
    for split, keys in splits.items():
        table = _first_rows(loaded[keys[0]], _HELD_OUT)
        found.samples += _samples(columns, table, split, keys[0])
        text = f"the first of {keys[0]}, at most {_HELD_OUT}: the rest is not read"
        found.reasons.append(("split", f"{table.num_rows} {split}", text))
    looked_at = _first_rows(training, held_out + _LOOKED_AT).slice(held_out)
    found.samples += _samples(columns, looked_at, "train", f"{key} shown")

    data = assemble(
        found,
        source,
        image_size=image_size,
        channels=channels,
        like=like,
        known=known,
        progress=progress,
    )
    stream = Stream(
        training,
        columns,
        data.preparation,
        source,
        count=count - held_out,
        held_out=held_out,
        classes=data.classes,
    )
    names = Numbered(key, len(stream))
    data.splits["train"] = StreamedSplit("train", stream, None, names, stream=stream)
    return data


def find_stream(source: str) -> tuple[Found, int, Iterator[Sample]]:
    """What a data set holds whose samples are streamed, how many there are, and each of them.

    Raises:
        UserError: it cannot be opened, or no column holds images.
    """
    loaded, splits, left_out = _streamed(source)
    found = Found("hub", [], by_value=True, left_out=left_out)
    pairs = [(split, key) for split, keys in splits.items() for key in keys]
    columns = choose_columns(loaded[pairs[0][1]].features.arrow_schema, source)
    found.classes, found.why_classes = columns.classes, columns.why

    def samples() -> Iterator[Sample]:
        for split, key in pairs:
            for number, table in enumerate(tables_of(loaded[key])):
                yield from _samples(columns, table, split, f"{key} {number}")

    return found, sum(_count(source, key, loaded[key]) for _, key in pairs), samples()


def _streamed(source: str) -> tuple[Any, dict[str, list[str]], list[tuple[str, str]]]:
    loaded = attempt(source, lambda hf, path, name: hf.load_dataset(path, name, streaming=True))
    return loaded, *splits_of(loaded, source)


def _count(source: str, key: str, dataset: Any) -> int:
    """How many samples a split has: as it says, or as its Parquet files say, or by counting."""
    said = (dataset.info.splits or {}).get(key)
    if said is not None and said.num_examples:
        return said.num_examples

    def files(hf: Any, path: str, name: str | None) -> list[str]:
        return list(hf.load_dataset_builder(path, name).config.data_files[key])

    own = attempt(source, files)
    if not all(file.endswith(".parquet") for file in own):
        return sum(table.num_rows for table in tables_of(dataset))
    parquet, filesystems = import_module("pyarrow.parquet"), import_module("fsspec")
    total = 0
    for file in own:
        with filesystems.open(file, "rb") as stream:
            total += parquet.read_metadata(stream).num_rows
    return total


def _first_rows(dataset: Any, most: int) -> Any:
    """A table of the first samples."""
    tables, missing = [], most
    for table in tables_of(dataset):
        tables.append(table.slice(0, missing))
        missing -= tables[-1].num_rows
        if missing == 0:
            break
    return import_module("pyarrow").concat_tables(tables)


def _samples(columns: Columns, table: Any, split: str, prefix: str) -> list[Sample]:
    labels = [None] * table.num_rows
    if columns.label is not None:
        labels = table.column(columns.label).to_pylist()
    return columns.samples(table.column(columns.image), labels, split, prefix, Path())
