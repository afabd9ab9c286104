"""Training a Gaussian VAE from the command line or from Python: settings, and the whole job.

Imports no torch before a training begins, so that flags are answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from visarch.errors import UserError
from visarch.models.config import VAEHyperparameters
from visarch.training.config import TrainConfig

if TYPE_CHECKING:
    from visarch.data import Data
    from visarch.training.launch import Job
    from visarch.training.session import Result

DEFAULT_STEPS = 2000


@dataclass(frozen=True, kw_only=True)
class VAETrainConfig(TrainConfig):
    """Settings of `visarch train vae`; those of the model are the lecture's hyper-parameters."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "literal": {"model": {"patch_size": 1}},
    }
    preset: Literal["literal"] | None = None
    """literal: the lecture's 1×1 f_in at full resolution; --channels 16 --depth 1 beside it keep it
    affordable."""
    batch_size: int = 64
    """Images per step, over all processes together."""
    decay: Literal["cosine", "inverse_sqrt", "constant"] = "inverse_sqrt"
    """How the learning rate falls after the warm-up; inverse_sqrt and constant do not depend on the
    length of the run, so that a finished run can be extended as if it had been longer."""
    shift: int = 1
    """Augmentation: training images are moved by up to so many pixels each way; 0 leaves them."""
    initialization: Literal["pca", "random"] = "pca"
    """Where the weights start: at the probabilistic PCA of the images, the best linear VAE, or at
    random values."""
    kl_warmup_steps: int = 0
    """Steps over which the weight of the KL rises to 1; more of them if the posterior collapses."""
    model: VAEHyperparameters = field(default_factory=VAEHyperparameters)
    """The network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shift", "kl_warmup_steps"):
            self._check(name, minimum=0)
        self._check_start()

    def _check_start(self) -> None:
        """PCA settles where σ and the posterior start: what it would overrule is refused."""
        overruled = ["initial_scale"]
        if self.model.sigma != "constant":
            overruled.append("initial_sigma")
        for name in overruled:
            value = getattr(self.model, name)
            if self.initialization == "pca" and value != getattr(VAEHyperparameters, name):
                raise UserError(
                    f"--{name.replace('_', '-')} is {value}, but starting at PCA settles it: add "
                    "--initialization random, or leave it out."
                )


def train_vae(config: VAETrainConfig) -> int:
    """Open the data, make the model, train it, and leave a finished run folder with its report.

    Returns and raises as `visarch.training.launch.launch`.
    """
    from visarch.training.launch import launch

    return launch(config, _prepare)


def _prepare(config: VAETrainConfig, data: Data) -> Job[VAETrainConfig]:
    """The VAE for images of this shape, and what starting at PCA needs."""
    import torch

    from visarch.data import to_unit
    from visarch.evaluation.vae import collapse_warning
    from visarch.models.config import VAEConfig
    from visarch.models.principal import MOST_IMAGES, can_start_linear, start_linear
    from visarch.models.vae import GaussianVAE
    from visarch.training.launch import Job, with_length
    from visarch.training.vae_task import VAETask

    hyperparameters = VAEConfig(image_shape=data.shape, **asdict(config.model))
    reasons = data.reasons
    if config.model.patch_size == 0:
        grid = "×".join(map(str, hyperparameters.grid_shape[1:]))
        why = f"smallest power of two that leaves at most 64 positions: {grid}"
        reasons.append(("patch size", str(hyperparameters.patch_size), why))
    config = with_length(config, data, DEFAULT_STEPS)
    starts_linear = config.initialization == "pca" and can_start_linear(hyperparameters)
    if config.initialization == "pca" and not starts_linear:
        numbers = data.shape[0] * hyperparameters.patch_size ** len(data.shape[1:])
        why = f"PCA needs --channels of at least {numbers}, one for each number in a patch"
        reasons.append(("initialization", "random", why))

    torch.manual_seed(config.seed)
    model = GaussianVAE(hyperparameters)

    def start() -> None:
        train = data.splits["train"]
        some = torch.arange(len(train))[:: max(1, len(train) // MOST_IMAGES)]
        dequantization = 1 / (12 * data.levels**2) if data.levels else 0.0
        start_linear(model, to_unit(train.read(some).images, data.levels), dequantization)

    def collapsed(result: Result) -> list[str]:
        held_out = list(result.metrics.values())[-1]
        kl, active = held_out["KL"], int(held_out["active units"])
        warning = collapse_warning(kl, active, hyperparameters.latent_dim)
        return [warning] if warning else []

    return Job(
        config,
        VAETask(config, data.levels),
        model,
        start=start if starts_linear else None,
        afterwards=collapsed,
        next_verbs=("sample", "evaluate"),
    )
