"""The way of `visarch interpolate` through the latent space of a Gaussian VAE."""

from __future__ import annotations

import torch

from visarch.cli.interpolate import Question, Way
from visarch.data import Split, to_unit
from visarch.inference.picking import pick
from visarch.inference.splits import first_image
from visarch.inference.vae import interpolate
from visarch.models.vae import GaussianVAE


def walk_vae(question: Question) -> Way:
    """Decoder means along the straight line from f(a) to f(b)."""
    run, flags = question.run.of(GaussianVAE), question.flags
    picked = pick(run, (flags.a, flags.b))
    images = torch.cat([first_image(split) for split in picked])
    names = picked[0].names[0], picked[1].names[0]
    levels = run.preparation.levels
    ends = Split("ends", images, None, list(names))
    way = interpolate(run.model, ends, levels, flags.steps)
    return Way(way, to_unit(images, levels), names, {})
