"""Class names and numbers: the training images decide, and nothing else can shift them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize

from visarch.data.found import Reason, some
from visarch.errors import UserError


@dataclass
class Classes:
    """The classes, and what each labelled sample is, by its name."""

    names: tuple[str, ...] | None
    numbers: dict[str, int] = field(default_factory=dict)
    """The position of its class, for each sample whose split has labels."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Samples that cannot be used beside labelled ones, and why."""
    reasons: list[Reason] = field(default_factory=list)


def number_classes(
    labels: Mapping[str, Mapping[str, str | None]],
    *,
    listed: Sequence[str] | None = None,
    by_value: bool = False,
    why: str = "",
    source: str = "",
) -> Classes:
    """Number the classes of samples whose labels are known by split and name.

    Classes are those that are `listed`, in that order; otherwise those of the training samples (of
    the split "train", or "" where there are no splits), sorted as texts, or `by_value` if all are
    whole numbers. A sample of another class is left out rather than given a wrong number, and so is
    one without a label, unless its whole split has none.

    Raises:
        UserError: no sample of a split is of one of the classes.
    """
    labels = {
        split: {name: label and normalize("NFC", label) for name, label in own.items()}
        for split, own in labels.items()
    }
    trained = labels.get("train", labels.get("", {}))
    labelled = [s for s, own in labels.items() if any(v is not None for v in own.values())]
    if not labelled or (listed is None and not any(v is not None for v in trained.values())):
        reasons = [("classes", "none", why or "the images have no labels")]
        if labelled:
            text = f"the labels of {' and '.join(labelled)} are not used, as training has none"
            reasons = [("classes", "none", text)]
        return Classes(None, reasons=reasons)

    distinct = {label for label in trained.values() if label is not None}
    numeric = by_value and all(_WHOLE.fullmatch(label) for label in distinct)
    ordered = sorted(distinct, key=int) if numeric else sorted(distinct)
    names = tuple(ordered if listed is None else (normalize("NFC", name) for name in listed))
    positions = {name: position for position, name in enumerate(names)}
    classes = Classes(names, reasons=[("classes", some(names), f"{len(names)}, {why}")])
    unknown: dict[str, list[str]] = {}
    for split, own in labels.items():
        if all(label is None for label in own.values()):
            if own:
                classes.reasons.append(("labels", f"none for {split}", "its images have none"))
            continue
        numbers = {name: positions[label] for name, label in own.items() if label in positions}
        if not numbers:
            raise UserError(_none_known(split, own.values(), names, source))
        classes.numbers |= numbers
        for name, label in own.items():
            if label is None:
                classes.left_out[name] = "has no label, as others have"
            elif label not in positions:
                classes.left_out[name] = f"is of the class {label!r}, which is none of training"
                unknown.setdefault(f"{split} {label}".strip(), []).append(name)
        present = set(numbers.values())
        missing = [name for name in names if positions[name] not in present]
        if missing:
            text = f"{split or 'the data'} has no image of them; no class changes its number"
            classes.reasons.append(("classes without images", some(missing), text))
    for place, samples in unknown.items():
        text = f"training has no such class: {len(samples)} of its images are left out"
        classes.reasons.append(("unknown class", place, text))
    return classes


_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")


def _none_known(split: str, labels: Iterable[str | None], names: Sequence[str], source: str) -> str:
    there = sorted({label for label in labels if label is not None})
    text = (
        f"None of the {split or 'labelled'} images in {source!r} is of one of the classes "
        f"{some(names)}; theirs: {some(there)}."
    )
    near = difflib.get_close_matches(there[0].lower(), [name.lower() for name in names], 1)
    meant = [name for name in names if name.lower() in near]
    if meant:
        text += f" Is {there[0]!r} meant to be {meant[0]!r}?"
    return f"{text} Name them alike, or give these images no class at all."
