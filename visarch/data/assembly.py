"""From what a source holds to splits of samples: decoded at once, or on demand if too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from visarch.data.choosing import infer_preparation
from visarch.data.classes import number_classes
from visarch.data.dataset import DIGESTED_IN_FULL, Data, Split
from visarch.data.decoding import Pictures
from visarch.data.files import File, size_in_bytes
from visarch.data.found import Found, Reason, Sample, some
from visarch.data.memory import DoesNotFit
from visarch.data.ondemand import Images
from visarch.data.picture import Picture
from visarch.data.preparation import Preparation, spatial_size, times
from visarch.data.reading import Progress, Size, choose_size, decode, read_pictures, read_sizes
from visarch.data.splitting import hold_out, spread
from visarch.errors import UserError

_LOOKED_AT = 1000
"""How many of the images that do not fit into memory are decoded to infer channels and levels."""


def assemble(
    found: Found,
    source: str,
    *,
    image_size: int | tuple[int, ...] | None = None,
    channels: int | None = None,
    like: Preparation | None = None,
    known: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Data:
    """Every image of a source, in one shape and on one scale, with all that is known of it.

    An image of another size is resized to fill the shape (Lanczos, antialiased) and center-cropped.
    `known` are the classes of a model, by which labels are numbered.

    Raises:
        UserError: nothing can be used, or something must be mended before.
    """
    if found.errors:
        raise UserError(f"{source!r} must be mended first: {some(found.errors, '; ')}.")
    asked = image_size if like is None else like.shape[1:]
    size = None if asked is None else spatial_size(asked, 2)
    files = {sample.name: sample.file for sample in found.samples}
    reasons = list(found.reasons)
    why_size = "as asked for"
    try:
        pictures, failed = read_pictures(files, size, progress)
        readable, held = set(pictures), True
    except DoesNotFit as error:
        sizes, failed = read_sizes(files, progress)
        if sizes and size is None:
            size, why_size = choose_size(list(sizes.values()))
        pictures, damaged = _look_at(files, sizes, size)
        failed |= damaged
        readable, held = set(sizes) - set(damaged), False
        reasons.append(("held", "on disk", f"each is decoded when it is needed: {error}"))
        if len(pictures) < len(readable):
            why = f"channels and levels are inferred from them, of {len(readable)} evenly spread"
            reasons.append(("looked at", f"{len(pictures)} images", why))
    if not pictures:
        raise UserError(_nothing_usable(source, found, failed))
    if like is None:
        preparation, inferred = infer_preparation(pictures, size, channels, why_size)
    else:
        preparation = like
        inferred = [("shape", times(like.shape), "what the model was trained on")]
    reasons += inferred

    samples, off_scale = _apply(preparation, pictures)
    failed |= off_scale
    readable -= set(off_scale)
    reasons += _notes({name: pictures[name].notes for name in samples})
    del pictures
    usable = [sample for sample in found.samples if sample.name in readable]
    if not usable:
        raise UserError(_nothing_usable(source, found, failed))
    parts, labels, classes = _divide(source, found, usable, known, reasons, failed)

    def split_of(name: str, own: Sequence[Sample]) -> Split:
        names = [sample.name for sample in own]
        if held:
            images: Images = preparation.empty(len(own))
            for place, sample in enumerate(own):
                images[place] = samples[sample.name]  # type: ignore[index]
        else:
            images = Pictures([sample.file for sample in own], names, preparation, source)
        numbers = [labels[sample] for sample in names if sample in labels]
        vectors = [sample.vector for sample in own]
        whole = held and len(usable) * preparation.empty(1).nbytes <= DIGESTED_IN_FULL
        return Split(
            name,
            images,
            torch.tensor(numbers) if numbers else None,
            names,
            torch.tensor(vectors, dtype=torch.float32) if found.vector_names else None,
            None if whole else torch.tensor([size_in_bytes(sample.file) for sample in own]),
        )

    return Data(
        source=source,
        kind=found.kind,
        **vars(preparation),
        splits={name: split_of(name, own) for name, own in parts.items()},
        classes=classes,
        reasons=reasons,
        skipped=sorted([*found.skipped, *found.left_out, *failed.items()]),
        vector_names=found.vector_names,
    )


def _look_at(
    files: Mapping[str, File], sizes: Mapping[str, Size], size: Size | None
) -> tuple[dict[str, Picture], dict[str, str]]:
    """Some of the images that have a size, evenly spread, and why others of these are damaged."""
    if size is None:
        return {}, {}
    names = list(sizes)
    some_names = [names[position] for position in spread(len(names), _LOOKED_AT)]
    return decode({name: files[name] for name in some_names}, size)


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


def _divide(
    source: str,
    found: Found,
    usable: Sequence[Sample],
    known: Sequence[str] | None,
    reasons: list[Reason],
    failed: dict[str, str],
) -> tuple[dict[str, list[Sample]], dict[str, int], tuple[str, ...] | None]:
    """The samples of each split, their classes' numbers, and the classes; what has no class goes
    to `failed`."""
    said: dict[str, dict[str, str | None]] = {sample.split: {} for sample in found.samples}
    for sample in usable:
        said[sample.split][sample.name] = sample.label
    for split, own in said.items():
        if not own:
            raise UserError(
                f"None of the {split} images in {source!r} can be used: {_problems(failed)}"
            )
    classes = number_classes(
        said,
        listed=found.classes if known is None else known,
        by_value=found.by_value,
        why=found.why_classes,
        source=source,
    )
    reasons += classes.reasons
    failed |= classes.left_out

    parts: dict[str, list[Sample]] = {}
    for sample in usable:
        if sample.name not in classes.left_out:
            parts.setdefault(sample.split or "train", []).append(sample)
    if "validation" not in parts:
        rest = parts.pop("train")
        numbers = [classes.numbers[s.name] for s in rest if s.name in classes.numbers]
        train, validation, reason = hold_out([s.name for s in rest], numbers or None)
        reasons.append(reason)
        parts["train"] = [rest[position] for position in train]
        parts["validation"] = [rest[position] for position in validation]
    order = ("train", "validation", "test")
    return (
        {split: parts[split] for split in order if split in parts},
        classes.numbers,
        classes.names,
    )


def _notes(notes: Mapping[str, Sequence[str]]) -> list[Reason]:
    """What was noticed in images, each thing once, with the images it was noticed in."""
    images: dict[str, list[str]] = {}
    for name, texts in notes.items():
        for text in texts:
            images.setdefault(text, []).append(name)
    return [("note", some(names), text) for text, names in images.items()]


def _nothing_usable(source: str, found: Found, failed: Mapping[str, str]) -> str:
    problems = {**dict(found.skipped), **failed}
    text = f"{source!r} holds no image."
    if problems:
        text = f"None of the {len(failed)} images in {source!r} can be used: {_problems(problems)}"
    return f"{text} What else it holds: {found.beside}." if found.beside else text


def _problems(failed: Mapping[str, str]) -> str:
    problems = [f"{name} {why}" for name, why in sorted(failed.items())]
    more = f"; and {len(problems) - 3} more." if len(problems) > 3 else "."
    return "; ".join(problems[:3]) + more
