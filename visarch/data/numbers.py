"""Arrays of samples as numbers of one type, gone through a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

_PIECE = 2**26
"""Bytes that are looked at together."""


@dataclass(frozen=True)
class Numbers:
    """Samples (n, C, *spatial) of an array, in the type they are used in."""

    values: np.ndarray
    """As in the file; where they do not fit into memory they are still there."""
    dtype: np.dtype
    """uint8, int32 (0 … 65535) or a floating-point type; booleans become 0 and 255."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        """One sample, or some."""
        rows_as_stored = self.values[rows]
        if self.values.dtype == np.bool_:
            return rows_as_stored.astype(np.uint8) * 255
        return rows_as_stored.astype(self.dtype, copy=False)

    @property
    def in_memory(self) -> bool:
        """Whether they are held, rather than read from the file when asked for."""
        return not isinstance(self.values, np.memmap)

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All samples, some at a time, and where they lie."""
        size = max(1, _PIECE // max(1, self.values[:1].nbytes))
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield rows, self[rows]

    def finite(self) -> np.ndarray:
        """Which samples hold finite values only (n,)."""
        mask = np.ones(len(self), bool)
        if self.dtype.kind == "f":
            for rows, piece in self.pieces():
                mask[rows] = np.isfinite(piece.reshape(len(piece), -1)).all(axis=1)
        return mask

    def range(self, mask: np.ndarray) -> tuple[float, float]:
        """The smallest and the largest value among the samples of a mask (n,)."""
        lowest, highest = np.inf, -np.inf
        for rows, piece in self.pieces():
            if mask[rows].any():
                chosen = piece[mask[rows]]
                lowest, highest = min(lowest, chosen.min()), max(highest, chosen.max())
        return float(lowest), float(highest)

    def are_whole(self, mask: np.ndarray, factor: int) -> bool:
        """Whether all values of a mask's samples become whole numbers when multiplied, up to
        rounding of their type."""
        tolerance = factor * float(np.finfo(self.dtype).eps)
        for rows, piece in self.pieces():
            scaled = piece[mask[rows]].astype(np.float64) * factor
            if not (np.abs(scaled - np.rint(scaled)) <= tolerance).all():
                return False
        return True


def of_one_type(arrays: Mapping[str, np.ndarray]) -> dict[str, Numbers]:
    """All arrays as uint8, as int32, or as floats."""
    kind = np.result_type(*arrays.values())
    if kind == np.bool_:
        kind = np.dtype(np.uint8)
    elif kind.kind in "iu" and kind != np.uint8:
        whole = [Numbers(values, kind) for values in arrays.values()]
        ranges = [numbers.range(np.ones(len(numbers), bool)) for numbers in whole]
        fits = min(low for low, _ in ranges) >= 0 and max(high for _, high in ranges) <= 65535
        kind = np.dtype(np.int32 if fits else np.float64)
    return {split: Numbers(values, kind) for split, values in arrays.items()}
