"""The training state and its one step: forward, backward, clip, update, average."""

import copy
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from visarch.performance.choices import Choice, arrange_weights, memory_format, threads
from visarch.performance.clipping import clip_gradients
from visarch.performance.preparation import quicken
from visarch.training.batches import Batches
from visarch.training.batchnorm import exact_batchnorm_statistics
from visarch.training.checkpoint import (
    Checkpoint,
    load_module,
    load_optimizer,
    module_tensors,
    optimizer_tensors,
)
from visarch.training.config import TrainConfig
from visarch.training.devices import compiled, precision
from visarch.training.ema import PowerEma
from visarch.training.guard import BufferSnapshot, Guard, diagnose
from visarch.training.metrics import Window
from visarch.training.optimizer import make_optimizer, set_learning_rate
from visarch.training.processes import share_batch
from visarch.training.randomness import (
    StepNoise,
    batch_indices,
    derive_seed,
    epoch_order,
    seed_step,
)
from visarch.training.schedule import learning_rate
from visarch.training.sharding import Blueprint, gather, whole
from visarch.training.task import Task

if TYPE_CHECKING:
    from visarch.data import Batch, Split


class Objective(nn.Module):
    """A task's loss as a module's forward, whatever of the model it calls: what autocast, DDP and
    compilation take hold of."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task = task
        self.model = model

    def forward(self, batch: "Batch", noise: StepNoise) -> tuple[Tensor, dict[str, Tensor]]:
        return self.task.loss(self.model, batch, noise)


class Trainer:
    """All that changes while training: weights, buffers, optimizer, average, counters.

    Several processes do together what one does with the whole batch; with FSDP each holds a part
    of weights, average and optimizer.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        split: "Split",
        config: TrainConfig,
        accelerator: Accelerator,
    ) -> None:
        self.task = task
        self.model = model.to(accelerator.device).train()
        self.split = split = split.seeded(config.seed)
        self.config = config
        self.accelerator = accelerator
        self.precision = precision(config, accelerator.device, task.low_precision)
        """The number format, and why."""
        self.memory_format = memory_format(model, accelerator.device, self.precision.value)
        """The memory format, and why."""
        self.compiled = compiled(config, accelerator.device, len(split))
        """Whether torch.compile is used, and why."""
        self.threads: Choice[int] | None = None
        """How many compute on a CPU, and why."""
        if accelerator.device.type == "cpu":
            self.threads = threads()
            torch.set_num_threads(self.threads.value)
        self._batches = Batches(split, accelerator.device, self.memory_format.value)
        quicken(self.model)
        self._blueprint: Blueprint | None = None
        if accelerator.num_processes > 1:
            self._blueprint = Blueprint(self.model)
            share_batch(self.model)
        self._plain_objective = Objective(task, self.model)
        # for nothing but autocast Accelerate would load torch's sharded tensors, and sympy for them
        alone = accelerator.num_processes == 1 and not self.compiled.value
        if accelerator.is_fsdp2 or alone:  # elsewhere Accelerate does that
            autocast = accelerator.autocast()
            self._plain_objective.forward = autocast(self._plain_objective.forward)  # type: ignore[method-assign]
        if not accelerator.is_fsdp2:  # which takes contiguous weights alone
            arrange_weights(self.model, self.memory_format.value)
        self._plain_optimizer = make_optimizer(self.model, config, sharded=accelerator.is_fsdp2)
        if alone:
            self.objective = self._plain_objective
            self.optimizer = accelerator.prepare(self._plain_optimizer)
        else:
            self.objective, self.optimizer = accelerator.prepare(
                self._plain_objective, self._plain_optimizer
            )
        self.ema = PowerEma(self.model, config.ema, self._copy) if config.ema else None
        self.snapshot = BufferSnapshot(self.model)
        self.guard = Guard(config.max_bad_steps)
        self.window = Window()
        self.num_steps = 0
        """Steps done so far, bad ones included."""
        self.total_steps: int | None = None
        """Steps to do; None while a time budget is still being measured."""
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def reasons(self) -> list[tuple[str, str, str]]:
        """(what, value, why) of what was chosen for speed."""
        memory_format = str(self.memory_format.value).removeprefix("torch.").removesuffix("_format")
        reasons = [
            ("precision", *self.precision),
            ("memory format", memory_format, self.memory_format.reason),
            ("compilation", "yes" if self.compiled.value else "no", self.compiled.reason),
        ]
        if self.threads is not None:
            reasons.append(("threads", str(self.threads.value), self.threads.reason))
        return reasons

    @property
    def averaged_model(self) -> nn.Module:
        """What is evaluated, sampled and exported: the averaged weights, or the raw ones without
        an average. Where there are several processes, each gets whole weights, and all must ask
        for them together."""
        return self._plain(self.ema.model if self.ema else self.model)

    def step(self) -> dict[str, float]:
        """Do one step; returns loss, gradient norm, learning rate and the task's scalars, which are
        means over all processes. Where loss or gradient norm is not finite, nothing has changed."""
        rate = learning_rate(self.config, self.num_steps, self.total_steps)
        set_learning_rate(self.optimizer, rate)
        self.snapshot.take()
        loss, terms = self.objective(*self._inputs())
        self.accelerator.backward(loss)
        norm = self._clip()
        values = self._fetch({"loss": loss, "gradient_norm": whole(norm), **terms})
        values["learning_rate"] = rate

        good = math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])
        if good:
            self.optimizer.step()
            if self.ema:
                self.ema.update()
            self.window.add(values)
        else:
            self.snapshot.restore()
            if self.accelerator.scaler is not None:  # fp16: a smaller scale may be all it takes
                self.accelerator.scaler.update()
        self._plain_optimizer.zero_grad()  # Accelerate's looks up its signature at every step
        self.guard.count(good=good)
        self.num_steps += 1
        return values

    def diagnose_last_step(self, precision: str) -> str:
        """Run the step just done again and say where its first bad value arose.

        Each process looks at its part of the batch, on its own.
        """
        self.num_steps -= 1
        batch, noise = self._inputs()
        model = self._plain(self.model)

        def objective() -> tuple[Tensor, dict[str, Tensor]]:
            with self.accelerator.autocast():
                return self.task.loss(model, batch, noise)

        finding = diagnose(
            model,
            objective,
            batch.images,
            [self.split.names[index] for index in self._indices(self.num_steps).tolist()],
            precision=precision,
        )
        self.num_steps += 1
        self.snapshot.restore()
        return next(filter(None, gather_object([finding])), _DOES_NOT_REPEAT)

    def final_model(self) -> nn.Module:
        """A copy of the averaged model whose BatchNorms hold the training set's statistics."""
        model = copy.deepcopy(self.averaged_model)
        # in the order of an epoch: a folder lists class after class, and deeper layers see other
        # values where a batch is of one class; in nearly equal pieces of two and more: one sample
        # of one pixel would have no variance
        count, seed = len(self.split), self.config.seed
        order = torch.arange(count) if self.split.sequential else epoch_order(seed, 0, count)
        pieces = order.tensor_split(max(1, min(round(count / self.config.batch_size), count // 2)))
        numbers = range(len(pieces))[self.accelerator.process_index :: self._num_processes]
        batches = self._batches.each(pieces[number] for number in numbers)
        # those of a training's last step, whatever changes in its course
        last = self.num_steps if self.total_steps is None else self.total_steps
        seed = derive_seed("statistics", seed)
        noise = StepNoise(seed, last, self.config.batch_size, device=self.device)

        def forward(number: int, batch: "Batch") -> object:
            return self.task.loss(model, batch, noise.fork(number, len(batch.images)))

        exact_batchnorm_statistics(
            model,
            (partial(forward, *piece) for piece in zip(numbers, batches, strict=True)),
            gather=lambda moments: gather_object([moments]),
        )
        return model.eval()

    def noise(self, purpose: str) -> StepNoise:
        """Noise that does not depend on the step; `fork` it for each batch."""
        seed = derive_seed(purpose, self.config.seed)
        return StepNoise(seed, 0, self.config.batch_size, device=self.device)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint, on the main process; all must ask for them together."""
        averages = module_tensors(self.ema.model, "ema.") if self.ema else {}
        optimizer = optimizer_tensors(self._plain_optimizer, self.model)
        tensors = module_tensors(self.model, "model.") | averages | optimizer
        return gather(tensors, keep=self.accelerator.is_main_process)

    def state(self) -> dict[str, Any]:
        """The rest of a checkpoint."""
        scaler = self.accelerator.scaler
        return {
            "step": self.num_steps,
            "total_steps": self.total_steps,
            "average_updates": self.ema.updates if self.ema else 0,
            "bad_steps_in_a_row": self.guard.in_a_row,
            "skipped_steps": self.guard.skipped,
            "window": self.window.state(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load(self, checkpoint: Checkpoint, path: Path) -> None:
        """Continue exactly where a checkpoint was written.

        Raises:
            UserError: it belongs to another model.
        """
        load_module(self.model, checkpoint, "model.", path)
        load_optimizer(self._plain_optimizer, self.model, checkpoint, path)
        state = checkpoint.state
        if self.ema:
            load_module(self.ema.model, checkpoint, "ema.", path)
            self.ema.updates = state["average_updates"]
        self.guard.in_a_row = state["bad_steps_in_a_row"]
        self.guard.skipped = state["skipped_steps"]
        self.window = Window(state["window"])
        self.num_steps = state["step"]
        self.total_steps = state["total_steps"]
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def release(self) -> None:
        """Let go of the thread that reads, and of what wraps the model for several processes.

        This comes before their group ends.
        A DDP that outlives the group is the last to hold it, and ends it without letting go of the
        interpreter, for which gloo's threads may wait: a deadlock.
        """
        self._batches.close()
        if self._num_processes > 1:
            self.objective = self._plain_objective
            self.accelerator.free_memory()

    @property
    def _num_processes(self) -> int:
        return self.accelerator.num_processes

    def _plain(self, model: nn.Module) -> nn.Module:
        """The model, or on several processes one that looks at this process alone, of whole tensors
        and sharing memory where they were whole."""
        return self._blueprint.build(model, whole) if self._blueprint else model

    def _copy(self, model: nn.Module) -> nn.Module:
        """A copy, of which each process holds what it holds of the model."""
        return (
            self._blueprint.build(model, torch.clone) if self._blueprint else copy.deepcopy(model)
        )

    def _inputs(self) -> tuple["Batch", StepNoise]:
        """The batch and the noise of the step to come; dropout's generator is set for it, too."""
        seed, step, size = self.config.seed, self.num_steps, self.config.batch_size
        seed_step(seed, step, self.device)
        rank = self.accelerator.process_index
        noise = StepNoise(seed, step, size, rank, self._num_processes, self.device)
        return self._batches.step(step, self._indices, last=step + 1 == self.total_steps), noise

    def _indices(self, step: int) -> Tensor:
        """This process's part of the global batch of a step."""
        size = self.config.batch_size
        if self.split.sequential:
            indices = torch.arange(step * size, (step + 1) * size)
        else:
            indices = batch_indices(self.config.seed, step, len(self.split), size)
        return indices.chunk(self._num_processes)[self.accelerator.process_index]

    def _clip(self) -> Tensor:
        """Scale gradients down where their norm is too large; returns the norm."""
        largest = self.config.clip or math.inf
        if self.accelerator.is_fsdp2:
            return self.accelerator.clip_grad_norm_(self._parameters, largest)
        self.accelerator.unscale_gradients()  # of fp16
        return clip_gradients(self._parameters, largest)

    def _fetch(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Scalars from the device, all in one transfer: the one moment a step waits for it."""
        scalars = [value.detach().to(self.device, torch.float32) for value in values.values()]
        stacked = torch.stack(scalars)
        if self._num_processes > 1:
            stacked = self.accelerator.reduce(stacked, "mean")
        return dict(zip(values, stacked.tolist(), strict=True))


_DOES_NOT_REPEAT = "No bad value arises when the batch is run once more."
