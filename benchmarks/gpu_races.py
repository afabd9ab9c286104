"""Training steps and sampling on a GPU, beside peers there.

Peers are given what a careful user gives them: bf16 by autocast, channels_last, fused Adam, images
that lie on the GPU; and torch.compile in a race of its own. Ours is a step as the trainer does it:
``prepare``, one CUDA graph for forward, backward, clipping, update and average, and one number read
back. Networks have the same weights, and their outputs are compared first.
"""

import copy
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from visarch.bench.harness import Contender, Race, Work, run
from visarch.bench.peers import huggingface, labml
from visarch.bench.result import race_record, record
from visarch.bench.steps import digits, in_eval
from visarch.data import Data, to_unit
from visarch.errors import UserError
from visarch.inference.diffusion import sample
from visarch.inference.recipe import EVALUATIONS, Recipe
from visarch.models.config import ResNetConfig, UNetConfig
from visarch.models.resnet import ResNet
from visarch.performance.capture import CapturedStep, update_if_finite
from visarch.performance.choices import arrange
from visarch.performance.preparation import prepare
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.classifier_task import ClassifierTask
from visarch.training.config import TrainConfig
from visarch.training.diffusion import DiffusionTrainConfig
from visarch.training.diffusion_task import DiffusionTask
from visarch.training.randomness import StepNoise
from visarch.training.task import Task

TOLERANCE = 0.05
"""How far outputs in bf16 may differ from each other."""
EAGER, COMPILED, SHARE = 2.0, 1.25, 0.35
"""What is to be reached: against eager peers, compiled ones, and of the rate of bf16."""
MATRIX = 8192
Loss = Callable[[Tensor, Tensor], Tensor]
"""Of images on the unit scale and their labels."""


class DeviceNoise(StepNoise):
    """A step's noise drawn on the device, by the generator that a graph knows how to go on with."""

    def _draw(self, shape, fill, *arguments, dtype=torch.float32):  # type: ignore[no-untyped-def]
        values = torch.empty(self.batch_size, *shape, dtype=dtype, device=self.device)
        return fill(values, *arguments)


class OurStep:
    """A training step as one graph; calling it does one and waits for its loss."""

    def __init__(
        self, task: Task, model: nn.Module, data: Data, config: TrainConfig, device: torch.device
    ) -> None:
        model = copy.deepcopy(model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = prepare(model.train(), training=True)
        self.task, self.config, self.device = task, config, device
        self.split = data.splits["train"].to(device)
        self.rate = torch.tensor(config.learning_rate, device=device)
        self.share = torch.tensor(1e-3, device=device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), self.rate, weight_decay=0.0, fused=True, capturable=True
        )
        self.averages = {weight: weight.detach().clone() for weight in self.model.parameters()}
        self.step = CapturedStep(self._compute, device)

    def __call__(self) -> float:
        loss = self.step(rate=self.rate, share=self.share)["loss"].item()
        captured, reason = self.step.captures
        if not captured and self.device.type == "cuda":
            raise UserError(f"Ours is to be measured as one CUDA graph; {reason}.")
        return loss

    def _compute(self, rate: Tensor, share: Tensor) -> dict[str, Tensor]:
        size = self.config.batch_size
        batch = self.split.read(torch.randint(len(self.split), (size,), device=self.device))
        batch.images = arrange(batch.images, torch.channels_last)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss, _ = self.task.loss(self.model, batch, DeviceNoise(0, 0, size, device=self.device))
        loss.backward()
        norm, good = update_if_finite(
            self.optimizer, loss.detach(), self.averages, share, clip=self.config.clip or 1.0
        )
        return {"loss": loss.detach(), "norm": norm, "good": good}


class TheirStep:
    """A training step as users of torch write it, with the images on the device already."""

    def __init__(
        self, network: nn.Module, loss: Loss, data: Data, config: TrainConfig, device: torch.device
    ) -> None:
        train = data.splits["train"]
        assert isinstance(train.images, Tensor)
        assert train.labels is not None
        self.network, self.loss, self.config, self.device = network, loss, config, device
        images = to_unit(train.images.to(device), data.levels)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = train.labels.to(device)
        self.optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.999))

    def __call__(self) -> float:
        chosen = torch.randint(len(self.images), (self.config.batch_size,), device=self.device)
        images = self.images[chosen].contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = self.loss(images, self.labels[chosen])
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip or 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return loss.item()


