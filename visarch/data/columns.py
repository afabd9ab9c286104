"""Which columns of a table of images hold the images and the labels: Hugging Face's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from visarch.data.files import Cell
from visarch.data.found import Reason, Sample, some
from visarch.errors import UserError

IMAGE = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp")
LABEL = ("label", "labels", "class", "target")


@dataclass
class Columns:
    """The columns that are used, and why."""

    image: str
    label: str | None = None
    classes: tuple[str, ...] | None = None
    """Names of the classes, where the table has them: labels are positions here."""
    reasons: list[Reason] = field(default_factory=list)

    @property
    def why(self) -> str:
        """Where the classes come from."""
        if self.label is None:
            return "no column holds labels"
        names = "with the names in the schema" if self.classes else "by its values"
        return f"by the column {self.label}, {names}"

    def samples(
        self, images: Sequence[Any], labels: Sequence[Any], split: str, prefix: str, folder: Path
    ) -> list[Sample]:
        """The rows of a table, called prefix[0], prefix[1], …"""
        return [
            Sample(f"{prefix}[{row}]", Cell(images, row, folder), split, self.label_of(label))
            for row, label in enumerate(labels)
        ]

    def label_of(self, value: Any) -> str | None:
        """A label as text; none where it is missing, which −1 says where classes have names."""
        if value is None or value != value:
            return None
        if self.classes is None:
            return str(int(value) if isinstance(value, float) and value.is_integer() else value)
        if value == -1:
            return None
        if not 0 <= value < len(self.classes):
            raise UserError(
                f"The column {self.label} holds {value}, but only {len(self.classes)} classes have "
                "names in the table's schema."
            )
        return self.classes[value]


def choose_columns(schema: Any, source: str) -> Columns:
    """The columns of images and labels of an Arrow schema, by their types and names.

    Raises:
        UserError: no column holds encoded images.
    """
    types = import_module("pyarrow").types
    features = _features(schema)

    def holds_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

    def holds_images(column: Any) -> bool:
        if types.is_struct(column.type):
            fields = {own.name: own.type for own in column.type}
            return set(fields) == {"bytes", "path"} and holds_bytes(fields["bytes"])
        return holds_bytes(column.type)

    def holds_labels(column: Any) -> bool:
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        texts = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        return texts or types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind)

    candidates = [column.name for column in schema if holds_images(column)]
    declared = [name for name in candidates if features.get(name, {}).get("_type") == "Image"]
    candidates = declared or candidates
    named = [name for name in IMAGE if name in candidates]
    if not candidates or (len(candidates) > 1 and not named):
        what = "several columns of" if candidates else "no column of encoded"
        raise UserError(
            f"{source!r} has {what} images: its columns are {', '.join(schema.names)}. One of "
            "them, called image, must hold the bytes of image files, as Hugging Face's datasets "
            "write it."
        )
    columns = Columns((named or candidates)[0])

    given = [n for n in schema.names if features.get(n, {}).get("_type") == "ClassLabel"]
    plain = [name for name in LABEL if name in schema.names and holds_labels(schema.field(name))]
    preferred = [name for name in LABEL if name in given] or given or plain
    if preferred:
        columns.label = preferred[0]
        names = features.get(columns.label, {}).get("names")
        columns.classes = tuple(names) if names and columns.label in given else None
    value = ", ".join(filter(None, [columns.image, columns.label]))
    why = "the images" + (" and their labels" if columns.label else "; no column holds labels")
    columns.reasons.append(("columns", value, why))
    others = [name for name in schema.names if name not in (columns.image, columns.label)]
    if others:
        columns.reasons.append(("other columns", some(others), "not used"))
    return columns


def _features(schema: Any) -> dict[str, Mapping[str, Any]]:
    """What Hugging Face's datasets noted of each column."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: feature for name, feature in noted.items() if isinstance(feature, dict)}
