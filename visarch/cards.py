"""Model cards: what a model was trained for and on, how well it does, and how to make it again.

A card is the README.md of a model folder; the hub shows it, and reads its first lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from visarch import __version__
from visarch.data.preparation import times
from visarch.report.meaning import TASKS, meaning, ordered
from visarch.report.run import Run, read_run
from visarch.report.settings import reproduce
from visarch.training.atomic import replace_text

CARD = "README.md"

_PIPELINES = {
    "classifier": "image-classification",
    "vae": "unconditional-image-generation",
    "diffusion": "unconditional-image-generation",
}
"""What the hub calls the tasks."""
_USES = {
    "classifier": "visarch predict {name} IMAGE…",
    "vae": "visarch sample {name} -n 64",
    "diffusion": "visarch sample {name} -n 64",
}
_SCALES = {"diffusion": " The network takes them on the scale −1 … 1, that is 2x − 1."}


def write_card(path: Path) -> None:
    """Write the card of a finished run into its model folder, in place of the one that is there.

    Raises:
        UserError: the disk is full or refuses.
    """
    replace_text(path / "model" / CARD, card_of_run(read_run(path)))


def card_of_run(run: Run, name: str | None = None) -> str:
    """The card of a run's model, by what its folder tells.

    Args:
        run: the run.
        name: what the model is called where the card will be seen; by default as the run.
    """
    title = run.path.resolve().name
    data = str(run.data.get("source") or run.config.get("data", "unknown"))
    kind = TASKS.get(run.task, run.task)
    sections = {
        "Data": _data(run, data),
        "Preprocessing": preprocessing(run.task, run.data.get("preparation") or {}),
        "Metrics": _metrics(run),
        "Reproduce": _reproduce(run),
    }
    return card(
        name or title,
        run.task,
        f"{kind} trained with visarch {_version(run)} for {run.step:,} steps.",
        sections,
        results=_results(run, Path(data).name),
    )


def card(
    name: str,
    task: str | None,
    summary: str,
    sections: Mapping[str, str],
    *,
    results: Sequence[EvalResult] = (),
) -> str:
    """A card of these sections, the empty ones left out.

    Args:
        name: what the model is called.
        task: "vae", "classifier" or "diffusion"; none where the model is for no task yet.
        summary: its first paragraph.
        sections: text by heading.
        results: what was measured, for the hub's table.
    """
    head = ModelCardData(
        library_name="visarch",
        pipeline_tag=_PIPELINES.get(task or ""),
        tags=["visarch", "pytorch"],
        model_name=name if results else None,
        eval_results=list(results) or None,
    )
    use = f'```python\nimport visarch\n\nmodel = visarch.load("{name}")\n```'
    if task in _USES:
        use = f"```\n{_USES[task].format(name=name)}\n```\n\n{use}"
    parts = [f"---\n{head.to_yaml()}\n---", f"# {name}", summary, "## Use", use]
    for heading, text in sections.items():
        if text:
            parts += [f"## {heading}", text]
    return "\n\n".join(parts) + "\n"


def renamed(text: str, name: str) -> str:
    """A card of ours with another name for the model; any other text as it is."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    if not title:
        return text
    old = re.escape(title[1])
    mentions = rf'(?:(?<=^# )|(?<=load\(")|(?<=^visarch predict )|(?<=^visarch sample )){old}'
    return re.sub(mentions, lambda found: name, text, flags=re.MULTILINE)


def preprocessing(
    task: str, preparation: Mapping[str, Any], settings: Mapping[str, Any] = {}
) -> str:
    """How images become what the network takes, as a paragraph; empty where nothing is known."""
    shape = preparation.get("shape")
    if not shape:
        return ""
    levels = preparation.get("levels")
    scale = f"level k of {levels} becomes (k + ½)/{levels}" if levels else "values within [0, 1]"
    resized = " (others are resized, and cropped at the middle)" if len(shape) == 3 else ""
    text = f"Samples of {times(tuple(shape))}{resized}, on the scale 0 … 1: {scale}."
    if "mean" in settings:
        mean, deviation = (_listed(settings[key]) for key in ("mean", "deviation"))
        text += (
            f" Then, channel by channel, {mean} is subtracted and the rest divided by {deviation}; "
            "the verbs do that, and a model from `visarch.load` expects it done."
        )
    return text + _SCALES.get(task, "")


def _data(run: Run, source: str) -> str:
    counts = [
        f"{split.get('count'):,} {name}"
        for name, split in (run.data.get("splits") or {}).items()
        if isinstance(split.get("count"), int)
    ]
    lines = [f"`{source}`" + (f": {', '.join(counts)} images." if counts else ".")]
    classes = run.data.get("classes")
    if classes:
        shown = ", ".join(map(str, classes[:20])) + (" …" if len(classes) > 20 else "")
        lines.append(f"{len(classes)} classes: {shown}.")
    skipped = run.data.get("skipped")
    if skipped:
        lines.append(f"{len(skipped):,} samples could not be used.")
    return " ".join(lines)


def _metrics(run: Run) -> str:
    results = run.results
    if not results:
        return ""
    names = ordered(run.task, dict.fromkeys(name for one in results for name in one.metrics))
    rows = [
        ["metric", *(result.split for result in results)],
        ["---"] * (1 + len(results)),
    ]
    for name in names:
        told = meaning(name)
        unit = f" ({told.unit})" if told.unit and told.unit != "%" else ""
        values = [
            told.spelled(result.metrics[name]) if name in result.metrics else "–"
            for result in results
        ]
        rows.append([told.title + unit, *values])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _reproduce(run: Run) -> str:
    command = reproduce(run)
    if command is None:
        return ""
    start = run.starts[-1] if run.starts else {}
    versions = ", ".join(f"{name} {text}" for name, text in (start.get("versions") or {}).items())
    where = f"On {start.get('device', 'unknown')}, with {versions}." if versions else ""
    return f"```\n{command}\n```" + (f"\n\n{where}" if where else "")


def _results(run: Run, data: str) -> list[EvalResult]:
    """What was measured on the split that stands for the run."""
    judged = run.judged
    if not judged or run.task not in _PIPELINES:
        return []
    return [
        EvalResult(
            task_type=_PIPELINES[run.task],
            dataset_type=data,
            dataset_name=data,
            dataset_split=judged.split,
            metric_type=name.replace(" ", "_"),
            metric_name=meaning(name).title,
            metric_value=judged.metrics[name],
        )
        for name in ordered(run.task, judged.metrics)
    ]


def _version(run: Run) -> str:
    start = run.starts[-1] if run.starts else {}
    return str((start.get("versions") or {}).get("visarch", __version__))


def _listed(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
