"""Training a classifier from the command line or from Python: settings, and the whole job.

Imports no torch before a training begins, so that flags are answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_type_hints

from visarch.errors import UserError
from visarch.training.config import TrainConfig, spelled

if TYPE_CHECKING:
    from visarch.data import Data
    from visarch.training.launch import Job
    from visarch.training.session import Result


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a ResNet is made of, whatever its images; what is not given is chosen with a reason."""

    block: Literal["bottleneck", "residual"] | None = None
    """ResBlockRes (C → C' → C' → 4C'), or the lecture's two-convolution block."""
    depths: tuple[int, ...] | None = None
    """B: blocks in each stack."""
    widths: tuple[int, ...] | None = None
    """C': channels inside the blocks of each stack."""
    stem: Literal["small", "large"] | None = None
    """First layer: small, a 3×3 convolution; large, 7×7 and max-pool, for sides above 64."""
    dropout: float = 0.0
    """Probability of dropping a feature before the last layer."""

    def __post_init__(self) -> None:
        for name in ("depths", "widths"):
            numbers = getattr(self, name)
            if numbers is not None and (not numbers or min(numbers) < 1):
                raise UserError(f"--{name} is {numbers}; it must be whole numbers above 0.")
        if self.depths and self.widths and len(self.depths) != len(self.widths):
            raise UserError(
                f"--depths {spelled(self.depths)} and --widths {spelled(self.widths)} must be as "
                "many, one for each stack. If only one was given, the other is that of the preset, "
                "or of the network to start from: give both."
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"--dropout is {self.dropout}; it must be at least 0 and below 1.")


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainConfig(TrainConfig):
    """Settings of `visarch train classifier`."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet50": {
            "model": {
                "block": "bottleneck",
                "depths": (3, 4, 6, 3),
                "widths": (64, 128, 256, 512),
            },
        },
        "small": {
            "model": {"block": "residual", "depths": (1, 1, 2, 2), "widths": (32, 64, 128, 256)},
        },
    }
    preset: Literal["resnet50", "small"] | None = None
    """resnet50: the note's network; small: six blocks of two convolutions, meant for a CPU. By
    default small on a CPU, resnet50 elsewhere."""

    optimizer: Literal["adamw", "sgd"] = "sgd"
    """SGD with Nesterov momentum 0.9, or AdamW."""
    learning_rate: float | None = None  # type: ignore[assignment]
    """Peak learning rate, reached after the warm-up; by default for optimizer and batch size."""
    weight_decay: float | None = None  # type: ignore[assignment]
    """l2 penalty (SGD) or decoupled decay (AdamW) of weight matrices and kernels; never of biases
    and norms. By default 5e-4 and 0.05."""
    clip: float | None = None  # type: ignore[assignment]
    """Largest gradient norm; larger gradients are scaled down to it. 0 never clips: the default
    for SGD; for AdamW it is 1."""
    label_smoothing: float = 0.1
    """ε: share of each target that is spread over all classes."""
    sample_every: int = 1000
    """Steps from one set of pictures to the next; 0 draws them only at the end."""
    evaluate_every: int = 1000
    """Steps from one evaluation on the validation images to the next; 0 evaluates only at the
    end."""

    crop: int | None = None
    """Augmentation: images are moved by up to so many pixels each way; by default an eighth of the
    side for photographs, less for others."""
    flip: Literal["auto", "yes", "no"] = "auto"
    """Augmentation: half of the images are mirrored from left to right; auto goes by the data."""
    small_first: float | None = None
    """Share of the training, its beginning, in which images are seen at three quarters of their
    side, which takes little more than half the time; by default 0.65 for many photographs in the
    small network, unless it trains for a time."""
    rotate: float | None = None
    """Augmentation: images are turned by up to so many degrees each way; by default 10 for
    characters."""
    zoom: float | None = None
    """Augmentation: images are enlarged or reduced by up to this share; by default 0.1 for
    characters."""
    cutout: int | None = None
    """Augmentation: side of a square that is hidden in each image; by default a quarter of the side
    where photographs are few."""
    randaugment: int = 0
    """Augmentation: so many of RandAugment's 14 operations on each image."""
    magnitude: float | None = None
    """Strength of RandAugment's operations, from 0 to 10; by default 5."""
    mixup: float = 0.0
    """Augmentation: pairs of images are mixed, by shares drawn from Beta(α, α) with this α."""

    model: Network = field(default_factory=Network)
    """The network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flip not in get_args(get_type_hints(type(self))["flip"]):
            raise UserError(f"--flip is {self.flip!r}; it must be one of auto, yes, no.")
        for name in ("crop", "rotate", "cutout", "randaugment", "mixup"):
            self._check(name, minimum=0)
        self._check("label_smoothing", minimum=0, maximum=0.99)
        self._check("zoom", minimum=0, maximum=0.9)
        self._check("small_first", minimum=0, maximum=1)
        self._check("magnitude", minimum=0, maximum=10)
        if self.magnitude is not None and not self.randaugment:
            raise UserError(
                f"--magnitude {self.magnitude:g} is that of RandAugment's operations: add "
                "--randaugment 2, or leave it out."
            )


def train_classifier(config: ClassifierTrainConfig) -> int:
    """Open the data, make the model, train it, and leave a finished run folder with its report.

    Returns and raises as `visarch.training.launch.launch`.
    """
    from visarch.training.launch import launch

    return launch(config, _prepare)


def _prepare(config: ClassifierTrainConfig, data: Data) -> Job[ClassifierTrainConfig]:
    """The ResNet for these images and classes."""
    import torch

    from visarch.models.config import ResNetConfig
    from visarch.models.resnet import ResNet
    from visarch.training.classifier_defaults import check_classes, settle
    from visarch.training.classifier_task import ClassifierTask
    from visarch.training.launch import Job
    from visarch.training.resume import has_begun

    classes = check_classes(data)
    config = settle(config, data)
    network = config.model
    assert network.block is not None
    assert network.depths is not None
    assert network.widths is not None
    assert network.stem is not None
    torch.manual_seed(config.seed)
    model = ResNet(
        ResNetConfig(
            data.shape[0],
            len(classes),
            block=network.block,
            depths=network.depths,
            widths=network.widths,
            stem=network.stem,
            dropout=network.dropout,
            ndim=len(data.shape) - 1,  # type: ignore[arg-type]
        )
    )

    def told(result: Result) -> list[str]:
        return [
            _accuracy(split, metrics["accuracy"], len(data.splits[split]))
            for split, metrics in result.metrics.items()
            if metrics
        ]

    return Job(
        config,
        ClassifierTask(config, data),
        model,
        anew=() if has_begun(config) else _of_other_classes(config.init, classes),
        afterwards=told,
        next_verbs=("evaluate", "predict"),
    )


def _of_other_classes(source: str | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The last layer, unless the model to start from is known to have learned these classes."""
    from visarch.hub import load_beside
    from visarch.training.runfolder import TASK

    if source is None or load_beside(source, TASK).get("classes") == list(classes):
        return ()
    return "classifier.weight", "classifier.bias"


def _accuracy(split: str, accuracy: float, count: int) -> str:
    """An accuracy with its interval, as a sentence."""
    import torch

    from visarch.evaluation.intervals import wilson_interval

    low, high = wilson_interval(torch.tensor(round(accuracy * count)), torch.tensor(count))
    return (
        f"{split}: {accuracy:.2%} of {count:,} images are classified correctly (95 % interval "
        f"{float(low):.2%} to {float(high):.2%})"
    )
