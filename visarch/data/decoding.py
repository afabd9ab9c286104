"""Encoded images that do not fit into memory: decoded in threads when they are read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from visarch.data.files import File
from visarch.data.picture import read_picture
from visarch.data.preparation import Preparation
from visarch.errors import UserError


@dataclass(frozen=True)
class Pictures:
    """Encoded images, each brought to one shape and scale when it is asked for."""

    files: Sequence[File]
    names: Sequence[str]
    preparation: Preparation
    source: str

    def __post_init__(self) -> None:
        # Filters belong to the whole process and cannot be set while threads read; what Pillow
        # would warn of was noted when the first images were looked at.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: Tensor) -> Tensor:
        """The images at `indices` (b,), as `Split` holds them.

        Raises:
            UserError: one of them has vanished or is damaged.
        """
        images = self.preparation.empty(len(indices))
        for place, image in enumerate(_threads().map(self._decode, indices.tolist())):
            images[place] = image
        return images

    def _decode(self, position: int) -> Tensor:
        try:
            picture = read_picture(self.files[position], self.preparation.shape[1:])
            return self.preparation.apply(picture.values)
        except ValueError as error:
            raise UserError(
                f"{self.names[position]} in {self.source!r} {error}. The images do not fit into "
                "memory, so each is decoded when it is needed, and all of them must be whole: "
                f"`visarch check {self.source}` lists those that are not. Mend them, take them "
                "away, or list the others in a labels.csv."
            ) from error


@cache
def _threads() -> ThreadPoolExecutor:
    """What images are decoded in, for as long as the process lives."""
    return ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