def on(network: nn.Module, device: torch.device) -> nn.Module:
    """A peer on the device, as it trains there."""
    return network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]


def training_race(
    title: str,
    ours: Callable[[], Work],
    theirs: Callable[[bool], Work],
    batch_size: int,
    name: str,
) -> Race:
    peers = [
        Contender(
            f"{name}, {kind}",
            lambda compiled=compiled: theirs(compiled),  # type: ignore[misc]
            "bf16 by autocast, channels_last, fused Adam, images on the GPU",
            tolerance=TOLERANCE,
            bar=bar,
        )
        for kind, compiled, bar in (("eager", False, EAGER), ("compiled", True, COMPILED))
    ]
    note = "prepare, one CUDA graph, fused AdamW, average"
    return Race(title, Contender("visarch", ours, note), peers, count=batch_size)


def unet_races(device: torch.device) -> Iterator[tuple[Race, nn.Module]]:
    """The note's U-Net beside labml.ai's, each with the other's weights."""
    config = UNetConfig(attention="residual")
    data = digits(side=32, channels=config.in_channels)
    plain = labml.like_labml(config).eval()
    x, t = torch.randn(4, *data.shape, device=device), torch.rand(4, device=device)
    for batch_size in (128, 256):
        settings = DiffusionTrainConfig(
            data="digits",
            batch_size=batch_size,
            learning_rate=2e-5,
            prediction="epsilon",
            conditional="no",
            flip="no",
            sampling_steps=1,
            guidance=0,
        )

        def ours(settings: DiffusionTrainConfig = settings) -> Work:
            step = OurStep(DiffusionTask(settings, data), plain, data, settings, device)
            return Work(step, lambda: in_eval(step.model, x, t).float())

        def theirs(compiled: bool, settings: DiffusionTrainConfig = settings) -> Work:
            network = on(labml.unet(plain), device)
            called = torch.compile(network) if compiled else network
            loss = _ddpm(called, device).loss
            step = TheirStep(network, lambda images, _: loss(images), data, settings, device)
            return Work(step, lambda: _answer(network, x, labml.NUM_STEPS * t))

        title = f"U-Net training, batch {batch_size}"
        yield training_race(title, ours, theirs, batch_size, "labml.ai"), plain


def resnet_races(device: torch.device) -> Iterator[tuple[Race, nn.Module]]:
    """ResNet-50 on small images beside transformers'."""
    batch_size = 512
    plain = ResNet(ResNetConfig(num_classes=10)).eval()
    data = digits(side=32, channels=3)
    x = torch.rand(4, *data.shape, device=device)
    settings = ClassifierTrainConfig(
        data="digits",
        batch_size=batch_size,
        optimizer="adamw",
        learning_rate=5e-5,
        weight_decay=0.0,
        label_smoothing=0.0,
        crop=0,
        flip="no",
        rotate=0.0,
        zoom=0.0,
        cutout=0,
    )

    def ours() -> Work:
        step = OurStep(ClassifierTask(settings, data), plain, data, settings, device)
        return Work(step, lambda: in_eval(step.model, x).float())

    def theirs(compiled: bool) -> Work:
        network = on(huggingface.resnet(plain), device)
        called = torch.compile(network) if compiled else network
        step = TheirStep(
            network, lambda images, y: called(images, labels=y).loss, data, settings, device
        )
        return Work(step, lambda: _answer(lambda x: network(x).logits, x, of=network))

    title = f"ResNet-50 training, batch {batch_size}"
    yield training_race(title, ours, theirs, batch_size, "transformers"), plain


