"""What verbs leave behind: pictures, and the numbers where a picture cannot hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from visarch import __version__
from visarch.data import Preparation
from visarch.errors import UserError
from visarch.run import Run
from visarch.training.atomic import replace_file

KEYS = {1: "signals", 2: "images", 3: "volumes"}
"""Under which key `visarch train --data` finds samples of so many dimensions in an `.npz`."""


def place(
    run: Run, out: Path | None, name: str, *suffixes: str, beside: Sequence[str] = ()
) -> Path:
    """As `place_in` the run's `outputs/`, or here for a model on its own."""
    folder = Path() if run.folder is None else run.folder / "outputs"
    return place_in(folder, out, name, *suffixes, beside=beside)


def place_in(
    folder: Path, out: Path | None, name: str, *suffixes: str, beside: Sequence[str] = ()
) -> Path:
    """Where a file goes, and the folder for it: `out` itself if it ends in one of the suffixes, or
    in the folder `out`; by default in `folder`. With a name of our own it gets the first of the
    suffixes. `beside` are the suffixes of what is written beside it; "" is a folder.

    Raises:
        UserError: `out` is, or is called like, another kind of file; or something is there that may
            be somebody's only copy: anything but a picture that was written here before.
    """
    if out is not None and not out.is_dir() and (out.suffix or out.exists()):
        if out.suffix.lower() not in suffixes:
            raise UserError(
                f"--out {out} is no folder and does not end in {' or '.join(suffixes)}: give a "
                "file that does, or a folder."
            )
        path = out
    else:
        path = (out or folder) / f"{_slug(name)}{suffixes[0]}"
    if out is not None and not _is_picture_of_ours(path):
        refuse_existing(path, *map(path.with_suffix, beside))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def refuse_existing(*paths: Path) -> None:
    """That none of the files or folders is there already.

    Raises:
        UserError: one is.
    """
    for path in paths:
        if path.exists():
            raise UserError(
                f"{path} exists already, and is not overwritten: give another name, or remove it."
            )


def _is_picture_of_ours(path: Path) -> bool:
    """Whether `save_picture` has written this."""
    try:
        with Image.open(path) as picture:
            return str(picture.info.get("Software", "")).startswith("visarch ")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def save_picture(path: Path, picture: Image.Image, facts: Mapping[str, str]) -> None:
    """Write a PNG that carries facts about its making, such as the seed."""
    info = PngInfo()
    for key, value in {"Software": f"visarch {__version__}", **facts}.items():
        info.add_text(key, value)
    replace_file(path, partial(picture.save, format="PNG", pnginfo=info))


def save_film(
    path: Path,
    frames: Sequence[Image.Image],
    each: int,
    last: int,
    facts: Mapping[str, str],
) -> None:
    """Write a GIF that runs for ever, with facts about its making in its comment.

    Frames are shown for `each` milliseconds, the last for `last`.
    """
    durations = [each] * (len(frames) - 1) + [last]
    told = {"Software": f"visarch {__version__}", **facts}
    write = partial(
        frames[0].save,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        comment="; ".join(f"{key}: {value}" for key, value in told.items()),
    )
    replace_file(path, write)


def save_values(
    picture: Path, images: Mapping[str, Tensor], preparation: Preparation
) -> list[Path]:
    """Write samples into an `.npz` beside the picture of them, unless that holds all there is to
    them; returns the file, if there is one.

    The values are on the scale of the data that the model was trained on.

    Shapes: each of the images (n, C, *spatial) on the unit scale; in the file without the axis C if
    that is 1.
    """
    if not values_beside(preparation):
        return []
    arrays = {}
    for key, values in images.items():
        values = to_values(values, preparation)
        arrays[key] = (values[:, 0] if values.shape[1] == 1 else values).numpy()
    path = picture.with_suffix(".npz")
    save_arrays(path, arrays)
    return [path]


def values_beside(preparation: Preparation) -> tuple[str, ...]:
    """The suffix of what `save_values` writes; none where a PNG holds all there is to a sample."""
    is_picture = preparation.ndim == 2 and preparation.shape[0] in (1, 3)
    return () if is_picture and preparation.levels == 256 else (".npz",)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz`."""

    def write(side: Path) -> None:
        with side.open("wb") as file:  # to a name that lacks it, NumPy would add its suffix
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    replace_file(path, write)


def save_parquet(
    path: Path, columns: Mapping[str, np.ndarray], classes: Sequence[str] | None
) -> None:
    """Write columns of numbers, strings or vectors (n,) or (n, Z), with pyarrow.

    Where there are classes, the column `labels` holds their names instead of their numbers.
    """
    pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    arrays = {}
    for name, values in columns.items():
        if name == "labels" and classes is not None:
            arrays[name] = [classes[label] if label >= 0 else None for label in values]
        elif values.ndim == 2:
            flat = pyarrow.array(values.ravel())
            arrays[name] = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            arrays[name] = values.tolist()
    table = pyarrow.table(arrays)
    replace_file(path, partial(parquet.write_table, table))


def to_values(images: Tensor, preparation: Preparation) -> Tensor:
    """From the unit scale back to the scale of the training data: low + unit · (high − low)."""
    low, high = preparation.floats
    if preparation.levels is not None and (low, high) == Preparation.floats:
        low, high = -0.5, preparation.levels - 0.5  # whole numbers, each the center of its cell
    return low + images * (high - low)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-.").lower()
