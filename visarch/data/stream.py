"""Data sets on the hub that fit neither into memory nor on the disk: read from end to end."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visarch.data.columns import Columns
from visarch.data.dataset import Batch, Split
from visarch.data.decoding import Pictures
from visarch.data.files import Cell
from visarch.data.found import some
from visarch.data.preparation import Preparation
from visarch.errors import UserError

_BLOCK = 4096
"""Samples that are shuffled among themselves."""


@dataclass
class StreamedSplit(Split):
    """Training samples of which only the next ones can be read.

    Sample i of this split is number i of an endless stream, one pass after the other. A pass goes
    through the shards in an order of its own, and within them shuffles blocks of 4,096 samples:
    seed and number of the pass decide, so any process can read its share of any batch, and decodes
    no more than that. To go back, or on after an interruption, is to read the pass again from its
    beginning, without decoding.
    """

    stream: Stream | None = None

    @property
    def sequential(self) -> bool:
        return True

    @property
    def labelled(self) -> bool:
        assert self.stream is not None
        return self.stream.labelled

    def read(self, indices: Tensor) -> Batch:
        """The samples at `indices` (b,) of the stream, best in ascending order."""
        assert self.stream is not None
        images, labels = self.stream.read_labelled(indices)
        return Batch(images, labels, None, indices)

    def take(self, name: str, positions: Sequence[int]) -> Split:
        """Some of the first pass's samples, which are read at once."""
        indices = torch.tensor(positions, dtype=torch.int64)
        batch = self.read(indices)
        names = [self.names[position] for position in positions]
        return Split(name, batch.images, batch.labels, names)

    def seeded(self, seed: int) -> StreamedSplit:
        """The same samples in the order of another seed."""
        assert self.stream is not None
        stream = self.stream.seeded(seed)
        return replace(self, images=stream, stream=stream)


class Numbered(Sequence[str]):
    """The names of a stream's samples."""

    def __init__(self, prefix: str, count: int) -> None:
        self._prefix, self._count = prefix, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        # numbers go on beyond the first pass, so that no index is the last
        return map(self.__getitem__, range(self._count))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[position] for position in range(self._count)[index]]
        return f"{self._prefix}, number {index} of the stream"


class Stream:
    """The samples of a data set that can be iterated over, block by block."""

    def __init__(
        self,
        dataset: Any,
        columns: Columns,
        preparation: Preparation,
        source: str,
        *,
        count: int,
        held_out: int,
        classes: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self._dataset, self._columns, self._preparation = dataset, columns, preparation
        self._source, self._count, self._held_out, self._seed = source, count, held_out, seed
        self._classes = None if classes is None else tuple(classes)
        self._lock = threading.Lock()
        self._place = (-1, -1)
        """The pass and the block that is held."""
        self._blocks: Iterator[Any] = iter(())
        self._block: Any = None
        self._order: list[int] = []

    def __len__(self) -> int:
        return self._count

    @property
    def labelled(self) -> bool:
        """Whether samples have labels."""
        return self._classes is not None

    def seeded(self, seed: int) -> Stream:
        """The same samples in the order of another seed."""
        return Stream(
            self._dataset,
            self._columns,
            self._preparation,
            self._source,
            count=self._count,
            held_out=self._held_out,
            classes=self._classes,
            seed=seed,
        )

    def read(self, indices: Tensor) -> Tensor:
        """The images at `indices` (b,) of the endless stream."""
        return self.read_labelled(indices)[0]

    def read_labelled(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images and labels at `indices` (b,) of the endless stream.

        Raises:
            UserError: an image is damaged, or of no class.
        """
        cells, labels, names = [], [], []
        with self._lock:
            for index in indices.tolist():
                pass_number, position = divmod(index, self._count)
                block, place = divmod(position, _BLOCK)
                self._go_to(pass_number, block)
                row = self._order[place]
                names.append(f"number {position} of pass {pass_number}")
                cells.append(Cell(self._block.column(self._columns.image), row, Path()))
                if self._classes is not None:
                    value = self._block.column(self._columns.label)[row].as_py()
                    labels.append(self._number(value, names[-1]))
        pictures = Pictures(cells, names, self._preparation, self._source)
        images = pictures.read(torch.arange(len(cells)))
        return images, None if self._classes is None else torch.tensor(labels, dtype=torch.int64)

    def _number(self, value: Any, name: str) -> int:
        label = self._columns.label_of(value)
        assert self._classes is not None
        if label not in self._classes:
            raise UserError(
                f"{name} in {self._source!r} has the label {label!r}, which is none of the classes "
                f"{some(self._classes)}; a stream must be labelled throughout."
            )
        return self._classes.index(label)

    def _go_to(self, pass_number: int, block: int) -> None:
        """Hold a block, reading on as far as it, or from the beginning of its pass."""
        if (pass_number, block) == self._place:
            return
        if pass_number != self._place[0] or block < self._place[1]:
            self._blocks, self._place = self._pass(pass_number), (pass_number, -1)
        while self._place[1] < block:
            self._block = next(self._blocks, None)
            if self._block is None:
                raise UserError(f"{self._source!r} ended early: it has not {self._count} samples.")
            self._place = (pass_number, self._place[1] + 1)
        self._order = _permutation(self._block.num_rows, "rows", self._seed, pass_number, block)

    def _pass(self, number: int) -> Iterator[Any]:
        """The blocks of a pass, as tables."""
        pyarrow = import_module("pyarrow")
        shards = self._dataset.num_shards
        rest: list[Any] = []
        missing = _BLOCK
        for shard in _permutation(shards, "shards", self._seed, number):
            to_skip = self._held_out if shard == 0 else 0
            for table in tables_of(self._dataset.shard(num_shards=shards, index=shard)):
                skipped = min(to_skip, table.num_rows)
                table, to_skip = table.slice(skipped), to_skip - skipped
                while table.num_rows >= missing:
                    yield pyarrow.concat_tables([*rest, table.slice(0, missing)])
                    table, rest, missing = table.slice(missing), [], _BLOCK
                rest.append(table)
                missing -= table.num_rows
        if missing < _BLOCK:
            yield pyarrow.concat_tables(rest)


def tables_of(dataset: Any) -> Iterator[Any]:
    """All samples of a data set that is iterated over, encoded as they are."""
    return dataset.with_format("arrow").iter(batch_size=1000)


def _permutation(count: int, *key: object) -> list[int]:
    """The numbers 0 … count − 1 in an order that depends on the key alone."""
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
