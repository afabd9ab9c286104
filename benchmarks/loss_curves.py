"""Whether what makes training fast changes how it goes: loss curves beside plain eager fp32.

    python benchmarks/loss_curves.py DATA STEPS [NETWORK …]

trains the networks of the notes (VAE, ResNet-50, U-Net: all or those named), each twice from the
same weights, on the same batches and noise: as ``visarch.prepare`` makes it, and as it is, in fp32.
It writes the mean losses of windows of 50 steps and their ratios to
``benchmarks/results/loss-curves.json``. To be reached: every ratio within 1 % of 1. Where one is
not, the network is trained once more in plain fp32 from weights that differ in their last digits,
which tells how much of it is chaos. Without dropout, whose masks the two would draw differently.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from visarch import Denoiser, GaussianVAE, ResNet, ResNetConfig, UNetConfig, VAEConfig, prepare
from visarch.bench.steps import OurStep
from visarch.data import Data, open_data
from visarch.training.classifier import ClassifierTrainConfig
from visarch.training.classifier_task import ClassifierTask
from visarch.training.config import TrainConfig
from visarch.training.diffusion import DiffusionTrainConfig
from visarch.training.diffusion_task import DiffusionTask
from visarch.training.environment import describe_environment
from visarch.training.task import Task
from visarch.training.vae import VAETrainConfig
from visarch.training.vae_task import VAETask

WINDOW, TOLERANCE = 50, 0.01
ENVIRONMENT = ("versions", "processor", "cores", "threads")
RESULTS = Path(__file__).parent / "results" / "loss-curves.json"

Candidate = tuple[str, TrainConfig, Task, nn.Module]


def candidates(data: Data) -> Iterator[Candidate]:
    """The networks with what they learn by."""
    assert data.classes is not None
    torch.manual_seed(0)
    vae = VAETrainConfig(data="", batch_size=64, device="cpu")
    yield "VAE", vae, VAETask(vae, data.levels), GaussianVAE(VAEConfig(image_shape=data.shape))

    classifier = ClassifierTrainConfig(
        data="",
        batch_size=16,
        optimizer="adamw",
        learning_rate=1e-4,
        weight_decay=0.05,
        crop=2,
        flip="yes",
        rotate=0.0,
        zoom=0.0,
        cutout=0,
    )
    resnet = ResNet(ResNetConfig(data.shape[0], len(data.classes)))
    yield "ResNet-50", classifier, ClassifierTask(classifier, data), resnet

    diffusion = DiffusionTrainConfig(
        data="",
        batch_size=4,
        learning_rate=1e-4,
        conditional="no",
        flip="no",
        sampling_steps=1,
        guidance=0,
    )
    unet = UNetConfig(in_channels=data.shape[0], dropout=0.0, attention="prenorm")
    yield "U-Net", diffusion, DiffusionTask(diffusion, data), Denoiser(unet)


def curve(
    candidate: Candidate, data: Data, steps: int, ready: Callable[[nn.Module], nn.Module]
) -> list[float]:
    """Mean losses of windows."""
    name, config, task, model = candidate
    step = OurStep(task, model, data.splits["train"], config, ready)
    losses = []
    for number in range(steps):
        losses.append(step())
        if (number + 1) % WINDOW == 0:
            print(f"{name} step {number + 1}: {fmean(losses[-WINDOW:]):.4f}", flush=True)
    return [fmean(losses[at : at + WINDOW]) for at in range(0, steps, WINDOW)]


def farthest(some: list[float], others: list[float]) -> float:
    return max(abs(one / other - 1) for one, other in zip(some, others, strict=True))


def nudge(model: nn.Module) -> nn.Module:
    """Change each weight by a ten-millionth of itself, or so."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 1e-7 * torch.randn_like(parameter))
    return model


def main() -> None:
    source, steps, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    data = open_data(source)
    environment = describe_environment(torch.device("cpu"), 1)
    found = json.loads(RESULTS.read_text("utf-8"))
    for candidate in candidates(data):
        if wanted and candidate[0] not in wanted:
            continue
        plain = curve(candidate, data, steps, lambda model: model)
        fast = curve(candidate, data, steps, prepare)
        found[candidate[0]] = {
            "command": f"python benchmarks/loss_curves.py {Path(source).name} {steps}",
            "environment": {key: environment[key] for key in ENVIRONMENT if key in environment},
            "window": WINDOW,
            "batch_size": candidate[1].batch_size,
            "plain": plain,
            "fast": fast,
            "worst": farthest(fast, plain),
        }
        if farthest(fast, plain) > TOLERANCE:
            nudged = curve(candidate, data, steps, nudge)
            found[candidate[0]] |= {"nudged": nudged, "chaos": farthest(nudged, plain)}
        print(candidate[0], found[candidate[0]], flush=True)
        RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
