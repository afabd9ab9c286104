"""From what `--data` says to the source that reads it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from visarch.data.array import open_array
from visarch.data.assembly import assemble
from visarch.data.csvfile import find_csv
from visarch.data.dataset import Data, Split
from visarch.data.digits import open_digits
from visarch.data.folder import find_folder
from visarch.data.found import Found
from visarch.data.hub import PREFIX, find_hub, must_stream
from visarch.data.parquet import find_parquet
from visarch.data.picture import SUFFIXES, read_picture, warnings_as_notes
from visarch.data.preparation import Preparation
from visarch.data.reading import Progress
from visarch.data.streaming import open_stream
from visarch.errors import UserError

KINDS = (
    "'digits', a folder of images, a .csv file that lists images, an .npz or .npy file, a .parquet "
    "file or a folder of them, or hf:owner/name"
)
ARRAYS = (".npz", ".npy")


def open_data(
    data: str | Path,
    *,
    image_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    like: Preparation | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Data:
    """The data that `data` names: "digits", images in a folder, a CSV file, Parquet files or on the
    Hugging Face hub, or an `.npz` or `.npy` file.

    Shape and scale are inferred where they are not given, each with a reason; or they are those of
    `like`, so that a trained model meets new data as it met its own; the numbers of its `classes`
    are then the labels. Where the data has no validation split, names alone decide which samples
    are held out. `progress` is called with (images read, images there are). Nothing is written
    where the data lies.

    Raises:
        UserError: there is no such data, or nothing in it can be used.
        ValueError: `like` is given together with `image_size` or `channels`.
    """
    if like is not None and (image_size, channels) != (None, None):
        raise ValueError(
            f"image_size={image_size} and channels={channels} contradict like={like}; give either"
        )
    data = os.fspath(data)
    path = _place(data)
    if path.suffix.lower() in ARRAYS and path.is_file():
        return open_array(data, image_size=image_size, channels=channels, like=like, known=classes)
    if channels not in (None, 1, 3):
        raise UserError(f"--image-channels is {channels}; images have 1 (gray) or 3 (color).")
    if like is not None and like.ndim != 2:
        raise UserError(
            f"The model was trained on {like.ndim}-d data and {data!r} holds images; give it an "
            ".npz or .npy file."
        )
    if data == "digits":
        digits = open_digits(image_size=image_size, channels=channels, like=like, known=classes)
        if path.exists():
            digits.reasons.append(("source", "the embedded digits", "./digits is the one here"))
        return digits
    wanted: dict[str, Any] = {
        "image_size": image_size,
        "channels": channels,
        "like": like,
        "known": classes,
        "progress": progress,
    }
    why = must_stream(data) if data.startswith(PREFIX) else None
    if why is not None:
        return open_stream(data, why, **wanted)
    return assemble(find_images(data, known=classes or ()), data, **wanted)


def find_images(data: str, *, known: Sequence[str] = (), in_order: bool = False) -> Found:
    """The images that `data` names, not decoded yet; `in_order` where they are not read at random.

    Raises:
        UserError: there are none.
    """
    path = _place(data)
    if data.startswith(PREFIX):
        return find_hub(data)
    if path.is_dir():
        return find_folder(data, known, in_order=in_order)
    if path.suffix.lower() == ".csv":
        return find_csv(path)
    if path.suffix.lower() == ".parquet":
        return find_parquet(data, {path.name: path}, in_order=in_order)
    if path.suffix.lower() in SUFFIXES:
        raise UserError(f"{data!r} is a single image; give the folder that holds it: {path.parent}")
    raise UserError(f"{data!r} is a file that cannot be read as data; give {KINDS}.")


def load_images(paths: Sequence[str | Path], preparation: Preparation) -> Split:
    """Image files prepared exactly as a model's own training images were.

    Shapes: (n, C, H, W) as `Split` holds them, in the order of `paths`.
    Raises:
        UserError: a file is missing or cannot be used, or the model does not work on images.
    """
    if preparation.ndim != 2:
        raise UserError(
            f"The model works on {preparation.ndim}-d data; it cannot take image files."
        )
    samples = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(_missing(str(path)))
        try:
            with warnings_as_notes():
                picture = read_picture(path, preparation.shape[1:])
            samples.append(preparation.apply(picture.values))
        except ValueError as error:
            raise UserError(f"{str(path)!r} {error}.") from error
    return Split("files", torch.stack(samples), None, [str(path) for path in paths])


def _place(data: str) -> Path:
    """Where the data lies, if it does so on this machine.

    Raises:
        UserError: it does not.
    """
    if not data:
        raise UserError(f"--data is empty; give {KINDS}.")
    path = Path(data).expanduser()
    if data != "digits" and not data.startswith(PREFIX) and not path.exists():
        raise UserError(_missing(data))
    return path


def _missing(data: str) -> str:
    """What there is instead of a path that does not exist."""
    path = Path(data).expanduser()
    parent = next(parent for parent in path.parents if parent.is_dir())
    wanted = path.relative_to(parent).parts[0]
    try:
        there = sorted(name for name in os.listdir(parent) if not name.startswith("."))
    except OSError:
        there = []
    place = f"the current directory, {parent.absolute()}," if parent == Path() else f"{parent}"
    text = f"There is no {data!r}."
    near = difflib.get_close_matches(wanted.lower(), [name.lower() for name in there], 1)
    suggestions = [str(parent / name) for name in there if name.lower() in near]
    if difflib.get_close_matches(data.lower(), ["digits"]):
        suggestions.append("digits")
    if suggestions:
        text += f" Did you mean {' or '.join(map(repr, suggestions))}?"
    held = ", ".join(there[:5]) + (f" and {len(there) - 5} more" if len(there) > 5 else "")
    return f"{text} The nearest place that exists is {place} which holds {held or 'nothing'}."
