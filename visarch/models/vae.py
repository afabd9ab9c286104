"""The convolutional Gaussian VAE (lecture, "Parameterizing the VAE").

    prior     z ~ N(0, I)
    decoder   x = g(z) + σ(z) η,           g = f_mean ∘ h ∘ f_in,  σ = f_var ∘ h ∘ f_in
    encoder   z = f(x) + Σ^{1/2}(x) ε,     f = f_mean ∘ h ∘ f_in,  Σ^{1/2} = f_var ∘ h ∘ f_in

with η and ε standard normal. Each h is a convnet of L residual blocks on a grid of C channels. With
``patch_size=1`` the grid is the image's own, as in the lecture; with p > 1 each p × p patch is one
position of the grid.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from visarch.blocks.convolution import Conv, TransConv, check_input, crop, pad_to_multiple
from visarch.blocks.residual import BottleneckBlock, ResidualBlock
from visarch.models.config import VAEConfig
from visarch.models.pretrained import Pretrained


@dataclass(frozen=True, eq=False)
class GaussianPosterior:
    """q(z | x) = N(z; μ, Σ): ``scale`` is Σ^{1/2}, as standard deviations or as a Cholesky factor.

    Shapes: mean (b, Z); scale (b, Z) for a diagonal Σ, or (b, Z, Z), lower triangular with a
    positive diagonal, for a full one. Samples and noise may carry more axes in front.

    Source: lecture, "Parameterizing the VAE: Encoder".
    """

    mean: Tensor
    scale: Tensor

    @property
    def is_full(self) -> bool:
        """Whether the covariance is a full matrix."""
        return self.scale.ndim == 3

    @property
    def variance(self) -> Float[Tensor, "b z"]:
        """The diagonal of Σ: the variance of each latent dimension on its own."""
        return self.scale.square().sum(2) if self.is_full else self.scale.square()

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """z = μ + Σ^{1/2} ε for the noise ε given, (…, b, Z), or one draw of it."""
        noise = torch.randn_like(self.mean) if noise is None else noise
        if self.is_full:
            return self.mean + torch.einsum("bij,...bj->...bi", self.scale, noise)
        return self.mean + self.scale * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log N(z; μ, Σ) = −½ ‖Σ^{-1/2}(z − μ)‖² − ½ log det Σ − Z/2 log 2π, in nats: (…, b)."""
        offset = z - self.mean
        if self.is_full:
            factor = self.scale.expand(*offset.shape[:-1], *self.scale.shape[-2:])
            offset = torch.linalg.solve_triangular(
                factor, offset.unsqueeze(-1), upper=False
            ).squeeze(-1)
        else:
            offset = offset / self.scale
        constant = self.mean.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (offset.square().sum(-1) + constant) - self._half_log_det()

    def kl(self) -> Float[Tensor, " b"]:
        """KL(q ‖ N(0, I)) = ½ (tr Σ + ‖μ‖² − Z − log det Σ), in nats for each image."""
        trace, distance = self.variance.sum(1), self.mean.square().sum(1)
        return 0.5 * (trace + distance - self.mean.shape[1]) - self._half_log_det()

    def kl_per_dimension(self) -> Float[Tensor, "b z"]:
        """KL(q(z_i | x) ‖ N(0, 1)) of each dimension's marginal, in nats.

        For a diagonal Σ they sum to :meth:`kl`; for a full one what is missing is the KL between q
        and the product of its marginals.
        """
        variance = self.variance
        return 0.5 * (variance + self.mean.square() - 1 - variance.log())

    def _half_log_det(self) -> Tensor:
        diagonal = self.scale.diagonal(dim1=-2, dim2=-1) if self.is_full else self.scale
        return diagonal.log().sum(-1)


torch.export.register_dataclass(
    GaussianPosterior, serialized_type_name="visarch.models.vae.GaussianPosterior"
)


