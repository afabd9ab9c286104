"""Everything that is wrong or odd about some data, found by decoding all of it.

Problems are what training would lose, get wrong or be deceived by; remarks are what one may want to
know. Nothing is written, and images are forgotten as soon as they were looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from visarch.data.classes import number_classes
from visarch.data.found import Found
from visarch.data.inspection import Seen, look
from visarch.data.preparation import times
from visarch.data.reading import Progress
from visarch.data.splitting import hold_out
from visarch.errors import UserError

_IMBALANCE = 3
_SPLITS = ("", "train", "validation", "test")

Entries = list[tuple[str, str]]


@dataclass(frozen=True)
class Finding:
    """One thing that was found, and where."""

    what: str
    why: str
    entries: Entries
    """(file, sample or class, what is with it)"""


@dataclass
class Report:
    """What `visarch check` has to say."""

    source: str
    kind: str
    count: int
    """Samples that can be used."""
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    """How many samples of each class each split has."""
    kinds: dict[str, int]
    """Formats and modes of the files, or types of the arrays."""
    sizes: dict[str, int]
    problems: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"ok": not self.problems, **asdict(self)}


def check(source: str, progress: Progress | None = None) -> Report:
    """Decode all of the data that `source` names, and report on it.

    Raises:
        UserError: there is no such data, or none that could be read.
    """
    found, samples = look(source, progress)
    seen: list[Seen] = []
    damaged: Entries = list(found.skipped)
    for sample in samples:
        if isinstance(sample, Seen):
            seen.append(sample)
        else:
            damaged.append(sample)
    splits = Counter(sample.split for sample in seen)
    report = Report(
        source,
        found.kind,
        len(seen),
        {split: splits[split] for split in _SPLITS if split in splits},
        {},
        _counts(sample.kind for sample in seen),
        _counts(times(sample.shape) for sample in seen),
    )
    problems = [
        Finding("cannot be used", "missing, damaged or not what they seem", sorted(damaged)),
        Finding("contradictions", "training stops until they are mended", _numbered(found.errors)),
        *_classes(found, seen, report),
        *_repeated(found, seen, report),
    ]
    for note, why in _NOTES.items():
        entries = [(sample.name, "") for sample in seen if note in sample.notes]
        report.remarks.append(Finding(note, why, entries))
    others = defaultdict[str, Entries](list)
    for sample in seen:
        for note in sample.notes:
            if note not in _NOTES:
                others[note].append((sample.name, ""))
    report.remarks += [Finding("note", note, entries) for note, entries in others.items()]
    report.remarks.append(Finding("left out", "as the rules for data say", sorted(found.left_out)))
    report.remarks += [
        Finding(what, why, [(value, "")])
        for what, value, why in found.reasons
        if what in _WORTH_SAYING
    ]
    report.problems = [finding for finding in problems if finding.entries]
    report.remarks = [finding for finding in report.remarks if finding.entries]
    if not seen and not report.problems:
        raise UserError(f"{source!r} holds nothing that could be checked.")
    return report


_NOTES = {
    "more than 8 bits": "kept where all images have them, else brought to 8",
    "turned": "EXIF data turns them, and they are read the right way up",
    "several frames": "the first one is used",
    "transparent": "laid on white",
    "constant": "every pixel is the same",
}
_WORTH_SAYING = {"empty folders", "listed twice", "not used", "encoding", "columns"}


def _classes(found: Found, seen: Sequence[Seen], report: Report) -> list[Finding]:
    """What is wrong with labels; how many samples each class has goes into the report."""
    said: dict[str, dict[str, str | None]] = {split: {} for split in report.splits}
    for sample in seen:
        said[sample.split][sample.name] = sample.label
    try:
        classes = number_classes(
            said,
            listed=found.classes,
            by_value=found.by_value,
            why=found.why_classes,
            source=report.source,
        )
    except UserError as error:
        return [Finding("unknown classes", "a whole split has no other", [("", str(error))])]
    if classes.names is None:
        why = next(why for what, _, why in classes.reasons if what == "classes")
        report.remarks.append(Finding("no classes", why, [("", "")]))
        return []
    for split, own in said.items():
        numbers = Counter(classes.numbers[name] for name in own if name in classes.numbers)
        if numbers:
            counts = {name: numbers[number] for number, name in enumerate(classes.names)}
            report.classes[split] = counts
            missing = [(name, "") for name, count in counts.items() if count == 0]
            where = f"in {split}" if split else "in the data"
            report.remarks.append(Finding("classes without images", where, missing))
        else:
            report.remarks.append(Finding("no labels", f"none in {split}", [("", "")]))
    trained = report.classes.get("train", report.classes.get("", {}))
    counts = {name: count for name, count in trained.items() if count}
    if counts and max(counts.values()) >= _IMBALANCE * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        ratio = f"the largest class has {counts[most] / counts[least]:.1f} times the smallest's"
        entries = [(most, f"{counts[most]} images"), (least, f"{counts[least]} images")]
        report.remarks.append(Finding("imbalance", ratio, entries))
    unlabelled = {sample.name for sample in seen if sample.label is None}
    unknown = [entry for entry in classes.left_out.items() if entry[0] not in unlabelled]
    without = [(name, "") for name in classes.left_out if name in unlabelled]
    return [
        Finding("unknown classes", "training has none of these, and leaves them out", unknown),
        Finding("no label", "others of their split have one, and these are left out", without),
    ]


def _repeated(found: Found, seen: Sequence[Seen], report: Report) -> list[Finding]:
    """Images whose pixels are the same, wherever that deceives."""
    groups = defaultdict[bytes, list[Seen]](list)
    for sample in seen:
        groups[sample.digest].append(sample)
    repeated = [group for group in groups.values() if len(group) > 1]
    contradicting: Entries = []
    leaking: Entries = []
    harmless: Entries = []
    parts = _parts(found, seen)
    for group in repeated:
        first, *others = group
        labels = {sample.label for sample in group if sample.label is not None}
        splits = {sample.split for sample in group}
        named = ", ".join(_place(sample) for sample in others[:3])
        named += f" and {len(others) - 3} more" if len(others) > 3 else ""
        entry = (_place(first), f"also {named}")
        if len(labels) > 1:
            contradicting.append(entry)
        if len(splits) > 1:
            leaking.append(entry)
        if len(labels) < 2 and len(splits) < 2:
            harmless.append(entry)
    divided = sum(len({parts.get(s.name) for s in group}) > 1 for group in repeated) if parts else 0
    why = "in one split" + (
        f"; {divided} of them lie on both sides of the split that training makes" if divided else ""
    )
    report.remarks.append(Finding("the same image twice", why, harmless))
    return [
        Finding("one image, several labels", "at most one can be right", contradicting),
        Finding("one image, several splits", "what is measured there was trained on", leaking),
    ]


def _parts(found: Found, seen: Sequence[Seen]) -> dict[str, str]:
    """On which side of the split each sample is that training will make, where there is none."""
    if not seen or any(sample.split == "validation" for sample in seen):
        return {}
    names = [sample.name for sample in seen if sample.split in ("", "train")]
    labels = {sample.name: sample.label for sample in seen}
    distinct = {label: number for number, label in enumerate(sorted({*map(str, labels.values())}))}
    train, validation, _ = hold_out(names, [distinct[str(labels[name])] for name in names])
    parts = {names[position]: "train" for position in train}
    return parts | {names[position]: "validation" for position in validation}


def _place(sample: Seen) -> str:
    about = " ".join(filter(None, [sample.split, sample.label]))
    return f"{sample.name} ({about})" if about else sample.name


def _counts(values: Iterator[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _numbered(errors: Sequence[str]) -> Entries:
    return [("", error) for error in errors]
