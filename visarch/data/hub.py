"""Images on the Hugging Face hub, or in a folder that its `datasets` package can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from visarch.data.columns import choose_columns
from visarch.data.found import Found, split_counts
from visarch.data.layout import SPLITS
from visarch.data.memory import disk_limit, gibibytes
from visarch.data.parquet import require
from visarch.errors import UserError

PREFIX = "hf:"

Result = TypeVar("Result")


def find_hub(source: str) -> Found:
    """The images of a data set that was fetched to the disk, once, by Hugging Face's datasets.

    From its cache (HF_DATASETS_CACHE) any image can be read at once, however many there are.

    Raises:
        UserError: it cannot be fetched, or no column holds images.
    """
    loaded = attempt(source, lambda datasets, path, name: datasets.load_dataset(path, name))
    splits, left_out = splits_of(loaded, source)
    found = Found("hub", [], left_out=left_out, by_value=True)
    columns = None
    for split, keys in splits.items():
        for key in keys:
            schema = loaded[key].features.arrow_schema
            if columns is None:
                columns = choose_columns(schema, source)
                found.classes, found.why_classes = columns.classes, columns.why
                found.reasons += columns.reasons
            table = loaded[key].data.table
            labels = [None] * table.num_rows
            if columns.label is not None:
                labels = table.column(columns.label).to_pylist()
            images = table.column(columns.image)
            found.samples += columns.samples(images, labels, split, key, Path())
    if len(splits) > 1:
        value = split_counts(sample.split for sample in found.samples)
        found.reasons.append(("split", value, "as the data set comes"))
    return found


def must_stream(source: str) -> str | None:
    """Why a data set must be streamed: it would not fit on the disk."""

    def sizes(datasets: Any, path: str, name: str | None) -> tuple[int, Path]:
        builder = datasets.load_dataset_builder(path, name)
        info = builder.info
        files = [file for own in (builder.config.data_files or {}).values() for file in own]
        local = sum(Path(file).stat().st_size for file in files if Path(file).is_file())
        needed = (info.download_size or 0) + (info.dataset_size or local)
        return needed, Path(datasets.config.HF_DATASETS_CACHE)

    needed, cache = attempt(source, sizes)
    limit = disk_limit(cache)
    if needed <= limit:
        return None
    return f"{gibibytes(needed)} would be needed in {cache}, and {gibibytes(limit)} may be taken"


def splits_of(
    loaded: Mapping[str, Any], source: str
) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """The names of a data set's splits by ours ("" for the only one), and those that are not used.

    Raises:
        UserError: none of several is for training.
    """
    if len(loaded) == 1:
        return {"": list(loaded)}, []
    splits: dict[str, list[str]] = {}
    left_out = []
    for key in map(str, loaded):
        if key.lower() in SPLITS:
            splits.setdefault(SPLITS[key.lower()], []).append(key)
        else:
            left_out.append((key, "is a split called neither train, validation nor test"))
    if "train" not in splits:
        raise UserError(
            f"{source!r} has the splits {', '.join(map(str, loaded))}, and none for training: one "
            "must be called train."
        )
    return splits, left_out


def attempt(source: str, load: Callable[[Any, str, str | None], Result]) -> Result:
    """What `load` makes of (the datasets package, a path or repository, a configuration's name).

    Raises:
        UserError: whatever the package complains of, in one paragraph.
    """
    require("datasets")
    datasets = import_module("datasets")
    path = source.removeprefix(PREFIX)
    name = None
    if not Path(path).expanduser().exists() and ":" in path:
        path, _, name = path.rpartition(":")
    local = bool(path) and Path(path).expanduser().exists()
    if local:
        path = str(Path(path).expanduser())
    elif path.count("/") != 1:
        raise UserError(
            f"{source!r} names no data set; write hf:owner/name, or hf:owner/name:config."
        )
    try:
        return load(datasets, path, name)
    except UserError:
        raise
    except Exception as error:  # the package raises nearly anything, from many libraries
        text = " ".join(f"{error}".split()).rstrip(".") or type(error).__name__
        advice = _advice(datasets, error, text, local)
        raise UserError(f"{source!r} cannot be opened: {text}.{advice}") from error


def _advice(datasets: Any, error: Exception, text: str, local: bool) -> str:
    """What could be done about an error of the package."""
    if "BuilderConfig" in text or "Config name is missing" in text:
        return " A configuration is written behind a colon: hf:owner/name:config."
    if local:
        return ""
    if datasets.config.HF_HUB_OFFLINE:
        return (
            " HF_HUB_OFFLINE keeps everything off the network: only data sets that were opened "
            "before can be."
        )
    if isinstance(error, (ConnectionError, TimeoutError)):
        return (
            " Is there a network? A data set that was downloaded can be given as the folder that "
            "holds its Parquet files."
        )
    return ""
