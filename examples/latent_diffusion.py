"""Latent diffusion: the U-Net learns the latents of the VAE, and the decoder makes digits of them.

A VAE with many latents reconstructs well, and what it makes of draws from N(0, I) are strokes
(docs/vae.md, "Bits against looks"): its latents are not distributed like that. A diffusion model
learns how they are. A latent has no neighbors, so its numbers are channels here, at one position of
one axis, where the U-Net's convolutions are linear layers.

    python examples/latent_diffusion.py
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import visarch
from visarch.cli import main as visarch_command
from visarch.data import open_data, to_unit
from visarch.objectives.diffusion import (
    cosine,
    diffuse,
    diffusion_loss,
    log_snr_and_rate,
    stratified_times,
)
from visarch.pictures import arrange, grid
from visarch.sampling import denoiser, dpm_solver_pp, log_snr_times
from visarch.training.ema import PowerEma

LATENTS = 64


def train_vae(steps: int, out: Path) -> visarch.GaussianVAE:
    """The VAE of `visarch train vae`, with fewer latents than by default."""
    flags = f"--data digits --latent-dim {LATENTS} --steps {steps} --out {out}"
    if not (out / "model").exists() and visarch_command(["train", "vae", *flags.split()]):
        raise SystemExit("The VAE was not trained to its end.")
    return visarch.load(out)


@torch.no_grad()
def latents(vae: visarch.GaussianVAE) -> Tensor:
    """The posterior mean of each training digit, (n, 64)."""
    data = open_data("digits")
    images = data.splits["train"].read(torch.arange(len(data.splits["train"]))).images
    return torch.cat([vae.encode(to_unit(part, data.levels)).mean for part in images.split(500)])


def train_denoiser(z: Tensor, steps: int) -> nn.Module:
    """A U-Net of one level that undoes noise on z (n, 64, 1)."""
    config = visarch.UNetConfig(
        in_channels=LATENTS,
        out_channels=LATENTS,
        widths=(256,),
        attends=(False,),
        num_blocks=2,
        ndim=1,
    )
    model = visarch.Denoiser(config)
    average = PowerEma(model, width=0.1)
    visarch.prepare(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    for step in range(1, steps + 1):
        x = z[torch.randint(len(z), (128,))]
        noise, t = torch.randn_like(x), stratified_times(torch.rand(128))
        log_snr, rate = log_snr_and_rate(cosine, t)
        output = model(diffuse(x, noise, log_snr), t)
        loss = diffusion_loss(output, x, noise, log_snr, rate, prediction="v").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update()
        if step % 250 == 0:
            print(f"U-Net on latents, step {step} of {steps}: loss {loss.item():.3f}")
    return average.model


@torch.no_grad()
def sample(model: nn.Module, count: int) -> Tensor:
    """New latents, (count, 64, 1)."""
    noise = torch.randn(count, LATENTS, 1)
    return dpm_solver_pp(denoiser(model, cosine, "v"), noise, log_snr_times(20, cosine), cosine)


def main(vae_steps: int = 800, steps: int = 1500, out: str = "runs/latent-diffusion-vae") -> Path:
    torch.manual_seed(0)
    vae = train_vae(vae_steps, Path(out))
    z = latents(vae)
    deviation, mean = torch.std_mean(z, 0)
    model = train_denoiser(((z - mean) / deviation).unsqueeze(2), steps)
    drawn = sample(model, 64).squeeze(2) * deviation + mean
    with torch.no_grad():
        sheets = [grid(vae.decode(z)[0], 8) for z in (torch.randn(64, LATENTS), drawn)]
    picture = Path(out) / "prior-and-diffusion.png"
    arrange(sheets, 2).save(picture)
    print(f"Left from the prior, right from diffusion over latents: {picture}")
    return picture


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
