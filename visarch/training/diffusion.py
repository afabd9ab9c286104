"""Training a diffusion model from the command line or from Python: settings, and the whole job.

Imports no torch before a training begins, so that flags are answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from visarch.errors import UserError
from visarch.models.config import UNetConfig
from visarch.training.config import TrainConfig

if TYPE_CHECKING:
    from visarch.data import Data
    from visarch.training.launch import Job
    from visarch.training.session import Result

SamplerName = Literal["ddpm", "ddim", "heun", "dpm++"]

_OF_THE_NOTE = ("widths", "num_blocks", "dropout", "context_dim")


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a U-Net is made of, whatever its images; what is not given is chosen with a reason."""

    widths: tuple[int, ...] | None = None
    """Channels of each level, from full resolution down; each level halves the sides."""
    num_blocks: int | None = None
    """Residual blocks of each level on the way down (one more on the way up)."""
    attends: tuple[bool, ...] | None = None
    """Which levels follow each residual block by attention; by default the lowest, or of the note's
    network the two lowest."""
    attention: Literal["literal", "residual", "prenorm"] | None = None
    """literal: Attn(x), the note's box; residual: x + Attn(x); prenorm: x + Attn(GroupNorm(x)), the
    default."""
    num_heads: int | None = None
    """K: attention heads; by default 1."""
    head_dim: int | None = None
    """d: size of a head; by default channels / K."""
    num_groups: int | None = None
    """G: groups of every GroupNorm; by default the most up to 32, or 8 of the small network, that
    divide all widths."""
    last_groups: int | None = None
    """Groups of the GroupNorm before the output; by default G, as everywhere."""
    dropout: float | None = None
    """Probability of dropping an input of a residual block's second convolution."""
    context_dim: int | None = None
    """Length of the context embedding u; a multiple of 8."""

    def __post_init__(self) -> None:
        if self.widths is not None and (not self.widths or min(self.widths) < 1):
            raise UserError(f"--widths is {self.widths}; it must be whole numbers above 0.")
        if self.widths and self.attends and len(self.widths) != len(self.attends):
            raise UserError(
                f"--widths has {len(self.widths)} numbers and --attends has {len(self.attends)}; "
                "give one for each level."
            )
        if self.context_dim is not None and (self.context_dim < 16 or self.context_dim % 8):
            raise UserError(
                f"--context-dim is {self.context_dim}; it must be a multiple of 8, at least 16."
            )


@dataclass(frozen=True, kw_only=True)
class DiffusionTrainConfig(TrainConfig):
    """Settings of `visarch train diffusion`."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {"model": {"num_blocks": 1, "dropout": 0.0, "context_dim": 128}},
        "unet": {"model": {name: getattr(UNetConfig, name) for name in _OF_THE_NOTE}},
    }
    preset: Literal["small", "unet"] | None = None
    """small: meant for a CPU, with as many levels as the images need; unet: the note's network.
    By default small on a CPU or where there are fewer than 10,000 images to learn from."""

    batch_size: int = 64
    """Images per step, over all processes together."""
    learning_rate: float | None = None  # type: ignore[assignment]
    """Peak learning rate, reached after the warm-up; by default that of the preset."""
    sample_every: int = 1000
    """Steps from one set of pictures to the next; 0 draws them only at the end."""
    evaluate_every: int = 1000
    """Steps from one evaluation on the validation images to the next; 0 evaluates only at the
    end."""

    prediction: Literal["epsilon", "x0", "v"] = "v"
    """What the network predicts: the noise ε, the image x, or v = α ε − σ x."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """How the noise grows with time; with more of it for images whose sides are above 64."""
    weighting: Literal["simple", "min_snr", "sigmoid", "elbo"] = "simple"
    """How the loss weighs times: simple, all alike for the error of what is predicted; min_snr and
    sigmoid, less where there is little noise; elbo, as the bound on the likelihood does."""
    learned_variance: bool = False
    """Learn the variance of ancestral steps as well: for few steps of --sampler ddpm, and bits."""
    conditional: Literal["auto", "yes", "no"] = "auto"
    """Whether to tell the network the labels and vectors of the images; auto does if there are."""
    label_dropout: float = 0.1
    """Probability of not telling the label of an image, which guidance needs."""
    flip: Literal["auto", "yes", "no"] = "auto"
    """Augmentation: half of the images are mirrored from left to right; auto goes by the data."""

    sampler: SamplerName = "dpm++"
    """What draws samples from the model, during training and later on."""
    sampling_steps: int | None = None
    """Its steps; by default for 20 evaluations of the network, or 250 steps for ddpm."""
    guidance: float | None = None
    """w of classifier-free guidance, (1 + w) · with label − w · without; by default 1 if there are
    labels. It doubles the evaluations; 0 leaves it out."""

    model: Network = field(default_factory=Network)
    """The network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("prediction", "schedule", "weighting", "conditional", "flip", "sampler"):
            self._check_choice(name)
        self._check("label_dropout", minimum=0, maximum=1)
        self._check("sampling_steps", minimum=1)
        self._check("guidance", minimum=-1)


def train_diffusion(config: DiffusionTrainConfig) -> int:
    """Open the data, make the model, train it, and leave a finished run folder with its report.

    Returns and raises as `visarch.training.launch.launch`.
    """
    from visarch.training.launch import launch

    return launch(config, _prepare)


def _prepare(config: DiffusionTrainConfig, data: Data) -> Job[DiffusionTrainConfig]:
    """The denoiser for these images, and for what is known of them."""
    import torch

    from visarch.models.unet import Denoiser
    from visarch.training.diffusion_defaults import settle, takes_labels, takes_vectors, unet_config
    from visarch.training.diffusion_task import DiffusionTask
    from visarch.training.launch import Job
    from visarch.training.resume import has_begun

    config = settle(config, data)
    torch.manual_seed(config.seed)
    model = Denoiser(
        unet_config(config, data),
        num_classes=len(data.classes or ()) if takes_labels(config, data) else None,
        vector_dim=len(data.vector_names or ()) if takes_vectors(config, data) else None,
    )

    def told(result: Result) -> list[str]:
        return [
            f"{split}: at most {values['bits/dim']:.3f} bits/dim"
            for split, values in result.metrics.items()
        ]

    return Job(
        config,
        DiffusionTask(config, data),
        model,
        anew=() if has_begun(config) else _of_other_things(config.init, data),
        afterwards=told,
        next_verbs=("sample", "evaluate"),
    )


def _of_other_things(source: str | None, data: Data) -> tuple[str, ...]:
    """The embeddings of classes and of vectors, unless the model to start from is known to have
    learned these."""
    from visarch.hub import load_beside
    from visarch.training.runfolder import TASK

    if source is None:
        return ()
    facts = load_beside(source, TASK)
    anew: tuple[str, ...] = ()
    if facts.get("classes") != list(data.classes or ()):
        anew += ("context.label.weight",)
    if facts.get("vector_names") != list(data.vector_names or ()):
        anew += ("context.vector.weight", "context.vector.bias")
    return anew
