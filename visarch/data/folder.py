"""A folder of images: any depth, any size, any mode; what cannot be used is listed, never lost."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from visarch.data.csvfile import NAMES, find_csv
from visarch.data.found import Found, Sample, some
from visarch.data.layout import arrange
from visarch.data.listing import READ_ALREADY, Listing, list_images
from visarch.data.parquet import find_parquet
from visarch.data.picture import SUFFIXES
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


def find_folder(source: str, known: Collection[str] = (), *, in_order: bool = False) -> Found:
    """The images in a folder: as a CSV in it lists them, else as sub-folders say.

    A folder without images that holds Parquet files is read as those.

    Raises:
        UserError: there is nothing in it that could be used.
    """
    root = Path(source).expanduser()
    listing = list_images(root)
    sheets = [name for name in NAMES if name in listing.tables]
    if sheets:
        found = find_csv(root / sheets[0], listing.images)
        how = f"{sheets[0]} in the folder says which images there are, and what they are"
        found.reasons.insert(0, ("source", sheets[0], how))
    elif listing.images:
        found = _by_folders(listing, known)
    elif any(name.endswith(".parquet") for name in listing.tables):
        return find_parquet(source, listing.tables, in_order=in_order)
    else:
        raise UserError(_nothing(source, listing))
    for name, why in listing.skipped:
        (found.left_out if why == READ_ALREADY else found.skipped).append((name, why))
    found.beside = listing.describe_others()
    if listing.others:
        count = sum(listing.others.values())
        found.reasons.append(("other files", str(count), f"no images: {found.beside}"))
    for name in listing.tables:
        if name not in sheets[:1]:
            found.reasons.append(("not used", name, _how_to_use(name)))
    return found


def _by_folders(listing: Listing, known: Collection[str]) -> Found:
    layout = arrange(list(listing.images), listing.folders, known)
    samples = [
        Sample(name, path, layout.splits.get(name, ""), layout.labels.get(name))
        for name, path in listing.images.items()
        if name not in layout.left_out
    ]
    return Found(
        "folder",
        samples,
        why_classes=layout.why_classes,
        reasons=layout.reasons,
        left_out=list(layout.left_out.items()),
    )


def _how_to_use(name: str) -> str:
    """How a table that lies in a folder of images could be used."""
    if name.endswith(".parquet"):
        return "a folder with images is read as these; give the .parquet file itself to use it"
    if name in NAMES:
        return f"{NAMES[0]} comes first; give this file itself to use it"
    return f"give this file itself as the data, or call it {NAMES[0]}, if it says what images are"


def _nothing(source: str, listing: Listing) -> str:
    text = f"There are no images ({', '.join(sorted(SUFFIXES))}) in the folder {source!r}"
    if listing.skipped:
        text += ": " + some([f"{name} {why}" for name, why in listing.skipped], "; ")
    text += "."
    if listing.others:
        text += f" What else it holds: {listing.describe_others()}."
    elif not listing.skipped:
        text += " It is empty."
    ways_out = sorted({_WAYS_OUT[suffix] for suffix in listing.others if suffix in _WAYS_OUT})
    return f"{text} You could {' or '.join(ways_out)}." if ways_out else text
