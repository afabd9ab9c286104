"""How samples are prepared: the one thing a trained model must remember about its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visarch.data.picture import fit
from visarch.errors import UserError

_BYTES = (-0.5, 255.5)


@dataclass(frozen=True)
class Preparation:
    """Shape and scale that every sample is brought to, at training and ever after.

    A file's numbers are placed on the unit interval by a pair (low, high) that belongs to their
    type, and counted where the model's data is discrete:

        unit = (value − low)/(high − low),    level = ⌊levels · unit⌋.

    Whole numbers 0 … L−1 are centers of cells, so their pair is (−½, L−½): with levels = L each
    comes back as itself, and another depth takes each to the cell that its center lies in. 8-bit
    values always have (−½, 255½). Back from a model's output: value = low + unit · (high − low).
    """

    shape: tuple[int, ...]
    """(C, *spatial)."""
    levels: int | None
    """Number of values a pixel can have; None where they are continuous."""
    integers: tuple[float, float] = (-0.5, 65535.5)
    """What integers of more than 8 bits are placed by."""
    floats: tuple[float, float] = (0.0, 1.0)
    """What floating-point numbers are placed by."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.shape) <= 4 or min(self.shape) < 1:
            raise ValueError(
                f"Preparation: shape is {self.shape}: it must be channels followed by one, two or "
                "three spatial sizes"
            )
        if self.levels is not None and not 1 <= self.levels <= 65536:
            raise ValueError(f"Preparation: levels is {self.levels}: it must lie in 1 … 65536")

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.shape) - 1

    def empty(self, count: int) -> Tensor:
        """Room for so many samples as they are stored: uint8 up to 256 levels, int32 for more, and
        float32 where they are continuous."""
        if self.levels is None:
            return torch.empty(count, *self.shape)
        return torch.empty(count, *self.shape, dtype=_integers(self.levels))

    def apply(self, values: np.ndarray) -> Tensor:
        """One sample (C, *spatial), of any channels and (in 2-d) any size, as it is stored.

        Raises:
            ValueError: its shape cannot be brought to this one, or its values lie off the scale;
                the message follows the sample's name.
        """
        values = _with_channels(values, self.shape[0])
        if values.shape != self.shape:
            if self.ndim != 2 or values.ndim != 3:
                raise ValueError(
                    f"has the shape {times(values.shape)} where {times(self.shape)} is needed; "
                    "only images are resized"
                )
            values = fit(values, self.shape[1:])
        return self._place(values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; `from_dict` reads it back."""
        return {key: _listed(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preparation:
        """What `to_dict` wrote."""
        low_high = {key: tuple(values[key]) for key in ("integers", "floats")}
        return cls(tuple(values["shape"]), values["levels"], **low_high)

    def _place(self, values: np.ndarray) -> Tensor:
        """Values of any type on this scale."""
        if values.dtype == np.uint8 and self.levels == 256:
            return torch.from_numpy(values)
        low, high = self._range(values.dtype)
        unit = (values.astype(np.float64) - low) / (high - low)
        if self.levels is None:
            return torch.from_numpy(unit.astype(np.float32))
        if not (unit.min() >= 0 and unit.max() <= 1):
            raise ValueError(
                f"has values from {values.min():g} to {values.max():g}, which leave the range from "
                f"{low:g} to {high:g} of what the model was trained on"
            )
        counted = np.minimum(np.floor(unit * self.levels), self.levels - 1)
        return torch.from_numpy(counted).to(_integers(self.levels))

    def _range(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        if dtype == np.uint8:
            return _BYTES
        return self.integers if dtype.kind in "iu" else self.floats


def spatial_size(image_size: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """An image size as it was asked for, with one number for each dimension or one for all.

    Raises:
        UserError: it has another number of dimensions, or a side below 1.
    """
    size = (image_size,) if isinstance(image_size, int) else tuple(image_size)
    if len(size) == 1:
        size *= ndim
    if len(size) != ndim or min(size) < 1:
        sides = "one number" if ndim == 1 else f"one number, or {ndim} of them"
        raise UserError(
            f"--image-size {' '.join(map(str, size))} does not fit {ndim}-d data: give {sides}, "
            "each at least 1."
        )
    return size


def _with_channels(values: np.ndarray, channels: int) -> np.ndarray:
    if values.shape[0] == channels:
        return values
    if values.shape[0] == 1:
        return np.repeat(values, channels, axis=0)
    if values.shape[0] == 3 and channels == 1:
        # Luma as in ITU-R BT.601; the weights add up to one, so gray stays exactly what it was.
        red, green, blue = values.astype(np.float64)
        luma = (299 * red + 587 * green + 114 * blue) / 1000
        if values.dtype.kind in "iu":
            luma = np.rint(luma)
        return luma[None].astype(values.dtype)
    raise ValueError(f"has {values.shape[0]} channels where {channels} are needed")


def times(shape: tuple[int, ...]) -> str:
    """A shape as it is printed: 3×32×32."""
    return "×".join(map(str, shape))


def _integers(levels: int) -> torch.dtype:
    return torch.uint8 if levels <= 256 else torch.int32


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
