"""A folder of images: any depth, any size, any mode; what cannot be used is listed, never lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from visarch.data.dataset import Data, Split
from visarch.data.listing import Listing, list_images
from visarch.data.picture import SUFFIXES, Picture
from visarch.data.preparation import Preparation, spatial_size, times
from visarch.data.reading import Progress, choose_size, read_pictures
from visarch.data.splitting import hold_out
from visarch.data.values import levels_for
from visarch.errors import UserError

_WAYS_OUT = {
    ".npz": "give the .npz file itself",
    ".npy": "give the .npy file itself",
    ".zip": "unpack the archive first",
    ".tar": "unpack the archive first",
    ".gz": "unpack the archive first",
    ".heic": "save the .heic files as JPEG first",
    ".avif": "save the .avif files as PNG first",
    ".svg": "save the .svg files as PNG first",
    ".pdf": "save the pages as PNG first",
}


def open_folder(
    source: str,
    *,
    image_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    like: Preparation | None = None,
    progress: Progress | None = None,
) -> Data:
    """Every image in a folder, in one shape and on one scale; sub-folders name the classes.

    An image of another size is resized to fill the shape (Lanczos, antialiased) and center-cropped.

    Raises:
        UserError: nothing in the folder can be used.
    """
    listing = list_images(Path(source).expanduser())
    asked = image_size if like is None else like.shape[1:]
    size = None if asked is None else spatial_size(asked, 2)
    pictures, failed = read_pictures(listing.images, size, progress)
    if not pictures:
        raise UserError(_nothing_usable(source, listing, failed))
    if like is None:
        preparation, reasons = infer_preparation(pictures, size, channels)
    else:
        preparation = like
        reasons = [("shape", times(like.shape), "what the model was trained on")]
    samples, off_scale = _apply(preparation, pictures)
    failed |= off_scale
    if not samples:
        raise UserError(_nothing_usable(source, listing, failed))

    names = list(samples)
    classes, labels, why = classes_of(names)
    images = torch.stack(list(samples.values()))
    reasons.append(("classes", some(classes) if classes else "none", why))
    reasons += _notes({name: pictures[name].notes for name in names})
    del pictures, samples  # the splits need their room
    splits, split_reason = hold_out(Split("all", images, labels, names))
    reasons.append(split_reason)
    if listing.others:
        count = sum(listing.others.values())
        reasons.append(("other files", str(count), f"no images: {listing.describe_others()}"))
    return Data(
        source=source,
        kind="folder",
        **vars(preparation),
        splits=splits,
        classes=classes,
        reasons=reasons,
        skipped=sorted([*listing.skipped, *failed.items()]),
    )


def _apply(
    preparation: Preparation, pictures: Mapping[str, Picture]
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The pictures as they are stored, and why some cannot be: they lie off a model's scale."""
    samples: dict[str, torch.Tensor] = {}
    failed: dict[str, str] = {}
    for name, picture in pictures.items():
        try:
            samples[name] = preparation.apply(picture.values)
        except ValueError as error:
            failed[name] = str(error)
    return samples, failed


def infer_preparation(
    pictures: Mapping[str, Picture],
    size: tuple[int, ...] | None = None,
    channels: int | None = None,
) -> tuple[Preparation, list[tuple[str, str, str]]]:
    """The shape and scale that suit these pictures, but for what is given, and the reasons."""
    why_size = "as asked for"
    if size is None:
        size, why_size = choose_size([picture.size for picture in pictures.values()])
    in_color = [name for name, picture in pictures.items() if len(picture.values) == 3]
    if channels is not None:
        why_channels = "as asked for"
    elif in_color:
        channels = 3
        why_channels = "every image is in color"
        if len(in_color) < len(pictures):
            count = f"{len(in_color)} of {len(pictures)} images"
            why_channels = f"{count} are in color: {some(in_color)}"
    else:
        channels, why_channels = 1, "every image is gray"

    levels, integers, floats, why_levels = _infer_levels(pictures)
    reasons = [
        ("image size", times(size), why_size),
        ("channels", str(channels), why_channels),
        ("levels", str(levels), why_levels),
    ]
    return Preparation((channels, *size), levels, integers, floats), reasons


