"""One command's work on a run: what happens around the steps."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from torch import nn

from visarch.training.agreement import check_same_step
from visarch.training.atomic import replace_file
from visarch.training.checkpoint import load_checkpoint, read_state, save_checkpoint
from visarch.training.environment import describe_environment, versions
from visarch.training.guard import Guard, NonFiniteError, first_not_finite, not_kept
from visarch.training.length import TimeBudget
from visarch.training.metrics import Window, better
from visarch.training.progress import Reporter
from visarch.training.resume import (
    check_same_run,
    fixed_settings,
    last_checkpoint,
    settled_steps,
)
from visarch.training.runfolder import EVALUATION, MODEL, MODEL_FILES, RunFolder, read_json
from visarch.training.stop import StopRequest
from visarch.training.tracking import begin_tracking, track_pictures
from visarch.training.trainer import Trainer

if TYPE_CHECKING:
    from visarch.data import Data


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    path: Path
    """The run folder."""
    step: int
    """Steps done."""
    total_steps: int | None
    """Steps that the run has; None while its time budget is being measured."""
    metrics: dict[str, dict[str, float]]
    """At the end of a run: what the task measures on each held-out split."""
    exit_code: int
    """0, or 130 or 143 after a signal."""


class Session:
    """One command's work on a run: from its last checkpoint to its end, or to a signal.

    Every process trains and evaluates; the main one alone has the folder and writes.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: "Data",
        path: Path,
        folder: RunFolder | None,
        reporter: Reporter,
        started: float,
    ) -> None:
        self.trainer, self.data = trainer, data
        self.path, self.folder = path, folder
        self.reporter, self.started = reporter, started
        self.task, self.config = trainer.task, trainer.config
        self.accelerator = trainer.accelerator
        self.precision = trainer.precision.value
        self.fingerprint = data.fingerprint()
        self.best: float | None = None
        self.old_length: int | None = None
        """The steps that a run taken up again was to have, if they are others now."""

    def go(self) -> Result:
        """Train to the end, or to a signal."""
        self.reporter.say(f"Run folder: {self.path}")
        if self.folder and not self.folder.is_locked:
            self.reporter.say(
                "Its file system knows no locks: nothing but you keeps a second command out of it."
            )
        resumed = self._take_up()
        finished = self._finished()
        if finished:
            self.reporter.say(
                f"It is finished: all of its {self.trainer.num_steps} steps are done. To go on "
                "with it, ask for more."
            )
            return self._result(finished["metrics"])
        self._begin(resumed)
        begin_tracking(self.accelerator, self.config, self.task.name, self.trainer.num_steps)
        with StopRequest() as stop:
            stopped = self._train(stop)
        if stopped:
            self.reporter.say(
                f"Stopped after step {self.trainer.num_steps} and saved. Go on with: "
                f"visarch train --resume {self.path}"
            )
            return self._result({}, stop.exit_code)
        return self._finish()

    def _take_up(self) -> bool:
        """Read the last checkpoint, if there is one, and settle the length of the run."""
        trainer, last, before = self.trainer, last_checkpoint(self.path), None
        if last:
            checkpoint = load_checkpoint(last)
            before = check_same_run(
                self.path, checkpoint.state, self.config, self.task.name, self.fingerprint
            )
            trainer.load(checkpoint, last)
            if checkpoint.state["precision"] != self.precision:
                self.reporter.say(
                    f"So far it was trained in {checkpoint.state['precision']}; from here on it is "
                    f"in {self.precision}."
                )
        planned = trainer.total_steps
        trainer.total_steps = settled_steps(
            self.config, before, len(trainer.split), trainer.num_steps, planned
        )
        if planned != trainer.total_steps:
            self.old_length = planned
        # after which all have looked, and the main process may write
        check_same_step(self.path, trainer.num_steps)
        return last is not None

    def _begin(self, resumed: bool) -> None:
        """Say and write down what is about to be done."""
        self.reporter.say(self._plan(resumed))
        for what, value, why in self.trainer.reasons:
            self.reporter.say(f"{what}: {value} ({why})")
        if self.folder:
            self._describe_run(self.folder)
            self.folder.truncate_metrics(self.trainer.num_steps)
            if self.folder.best.exists():
                self.best = read_state(self.folder.best)["metric"]
        warmed_up = self.trainer.num_steps > self.config.warmup_steps
        if self.old_length and self.config.decay == "cosine" and warmed_up:
            self.reporter.say(
                f"It was to have {self.old_length} steps. --decay cosine fits the learning rate to "
                "the length, so from here on it is not what it would be in a run of the new length "
                "from the start; with inverse_sqrt or constant it would be."
            )
        if not resumed or self.old_length:
            self._save()  # with the length; and what can go wrong with writing goes wrong now

    def _train(self, stop: StopRequest) -> bool:
        """Steps, and what falls due after each; whether a signal ended them."""
        trainer, config = self.trainer, self.config
        budget = TimeBudget(config, self.started) if trainer.total_steps is None else None
        self.reporter.start()
        try:
            while trainer.num_steps != trainer.total_steps:
                before = time.monotonic()
                values = trainer.step()
                seconds = time.monotonic() - before
                self.reporter.step(
                    trainer.num_steps, trainer.total_steps, config.batch_size, values["loss"]
                )
                self._watch_over(trainer.guard)
                self._report()
                if budget and self._on_any(budget.add(seconds)):
                    trainer.total_steps, budget = self._fit(budget), None
                    self._save()  # with the length, so that it stays the same after a crash
                if self._on_any(stop.signal is not None):
                    break
                if self._due(config.checkpoint_every):
                    self._save()
            self._save()
            return self._on_any(stop.signal is not None)
        finally:
            self.reporter.stop()

    def _finish(self) -> Result:
        """Exact statistics, the last evaluation and the finished model."""
        trainer = self.trainer
        model = trainer.final_model()
        held_out = [name for name in self.data.splits if name != "train"]
        metrics = {name: self._evaluate(model, name) for name in held_out}
        row = trainer.window.means()
        for split, values in metrics.items():
            row |= {f"{split}/{name}": value for name, value in values.items()}
        self._write_row(row)
        self._keep_best(metrics.get("validation", {}))
        self._draw(model)
        if self.folder:
            self.folder.save_model(model, self._facts())
            self.folder.write_json(EVALUATION, {"step": trainer.num_steps, "metrics": metrics})
        self.reporter.say(f"Finished after {trainer.num_steps} steps. Run folder: {self.path}")
        return self._result(metrics)

    def _report(self) -> None:
        """Write the row of metrics.csv, the best checkpoint and the pictures that are due.

        At the end of the run, evaluation and pictures wait for the final model.
        """
        trainer, config, row = self.trainer, self.config, {}
        if trainer.num_steps % config.log_every == 0:
            row = trainer.window.means() | {
                "skipped_steps": trainer.guard.skipped,
                "images_per_second": self.reporter.images_per_second,
            }
            trainer.window = Window()
        if self._due(config.evaluate_every) and "validation" in self.data.splits:
            metrics = self._evaluate(trainer.averaged_model, "validation")
            row |= {f"validation/{name}": value for name, value in metrics.items()}
            self._keep_best(metrics)
        if self._due(config.sample_every):
            self._draw(trainer.averaged_model)
        if row:
            self._write_row(row)

    def _evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        """The task's metrics on a held-out split, in full precision."""
        with self._aside(model):
            metrics = self.task.evaluate(
                model, self.data.splits[split], self.trainer.noise(f"evaluate {split}")
            )
        listed = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.reporter.say(f"step {self.trainer.num_steps}  {split}: {listed}")
        return metrics

    def _draw(self, model: nn.Module) -> None:
        """Write the task's pictures."""
        if not self.folder:
            return
        with self._aside(model):
            pictures = self.task.pictures(model, self.data)
        for name, picture in pictures.items():
            path = self.folder.samples / f"step-{self.trainer.num_steps:06d}-{name}.png"
            replace_file(path, partial(picture.save, format="PNG"))
        track_pictures(self.accelerator, pictures, self.trainer.num_steps)

    @contextmanager
    def _aside(self, model: nn.Module) -> Iterator[None]:
        """Something other than training with a model: eval mode, no gradients, out of the speed."""
        model.eval()
        with torch.no_grad():
            yield
        self.trainer.model.train()
        self.reporter.pause()

    def _keep_best(self, metrics: Mapping[str, float]) -> None:
        """Write best.safetensors if the task's metric improves on all before."""
        name, direction = self.task.metric
        if name not in metrics:
            return
        # the main process decides: another device may find another last digit
        if self._on_any(self.folder is not None and better(metrics[name], self.best, direction)):
            self.best = metrics[name]
            self._save("best", metric=self.best)

    def _save(self, name: str = "last", **extra: Any) -> None:
        """Write a checkpoint.

        Raises:
            NonFiniteError: an update has spoilt what would be written; the last one stays.
        """
        tensors = self.trainer.tensors()  # each process may hold a part of them
        spoilt = first_not_finite(tensors)  # the main process has them all
        if self._on_any(spoilt is not None):
            raise not_kept(spoilt, self.trainer.num_steps, self.path)
        if not self.folder:
            return
        state = self.trainer.state() | {
            "task": self.task.name,
            "settings": fixed_settings(self.config),
            "fingerprint": self.fingerprint,
            "precision": self.precision,
            "versions": versions(),
        }
        path = self.folder.checkpoints / f"{name}.safetensors"
        save_checkpoint(path, tensors, state | extra)
        self.reporter.pause()

    def _write_row(self, row: Mapping[str, float]) -> None:
        """Add to metrics.csv and to the tracker."""
        if self.folder:
            self.folder.append_metrics({"step": self.trainer.num_steps} | dict(row))
        self.accelerator.log(dict(row), step=self.trainer.num_steps)

    def _fit(self, budget: TimeBudget) -> int:
        """The number of steps that fits the time budget.

        Evaluation, pictures and a checkpoint are done once to see what they take; the final pass
        for exact statistics is forward only, about a third of as many steps.
        """
        trainer, config, splits = self.trainer, self.config, self.data.splits
        model = trainer.averaged_model
        drawing = _seconds(lambda: self._draw(model))
        saving = _seconds(self._save)
        evaluating, held_out = 0.0, 0.0
        if "validation" in splits:
            evaluating = _seconds(lambda: self._evaluate(model, "validation"))
            sizes = [len(split) for name, split in splits.items() if name != "train"]
            held_out = evaluating * sum(sizes) / len(splits["validation"])
        statistics = budget.seconds_per_step / 3 * len(trainer.split) / config.batch_size
        costs = (
            (evaluating, config.evaluate_every),
            (drawing, config.sample_every),
            (saving, config.checkpoint_every),
        )
        left = budget.steps_left(
            extra_per_step=sum(cost / every for cost, every in costs if every),
            at_the_end=held_out + drawing + saving + statistics,
        )
        total = [trainer.num_steps + left]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(total)
        self.reporter.say(f"{total[0]} steps fit into {config.time}.")
        return total[0]

    def _due(self, every: int) -> bool:
        """Whether the step just done is a multiple; the last one has its own ways of ending."""
        step = self.trainer.num_steps
        return every > 0 and step % every == 0 and step != self.trainer.total_steps

    def _on_any(self, happened: bool) -> bool:
        """Whether something happened on any process, so that all act on it after the same step."""
        if self.accelerator.num_processes == 1:
            return happened
        number = torch.tensor(float(happened), device=self.trainer.device)
        return bool(self.accelerator.reduce(number, "sum"))

    def _watch_over(self, guard: Guard) -> None:
        """Say when a step was bad; after too many in a row, stop with a diagnosis."""
        step = self.trainer.num_steps
        if guard.in_a_row == 1:
            self.reporter.say(f"step {step}  loss or gradient is not finite: the step is skipped")
        if guard.exhausted:
            finding = self.trainer.diagnose_last_step(self.precision)
            raise NonFiniteError(
                f"Training stopped after step {step}: loss or gradient was not finite in "
                f"{guard.in_a_row} steps in a row, which changed nothing. {finding} The last good "
                f"checkpoint is {self.path}/checkpoints/last.safetensors."
            )

    def _finished(self) -> dict[str, Any] | None:
        """What evaluation.json holds, if it is that of the finished run and its model is there."""
        if self.trainer.num_steps != self.trainer.total_steps:
            return None
        if not all((self.path / MODEL / name).is_file() for name in MODEL_FILES):
            return None  # somebody has removed what the checkpoint still holds
        found: dict[str, Any] = read_json(self.path / EVALUATION, dict)
        return found if found.get("step") == self.trainer.num_steps else None

    def _describe_run(self, folder: RunFolder) -> None:
        """Write settings, data and environment; the environment of every start is kept."""
        starts: list[Any] = read_json(folder.path / "environment.json", list)
        environment = describe_environment(self.trainer.device, self.accelerator.num_processes)
        folder.write_config(self.config, self.task.name)
        folder.write_json("data.json", self.data.describe())
        folder.write_json("environment.json", [*starts, environment])

    def _facts(self) -> dict[str, Any]:
        """What is kept with the model: its task, its data short of the samples, and the seed."""
        described = self.data.describe()
        of_data = {key: described.get(key) for key in ("source", "preparation", "classes")}
        of_data["vector_names"] = (described.get("vectors") or {}).get("names")
        return {
            "task": self.task.name,
            **of_data,
            "seed": self.config.seed,
            "settings": self.task.facts(),
        }

    def _plan(self, resumed: bool) -> str:
        """What is about to be done."""
        trainer, config = self.trainer, self.config
        total, size = trainer.total_steps, len(trainer.split)
        length = f"{total} steps" if total else f"{config.time}"
        if total:
            length += f" ({total * config.batch_size / size:.3g} epochs)"
        begin = f"Going on after step {trainer.num_steps}: t" if resumed else "T"
        parameters = sum(p.numel() for p in trainer.model.parameters())
        plan = (
            f"{begin}raining {self.task.name} with {parameters:,} parameters for {length} on "
            f"{size:,} images, {config.batch_size} per step, on {trainer.device} in "
            f"{self.precision}."
        )
        if total and total <= config.warmup_steps:
            plan += f" All of it is warm-up, which takes {config.warmup_steps} steps."
        return plan

    def _result(self, metrics: dict[str, dict[str, float]], exit_code: int = 0) -> Result:
        trainer = self.trainer
        return Result(self.path, trainer.num_steps, trainer.total_steps, metrics, exit_code)


def _seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
