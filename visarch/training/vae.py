"""Training a Gaussian VAE from the command line or from Python: settings, and the whole job.

Imports no torch before a training begins, so that flags are answered at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from visarch.errors import UserError
from visarch.models.config import VAEHyperparameters
from visarch.training.config import TrainConfig

if TYPE_CHECKING:
    from visarch.data import Data

DEFAULT_STEPS = 2000


@dataclass(frozen=True, kw_only=True)
class VAETrainConfig(TrainConfig):
    """Settings of `visarch train vae`; those of the model are the lecture's hyper-parameters."""

    batch_size: int = 64
    """Images per step, over all processes together."""
    decay: Literal["cosine", "inverse_sqrt", "constant"] = "inverse_sqrt"
    """How the learning rate falls after the warm-up; inverse_sqrt and constant do not depend on the
    length of the run, so that a finished run can be extended as if it had been longer."""
    image_size: tuple[int, ...] | None = None
    """Sides of the images, one number or one for each axis; inferred from the data by default."""
    image_channels: int | None = None
    """1 for gray, 3 for color; inferred from the data by default."""
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

    Returns:
        The exit code: 0, or that of the signal that stopped the training.

    Raises:
        UserError: data, settings or run folder do not fit.
        NonFiniteError: too many steps in a row were not finite.
    """
    import torch

    from visarch.data import open_data, to_unit
    from visarch.evaluation.vae import collapse_warning
    from visarch.models.config import VAEConfig
    from visarch.models.principal import MOST_IMAGES, can_start_linear, start_linear
    from visarch.models.vae import GaussianVAE
    from visarch.report import write_report
    from visarch.training.devices import check_devices, processes
    from visarch.training.loop import train
    from visarch.training.progress import is_main_process, reading
    from visarch.training.vae_task import VAETask

    check_devices(config, processes(config))  # before the data is read, which may take long
    size = config.image_size
    with reading() as progress:
        data = open_data(
            config.data,
            image_size=size[0] if size and len(size) == 1 else size,
            channels=config.image_channels,
            progress=progress,
        )
    hyperparameters = VAEConfig(image_shape=data.shape, **asdict(config.model))
    reasons = data.reasons  # they go into data.json and the report
    if config.model.patch_size == 0:
        grid = "×".join(map(str, hyperparameters.grid_shape[1:]))
        why = f"smallest power of two that leaves at most 64 positions: {grid}"
        reasons.append(("patch size", str(hyperparameters.patch_size), why))
    if (config.steps, config.epochs, config.time) == (None, None, None):
        config = replace(config, steps=DEFAULT_STEPS)
        why = "unless --steps, --epochs or --time says otherwise"
        reasons.append(("steps", str(DEFAULT_STEPS), why))
    starts_linear = config.initialization == "pca" and can_start_linear(hyperparameters)
    if config.initialization == "pca" and not starts_linear:
        numbers = data.shape[0] * hyperparameters.patch_size ** len(data.shape[1:])
        why = f"PCA needs --channels of at least {numbers}, one for each number in a patch"
        reasons.append(("initialization", "random", why))
    if is_main_process():
        _tell(data)

    torch.manual_seed(config.seed)
    model = GaussianVAE(hyperparameters)
    resumes = config.out and (Path(config.out) / "checkpoints" / "last.safetensors").exists()
    if starts_linear and not resumes:
        images = data.splits["train"].images
        some = images[:: max(1, len(images) // MOST_IMAGES)]
        dequantization = 1 / (12 * data.levels**2) if data.levels else 0.0
        start_linear(model, to_unit(some, data.levels), dequantization)
    result = train(VAETask(config, data.levels), model, data, config)
    if not is_main_process():
        return result.exit_code
    report = write_report(result.path)
    if result.exit_code or not result.metrics:
        return result.exit_code
    held_out = list(result.metrics.values())[-1]
    warning = collapse_warning(
        held_out["KL"], int(held_out["active units"]), hyperparameters.latent_dim
    )
    if warning:
        print(warning)
    print(f"Report: {report}")
    print(f"Next: visarch sample {result.path}, visarch evaluate {result.path}")
    return 0


def _tell(data: Data) -> None:
    """Say what was inferred and what was left out."""
    for name, value, why in data.reasons:
        print(f"{name}: {value} ({why})")
    for name, why in data.skipped[:5]:
        print(f"skipped {name}: {why}")
    if len(data.skipped) > 5:
        print(f"… and {len(data.skipped) - 5} more, all listed in the run's data.json")