def sampling_races(device: torch.device) -> Iterator[tuple[Race, nn.Module]]:
    """64 images in the steps that ours takes by default, beside labml.ai's sampler of 1,000."""
    config, count = UNetConfig(attention="residual"), 64
    plain = labml.like_labml(config).eval().to(device)
    shape = (config.in_channels, 32, 32)
    recipe = Recipe(
        prediction="epsilon",
        schedule="linear",
        shift=0.0,
        weighting="simple",
        sampler="dpm++",
        steps=EVALUATIONS,
        guidance=0.0,
    )

    def ours() -> Work:
        fast = plain.optimize_for_inference()
        return Work(lambda: sample(fast, recipe, shape, range(count), 0))

    def theirs(compiled: bool) -> Work:
        network = on(labml.unet(plain), device).eval()
        ddpm = _ddpm(torch.compile(network) if compiled else network, device)
        x = torch.randn(count, *shape, device=device)
        t = torch.full((count,), labml.NUM_STEPS // 2, device=device)

        @torch.no_grad()
        def one_step() -> float:
            with torch.autocast(device.type, torch.bfloat16):
                return ddpm.p_sample(x, t).sum().item()

        return Work(one_step)

    peers = [
        Contender(
            f"labml.ai's sampler, {kind}",
            lambda compiled=compiled: theirs(compiled),  # type: ignore[misc]
            f"bf16; timed on one of its {labml.NUM_STEPS:,} steps, which are alike",
            repeats=labml.NUM_STEPS,
        )
        for kind, compiled in (("eager", False), ("compiled", True))
    ]
    ours_note = f"{recipe.sampler} in {recipe.steps} steps, at random weights"
    yield Race("64 images", Contender("visarch", ours, ours_note), peers, count=count), plain


def matrix_rate(device: torch.device, side: int = MATRIX) -> float:
    """Floating-point operations per second of a product of two bf16 matrices."""
    from triton.testing import do_bench

    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / (1e-3 * do_bench(lambda: a @ b, return_mode="median"))


def operations(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of an image's step: convolutions and matrix products, with their
    gradients."""
    model = copy.deepcopy(model).to("meta").train()
    inputs = [torch.empty(2, *shape, device="meta")]
    if not isinstance(model, ResNet):
        inputs.append(torch.empty(2, device="meta"))
    with FlopCounterMode(display=False) as counter:
        model(*inputs).sum().backward()
    return counter.get_total_flops() // 2


def measured(
    name: str, races: Iterator[tuple[Race, nn.Module]], device: torch.device, seconds: float
) -> dict[str, Any]:
    """Run races; what was found, with the share of the rate of bf16 where they train."""
    found, shares = [], {}
    rate = matrix_rate(device)
    for race, model in races:
        outcome = run(race, seconds=seconds)
        found.append(race_record(outcome))
        print(race.title)
        for lap in (outcome.ours, *outcome.peers):
            print(f"  {race.count / lap.seconds.median:12.1f} images/s  {lap.contender.name}")
        for lap in outcome.peers:
            ratio, bar = outcome.ratio(lap), lap.contender.bar
            wanted = f", to reach {bar:g}" if bar else ""
            print(f"  {ratio.median:6.2f}× [{ratio.low:.2f}, {ratio.high:.2f}]{wanted}")
        if "training" in race.title:
            done = race.count * operations(model, (3, 32, 32)) / outcome.ours.seconds.median
            shares[race.title] = done / rate
            print(f"  {done / rate:.0%} of {rate / 1e12:.0f} TFLOP/s, to reach {SHARE:.0%}")
    return record(name, found, ("transformers", "labml-nn")) | {
        "command": shlex.join(["python", *sys.argv]),
        "device": torch.cuda.get_device_name(device),
        "matrix_rate": rate,
        "share_of_matrix_rate": shares,
    }


def _ddpm(network: nn.Module, device: torch.device) -> Any:
    from labml_nn.diffusion.ddpm import DenoiseDiffusion

    return DenoiseDiffusion(network, labml.NUM_STEPS, device)


def _answer(network: Callable[..., Tensor], *inputs: Tensor, of: nn.Module | None = None) -> Tensor:
    """What a peer makes of inputs in eval mode, as it computes in training."""
    module = of if of is not None else network
    assert isinstance(module, nn.Module)
    module.eval()
    with torch.no_grad(), torch.autocast(inputs[0].device.type, torch.bfloat16):
        output = network(*inputs).float()
    module.train()
    return output