def _infer_levels(
    pictures: Mapping[str, Picture],
) -> tuple[int, tuple[float, float], tuple[float, float], str]:
    """Levels, the ranges of integers and of floats (see `Preparation`), and why."""
    integers, floats = Preparation.integers, Preparation.floats
    largest: dict[str, float] = {}
    for picture in pictures.values():
        kind = picture.values.dtype.kind
        largest[kind] = max(largest.get(kind, 0), picture.largest)
    levels = 256
    if "i" in largest:
        levels = levels_for(largest["i"])
        integers = (-0.5, levels - 0.5)
    if "f" in largest and largest["f"] <= 1:
        levels = 65536
    elif "f" in largest:
        of_floats = levels_for(largest["f"])
        floats = (-0.5, of_floats - 0.5)
        levels = max(levels, of_floats)

    deep = [name for name, picture in pictures.items() if picture.values.dtype != np.uint8]
    if not deep:
        return 256, integers, floats, "every image has 8 bits"
    if "u" in largest:
        why = f"{len(deep)} of {len(pictures)} images have more than 8 bits and are brought to 8: "
        return 256, integers, floats, why + some(deep)
    why = f"every image has more than 8 bits; the largest value is {max(largest.values()):g}"
    return levels, integers, floats, why


def classes_of(names: Sequence[str]) -> tuple[tuple[str, ...] | None, torch.Tensor | None, str]:
    """Class names, the class of each image, and why: the sub-folders, if they hold every image.

    Folders that all images share on the way (as an unpacked archive makes them) are looked through.
    """
    parents = [PurePosixPath(name).parts[:-1] for name in names]
    steps = zip(*parents, strict=False)
    shared = len(list(takewhile(lambda step: len(set(step)) == 1, steps)))
    folders = [parts[shared] if len(parts) > shared else None for parts in parents]
    if not any(folders):
        return None, None, "there are no sub-folders to name them"
    if None in folders:
        outside = names[folders.index(None)]
        return None, None, f"not every image lies in a sub-folder: {outside}"
    classes = tuple(sorted({folder for folder in folders if folder is not None}))
    positions = {name: position for position, name in enumerate(classes)}
    labels = torch.tensor([positions[folder] for folder in folders if folder is not None])
    return classes, labels, f"every image lies in one of {len(classes)} sub-folders"


def _notes(notes: Mapping[str, Sequence[str]]) -> list[tuple[str, str, str]]:
    """What was noticed in images, each thing once, with the images it was noticed in."""
    images: dict[str, list[str]] = {}
    for name, texts in notes.items():
        for text in texts:
            images.setdefault(text, []).append(name)
    return [("note", some(names), text) for text, names in images.items()]


def _nothing_usable(source: str, listing: Listing, failed: Mapping[str, str]) -> str:
    problems = [f"{name} {why}" for name, why in sorted([*failed.items(), *listing.skipped])]
    if failed:
        text = f"None of the {len(failed)} images in {source!r} can be used: "
    else:
        text = f"There are no images ({', '.join(sorted(SUFFIXES))}) in the folder {source!r}"
        text += ": " if problems else "."
    if problems:
        text += "; ".join(problems[:3])
        text += f"; and {len(problems) - 3} more." if len(problems) > 3 else "."
    if listing.others:
        text += f" What else it holds: {listing.describe_others()}."
    elif not problems:
        text += " It is empty."
    ways_out = sorted({_WAYS_OUT[suffix] for suffix in listing.others if suffix in _WAYS_OUT})
    return f"{text} You could {' or '.join(ways_out)}." if ways_out else text


def some(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