class GaussianEncoder(nn.Module):
    """Encoder (lecture): f = f_mean ∘ h ∘ f_in and Σ^{1/2} = f_var ∘ h ∘ f_in.

    f_in is a convolution with window and stride p, h a convnet, f_mean and f_var are linear. The
    numbers that f_var gives are Σ^{1/2}'s logarithms where they must be positive: all of them for
    a diagonal Σ, those on the diagonal of the lower-triangular factor for a full one.

    Σ^{1/2} starts near ``initial_scale`` · I: well below the prior, so that what the latents say
    reaches the decoder from the first step on, instead of being drowned in noise.

    Shapes: (b, C_in, H, …) → posterior over (b, Z).

    Raises:
        ValueError: if the input has another shape than configured.

    Source: lecture, "Parameterizing the VAE: Encoder", with its own h (docs/maths.md).
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        latents, patch = config.latent_dim, config.patch_size
        grid = math.prod(config.grid_shape)
        self.f_in = Conv(
            config.image_shape[0], config.channels, patch, stride=patch, ndim=config.ndim
        )
        self.h = _convnet(config)
        self.f_mean = nn.Linear(grid, latents)
        nn.init.orthogonal_(self.f_mean.weight)
        num_scales = latents if config.covariance == "diagonal" else latents * (latents + 1) // 2
        self.f_var = nn.Linear(grid, num_scales)
        nn.init.normal_(self.f_var.weight, std=0.1 / math.sqrt(grid * latents))
        self.start_scale(torch.full((latents,), math.log(config.initial_scale)))

    @torch.no_grad()
    def start_scale(self, log_scale: Float[Tensor, " z"]) -> None:
        """Let Σ^{1/2} start from a diagonal matrix with these logarithms on its diagonal."""
        full = self.config.covariance == "full"
        self.f_var.bias.copy_(_tril(log_scale.diag()) if full else log_scale)

    def forward(self, x: Float[Tensor, "b c *spatial"]) -> GaussianPosterior:
        config = self.config
        check_input("GaussianEncoder", x, config.image_shape[0], config.ndim)
        if x.shape[1:] != config.image_shape:
            raise ValueError(
                f"GaussianEncoder was given images of shape {tuple(x.shape[1:])}: "
                f"this one takes {config.image_shape}"
            )
        grid = self.h(self.f_in(pad_to_multiple(x, config.patch_size))).flatten(1)
        mean, scales = _precise(self.f_mean, grid), _precise(self.f_var, grid)
        if config.covariance == "diagonal":
            return GaussianPosterior(mean, scales.exp())
        return GaussianPosterior(mean, _cholesky_factor(scales, config.latent_dim))


class GaussianDecoder(nn.Module):
    """Decoder (lecture): g = f_mean ∘ h ∘ f_in and σ = f_var ∘ h ∘ f_in, or just a constant.

    f_in is linear from z to the grid, h a convnet, f_mean a transposed convolution with window and
    stride p (for p = 1 the lecture's 1×1 convolution). log σ is a constant, a learned number, or
    linear in the grid.

    Shapes: z (b, Z) → mean (b, C_in, H, …) and σ (b, 1, 1, …).

    Raises:
        ValueError: if z has another length than configured.

    Source: lecture, "Parameterizing the VAE: Decoder".
    """

    log_sigma: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        channels, patch = config.image_shape[0], config.patch_size
        grid = math.prod(config.grid_shape)
        self.f_in = nn.Linear(config.latent_dim, grid)
        nn.init.orthogonal_(self.f_in.weight)
        self.h = _convnet(config)
        self.f_mean = TransConv(config.channels, channels, patch, stride=patch, ndim=config.ndim)
        if config.sigma == "predicted":
            self.f_var = nn.Linear(grid, 1)
            nn.init.zeros_(self.f_var.weight)
        elif config.sigma == "learned":
            self.log_sigma = nn.Parameter(torch.empty(()))
        else:
            self.register_buffer("log_sigma", torch.empty(()))
        self.start_sigma(math.log(config.initial_sigma))

    @torch.no_grad()
    def start_sigma(self, log_sigma: float) -> None:
        """Let σ start from this logarithm, whatever the image."""
        owner = self.f_var.bias if self.config.sigma == "predicted" else self.log_sigma
        owner.fill_(log_sigma)

    def forward(
        self, z: Float[Tensor, "b z"]
    ) -> tuple[Float[Tensor, "b c *spatial"], Float[Tensor, "b 1 *ones"]]:
        config = self.config
        check_latents(z, config)
        grid = self.h(self.f_in(z).view(-1, *config.grid_shape))
        mean = crop(self.f_mean(grid), config.image_shape[1:])
        if config.sigma == "predicted":
            log_sigma = _precise(self.f_var, grid.flatten(1))
        else:
            log_sigma = self.log_sigma.expand(z.shape[0], 1)
        return mean, log_sigma.exp().view(-1, *(1,) * len(config.image_shape))


class GaussianVAE(nn.Module, Pretrained):
    """The Gaussian VAE (lecture): a decoder of latent vectors and an encoder that inverts it.

    Called with images, it encodes, draws z = f(x) + Σ^{1/2}(x) ε with the noise given (without
    noise: z = f(x)), and decodes.

    Shapes: x (b, C, H, …), noise (b, Z) → mean (b, C, H, …), σ (b, 1, 1, …), posterior.

    Raises:
        ValueError: as :class:`GaussianEncoder` and :class:`GaussianDecoder`.

    Source: lecture, "Recap: The Gaussian VAE".
    """

    def __init__(self, config: VAEConfig = VAEConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = GaussianEncoder(config)
        self.decoder = GaussianDecoder(config)

    def encode(self, x: Float[Tensor, "b c *spatial"]) -> GaussianPosterior:
        """q(z | x), the approximate posterior of each image."""
        return self.encoder(x)

    def decode(
        self, z: Float[Tensor, "b z"]
    ) -> tuple[Float[Tensor, "b c *spatial"], Float[Tensor, "b 1 *ones"]]:
        """Mean g(z) and standard deviation σ(z) of p(x | z); σ broadcasts over the image."""
        return self.decoder(z)

    def forward(
        self, x: Float[Tensor, "b c *spatial"], noise: Float[Tensor, "b z"] | None = None
    ) -> tuple[Float[Tensor, "b c *spatial"], Float[Tensor, "b 1 *ones"], GaussianPosterior]:
        posterior = self.encode(x)
        if noise is not None and noise.shape != posterior.mean.shape:
            raise ValueError(
                f"GaussianVAE was given noise of shape {tuple(noise.shape)}: for these images it "
                f"must be {tuple(posterior.mean.shape)}"
            )
        z = posterior.mean if noise is None else posterior.sample(noise)
        mean, sigma = self.decode(z)
        return mean, sigma, posterior


def check_latents(z: Tensor, config: VAEConfig) -> None:
    """Refuse what no decoder of this configuration takes."""
    if z.ndim != 2 or z.shape[1] != config.latent_dim:
        raise ValueError(
            f"GaussianDecoder was given latents of shape {tuple(z.shape)}: "
            f"this one takes (batch, {config.latent_dim})"
        )


_SMALL = 0.02


def _convnet(config: VAEConfig) -> nn.Sequential:
    """h: L residual or bottleneck blocks that keep the grid's shape.

    The γ before each shortcut starts small: an untrained h is close to ReLU, and the VAE close to
    a linear one, from where it learns much faster.
    """
    blocks: list[nn.Module] = []
    for _ in range(config.depth):
        block: ResidualBlock | BottleneckBlock
        if config.block == "residual":
            block = ResidualBlock(
                config.channels,
                kernel_size=config.kernel_size,
                dropout=config.dropout,
                ndim=config.ndim,
            )
            last = block.norm2
        else:
            block = BottleneckBlock(
                config.channels,
                config.inner_channels,
                kernel_size=config.kernel_size,
                dropout=config.dropout,
                ndim=config.ndim,
            )
            last = block.norm3
        nn.init.constant_(last.weight, _SMALL)
        blocks.append(block)
    return nn.Sequential(*blocks)


def _precise(linear: nn.Linear, x: Float[Tensor, "b n"]) -> Float[Tensor, "b m"]:
    """A linear layer in its weights' own precision: a logarithm with the 8 bits of autocast's bf16
    would be off by a hundredth, which counts once for each pixel."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device):  # as on the meta device, of shapes alone
        return linear(x)
    with torch.autocast(device, enabled=False):
        return linear(x.to(linear.weight.dtype))


def _cholesky_factor(entries: Float[Tensor, "b n"], size: int) -> Float[Tensor, "b z z"]:
    """The lower-triangular matrix with these entries row by row, exp taken on its diagonal."""
    row, column = torch.tril_indices(size, size, device=entries.device)  # the order of _tril
    factor = entries.new_zeros(entries.shape[0], size, size)
    factor[:, row, column] = entries
    return factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=1, dim2=2).exp())


def _tril(matrix: Float[Tensor, "z z"]) -> Float[Tensor, " n"]:
    """The entries of a matrix on and below its diagonal, row by row."""
    row, column = torch.tril_indices(*matrix.shape)
    return matrix[row, column]
