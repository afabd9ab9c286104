"""What the sub-folders of a folder of images say: which split an image is in, and which class.

    train/cat/1.png   val/cat/2.png   test/cat/3.png      splits, then classes
    cat/1.png         dog/any/2.png                       classes
    1.png             2.png                               neither

Folders that all images share on the way, as an unpacked archive makes them, are looked through.
Only folders have a say, never the names of files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from visarch.data.found import Reason, some
from visarch.errors import UserError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What a folder may be called, in upper or lower case, that holds one split."""

Parts = tuple[str, ...]


@dataclass
class Layout:
    """What the sub-folders say of each image, by its name."""

    splits: dict[str, str]
    """Empty where there are no splits."""
    labels: dict[str, str]
    """Empty where there are no classes."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Images that lie outside all splits, or outside the classes of theirs, and why."""
    why_classes: str = ""
    reasons: list[Reason] = field(default_factory=list)


def arrange(
    names: Sequence[str], folders: Iterable[str] = (), known: Collection[str] = ()
) -> Layout:
    """Splits and classes of images, from their paths relative to the folder that holds them.

    Splits are the sub-folders named as in `SPLITS`, if one of them is for training and another is
    not. A class is a sub-folder (of the split) in which training images lie; so an empty one, or
    one that only validation has, changes no class's number.

    Args:
        names: the images.
        folders: every folder there is, empty ones included.
        known: names that are classes for certain, so that a folder called so is no mere way.

    Raises:
        UserError: there are splits, but no images in that for training.
    """
    paths = {name: tuple(name.split("/")) for name in names}
    directories = {tuple(folder.split("/")) for folder in folders}
    directories |= {path[:depth] for path in paths.values() for depth in range(1, len(path))}
    prefix: Parts = ()
    while True:
        here = sorted(d[-1] for d in directories if d[:-1] == prefix)
        heads = _next(paths.values(), prefix)
        roles = {SPLITS[folder.lower()] for folder in here if folder.lower() in SPLITS}
        if "train" in roles and len(roles) > 1:
            return _in_splits(paths, directories, prefix, known)
        (head,) = heads if len(heads) == 1 else (None,)
        if head is None or head in known:
            break
        prefix = (*prefix, head)
    if len(heads) > 1 and all(head is not None and head.lower() in SPLITS for head in heads):
        raise UserError(
            f"There are images in {' and '.join(sorted(filter(None, heads)))}, but in no folder "
            "for training: call one train, or give one of them by itself."
        )
    labels, why = _classes(paths, prefix)
    layout = Layout({}, labels, why_classes=why)
    if labels:
        layout.reasons += _empty(directories, paths, [prefix])
    return layout


def _in_splits(
    paths: Mapping[str, Parts], directories: set[Parts], prefix: Parts, known: Collection[str]
) -> Layout:
    """The layout below `prefix`, where the folders of splits are."""
    depth = len(prefix)
    layout = Layout({}, {})
    members: dict[str, dict[str, Parts]] = {}
    for name, path in paths.items():
        head = path[depth].lower()
        if len(path) == depth + 1 or head not in SPLITS:
            layout.left_out[name] = "lies in none of the folders of splits"
        else:
            layout.splits[name] = SPLITS[head]
            members.setdefault(SPLITS[head], {})[name] = path[depth:]
    if "train" not in members:
        raise UserError(
            "There is a folder for training, but no image in it: put the training images there, or "
            f"give the folder that holds the images by itself ({some(sorted(paths))})."
        )

    here = sorted({d[depth] for d in directories if len(d) > depth and d[:depth] == prefix})
    homes = [folder for folder in here if folder.lower() in SPLITS]
    value = ", ".join(f"{len(members[split])} {split}" for split in _ORDER if split in members)
    layout.reasons.append(("split", value, f"by the folders {', '.join(homes)}"))
    if layout.left_out:
        why = f"they lie beside the folders {', '.join(homes)} and are left out"
        layout.reasons.append(("beside the splits", some(list(layout.left_out)), why))

    shared = _shared(members["train"], known)
    layout.labels, why = _classes(members["train"], (), at=1 + len(shared))
    layout.why_classes = why if layout.labels else f"in training, {why}"
    for split in _ORDER[1:]:
        _label_like_training(layout, members.get(split, {}), split, shared)
    if layout.labels:
        layout.reasons += _empty(directories, paths, [(*prefix, h, *shared) for h in homes])
    layout.reasons += _empty(directories, paths, [prefix], among=homes)
    return layout


_ORDER = ("train", "validation", "test")


def _label_like_training(
    layout: Layout, members: Mapping[str, Parts], split: str, shared: Parts
) -> None:
    """Labels of another split, where training images have some."""
    folders: dict[str, str | None] = {}
    for name, path in members.items():
        start = 1 + (len(shared) if path[1 : 1 + len(shared)] == shared else 0)
        folders[name] = path[start] if len(path) > start + 1 else None
    if not layout.labels:
        if any(folders.values()):
            why = f"the sub-folders of {split} name no classes, as those of training name none"
            layout.reasons.append(("classes", "none", why))
    elif any(folders.values()):
        for name, folder in folders.items():
            if folder is None:
                layout.left_out[name] = f"lies in none of the sub-folders of {split}, its classes"
            else:
                layout.labels[name] = folder
    elif members:
        layout.reasons.append(("labels", f"none for {split}", "its images lie in no sub-folders"))


def _classes(
    paths: Mapping[str, Parts], prefix: Parts, at: int | None = None
) -> tuple[dict[str, str], str]:
    """The folder that each image lies in after so many steps, if there is one for all; and why."""
    at = len(prefix) if at is None else at
    folders = {name: path[at] for name, path in paths.items() if len(path) > at + 1}
    if not folders:
        return {}, "there are no sub-folders to name them"
    if len(folders) < len(paths):
        outside = next(name for name in paths if name not in folders)
        return {}, f"not every image lies in a sub-folder: {outside}"
    return folders, "the sub-folders, which hold every image"


def _shared(paths: Mapping[str, Parts], known: Collection[str]) -> Parts:
    """The folders below its own that every image of a split lies in."""
    shared: Parts = ()
    while True:
        heads = {
            path[1 + len(shared)] if len(path) > 2 + len(shared) else None
            for path in paths.values()
        }
        (head,) = heads if len(heads) == 1 else (None,)
        if head is None or head in known:
            return shared
        shared = (*shared, head)


def _next(paths: Iterable[Parts], prefix: Parts) -> set[str | None]:
    """The folders that images lie in after `prefix`, which all share; None for the place itself."""
    depth = len(prefix)
    return {path[depth] if len(path) > depth + 1 else None for path in paths}


def _empty(
    directories: Iterable[Parts],
    paths: Mapping[str, Parts],
    places: Sequence[Parts],
    among: Sequence[str] | None = None,
) -> list[Reason]:
    """A reason that names the sub-folders of these places that hold no image, if there are any."""
    full = {path[:depth] for path in paths.values() for depth in range(1, len(path))}
    empty = [
        "/".join(directory)
        for directory in sorted(directories)
        if directory[:-1] in places
        and directory not in full
        and (among is None or directory[-1] in among)
    ]
    return (
        [("empty folders", some(empty), "they hold no image, and so count as nothing")]
        if empty
        else []
    )
