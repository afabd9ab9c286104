"""Samplers of a diffusion model, as plain functions of a callable: from noise to images.

    estimate = denoiser(network, cosine, "v", limit=clip)
    times = log_snr_times(20, cosine)
    with torch.no_grad():
        x = dpm_solver_pp(estimate, torch.randn(64, 3, 32, 32), times, cosine)

Images are on the scale −1 … 1 here.
"""

from visarch.sampling.denoisers import (
    NO_LABEL,
    Network,
    clip,
    denoiser,
    dynamic_threshold,
    guide,
    guided,
)
from visarch.sampling.grids import log_snr_times, time_at, uniform_times
from visarch.sampling.inpainting import inpainted, repaint
from visarch.sampling.interpolation import invert, slerp
from visarch.sampling.samplers import (
    SAMPLERS,
    Denoise,
    Noise,
    Sampler,
    SamplerName,
    Watch,
    ddim,
    ddpm,
    dpm_solver_pp,
    heun,
    no_noise,
    num_evaluations,
    unwatched,
)

__all__ = [
    "NO_LABEL",
    "SAMPLERS",
    "Denoise",
    "Network",
    "Noise",
    "Sampler",
    "SamplerName",
    "Watch",
    "clip",
    "ddim",
    "ddpm",
    "denoiser",
    "dpm_solver_pp",
    "dynamic_threshold",
    "guide",
    "guided",
    "heun",
    "inpainted",
    "invert",
    "log_snr_times",
    "no_noise",
    "num_evaluations",
    "repaint",
    "slerp",
    "time_at",
    "uniform_times",
    "unwatched",
]
