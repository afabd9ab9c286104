"""What a source turns out to hold, before any image is decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from visarch.data.files import File

Reason = tuple[str, str, str]
"""(what, value, why)"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded image, and what its source says of it."""

    name: str
    file: File
    split: str = ""
    """"train", "validation" or "test"; empty where the source has no splits."""
    label: str | None = None
    vector: tuple[float, ...] | None = None


@dataclass
class Found:
    """The samples of a source, and an account of how they were found."""

    kind: str
    samples: list[Sample]
    classes: tuple[str, ...] | None = None
    """Where the source itself lists them, in its own order, which then stays."""
    by_value: bool = False
    """Whether labels may be numbers, which are then ordered by their values."""
    why_classes: str = ""
    vector_names: tuple[str, ...] | None = None
    reasons: list[Reason] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(file or folder, why) of what should have been used, but cannot be."""
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """(file, why) of what is not meant to be used."""
    errors: list[str] = field(default_factory=list)
    """What must be mended before this can be trained on."""
    beside: str = ""
    """What else lies there, as in "3 .txt, 1 without suffix"."""


def some(names: Sequence[str], mark: str = ", ") -> str:
    """A few names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return mark.join(names[:3]) + more


def split_counts(splits: Iterable[str]) -> str:
    """How many samples each split has, as it is printed."""
    own = list(splits)
    order = ("train", "validation", "test")
    return ", ".join(f"{own.count(split)} {split}" for split in order if split in own)
