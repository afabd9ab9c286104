"""What the reader has to know before trusting the numbers of a run."""

import math
from collections.abc import Iterator

from visarch.evaluation.vae import collapse_warning
from visarch.report.accuracy import guessing, interval
from visarch.report.meaning import meaning
from visarch.report.run import Result, Run
from visarch.report.spelling import number

_OVERFITS = {"NLL": 0.05, "bits/dim": 0.05}
"""What rises on the validation images when a model overfits; by how much before it is said."""
_OVERFITTING = 0.1
"""And by which share of what training had gained until then."""
_LARGEST_GAP = 0.1
"""Of accuracy, between training and held-out images."""
_UNEQUAL = 10
"""So many times as many images of one class as of another are an imbalance."""


def alarms(run: Run) -> Iterator[str]:
    """What the reader has to know before trusting a number, a sentence or two each."""
    judged = run.judged
    if judged:
        yield from _OF_TASK.get(run.task, lambda run, judged: iter(()))(run, judged)
        yield from _above_raw(run, judged)
        bad = [meaning(name).title for name, v in judged.metrics.items() if not math.isfinite(v)]
        if bad:
            yield f"Not finite on the {judged.split} images: {', '.join(bad)}."
    yield from _overfitting(run)
    skipped = max((row.get("skipped_steps", 0.0) for row in run.rows), default=0.0)
    if skipped:
        steps = "1 step was" if skipped == 1 else f"{number(skipped)} steps were"
        yield f"{steps} skipped because loss or gradient was not finite; they changed nothing."
    if judged and run.evaluation and not run.finished:
        yield (
            f"The results were measured after step {judged.step:,}; the run has gone on to step "
            f"{run.step:,} since, and is not finished."
        )


def _of_vae(run: Run, judged: Result) -> Iterator[str]:
    """Whether the latents say nothing."""
    kl, active = judged.metrics.get("KL", math.nan), judged.metrics.get("active units", math.nan)
    latent_dim = run.latent_dim
    if latent_dim and math.isfinite(kl) and math.isfinite(active):
        warning = collapse_warning(kl, int(active), latent_dim)
        if warning:
            yield warning


def _of_classifier(run: Run, judged: Result) -> Iterator[str]:
    """Whether it has learnt anything, and from classes of what sizes."""
    bounds, guess = interval(run, judged), guessing(run, judged.split)
    if bounds and guess and bounds[0] <= guess:
        yield (
            f"The accuracy on the {judged.split} images, {_percent(judged.metrics['accuracy'])} "
            f"with a 95 % interval from {_percent(bounds[0])} to {_percent(bounds[1])}, is no "
            f"better than guessing: the most frequent class alone makes {_percent(guess)}."
        )
    trained = [row["accuracy"] for row in run.rows if math.isfinite(row.get("accuracy", math.nan))]
    if trained:
        latest = trained[-max(1, len(trained) // 10) :]
        train, held_out = sum(latest) / len(latest), judged.metrics.get("accuracy", math.nan)
        if train - held_out > _LARGEST_GAP:
            yield (
                f"The accuracy is {_percent(train)} in training and {_percent(held_out)} on the "
                f"{judged.split} images: it knows the training images rather than their classes. "
                "More data, augmentation or weight decay narrow the gap."
            )
    counts = run.class_counts("train")
    if len(counts) > 1:
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        if counts[least] == 0:
            yield f"There is no training image of the class {least}: it cannot be learnt."
        elif counts[most] >= _UNEQUAL * counts[least]:
            yield (
                f"The classes are of unequal sizes: {counts[most]:,} training images of {most}, "
                f"{counts[least]:,} of {least}. Accuracy hides how the rare ones do; look at the "
                "balanced accuracy."
            )


def _above_raw(run: Run, judged: Result) -> Iterator[str]:
    """Whether a model of the pixels is worth nothing."""
    bits, levels = judged.metrics.get("bits/dim", math.nan), run.levels
    if levels and bits >= math.log2(levels):
        yield (
            f"{number(bits)} bits/dim are no fewer than the {math.log2(levels):.3g} of raw pixels: "
            "as a model of these images it is worth nothing yet. Train it for longer."
        )


def _overfitting(run: Run) -> Iterator[str]:
    """Whether the validation images have been getting worse."""
    for name, least in _OVERFITS.items():
        column = f"validation/{name}"
        points = [(row[column], row["step"]) for row in run.rows if column in row]
        points = [point for point in points if math.isfinite(point[0])]
        if len(points) < 3:
            continue
        (best, step), (first, first_step), (last, last_step) = min(points), points[0], points[-1]
        if step > first_step and last - best > max(least, _OVERFITTING * (first - best)):
            yield (
                f"It overfits: on the validation images, {meaning(name).title} was best at step "
                f"{step:,.0f} ({number(best)}) and has risen to {number(last)} at step "
                f"{last_step:,.0f}. Train for fewer steps, or with more data or augmentation."
            )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_OF_TASK = {"vae": _of_vae, "classifier": _of_classifier}
