"""The Gaussian VAE's variants on the embedded digits, beside linear models of the same pixels.

    python benchmarks/vae_digits.py runs/variants

trains each variant into a folder of its own (a finished one is not trained again) and writes the
table's numbers to ``benchmarks/results/vae-digits.json``. Everything is measured on the 500 test
digits; what had to be chosen was chosen on the 500 validation digits.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import visarch
from visarch.cli import main
from visarch.data import dequantize, open_data
from visarch.models.principal import principal_components
from visarch.objectives.elbo import bits_per_dim
from visarch.training.environment import describe_environment

VARIANTS = {
    "default": "",
    "learned": "--sigma learned",
    "constant": "--sigma constant --initial-sigma 0.03",
    "bottleneck": "--block bottleneck --channels 128",
    "random": "--initialization random --learning-rate 4e-3",
    "z32": "--latent-dim 32",
    "z32full": "--latent-dim 32 --covariance full",
    "z16": "--latent-dim 16",
    "patch1": "--patch-size 1 --channels 16 --depth 1",
}
ENVIRONMENT = ("versions", "platform", "processor", "cores", "threads")
RESULTS = Path(__file__).parent / "results" / "vae-digits.json"


def digits() -> dict[str, Tensor]:
    """Each split's dequantized pixels (n, 784), in float64."""
    generator = torch.Generator().manual_seed(0)
    pixels = {}
    for name, split in open_data("digits").splits.items():
        noise = torch.rand(split.images.shape, generator=generator)
        pixels[name] = dequantize(split.images, 256, noise).flatten(1).double()
    return pixels


def gaussian(pixels: dict[str, Tensor], covariance: Tensor) -> dict[str, float]:
    """bits/dim of a Gaussian with the training pixels' mean, on validation and test digits."""
    model = MultivariateNormal(pixels["train"].mean(0), covariance)
    return {
        name: bits_per_dim(float(model.log_prob(pixels[name]).mean()), 784, 256)
        for name in ("validation", "test")
    }


def linear_models(pixels: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """A full-covariance Gaussian with the best ridge, and probabilistic PCA."""
    covariance = pixels["train"].T.cov()
    ridges = {
        ridge: gaussian(pixels, covariance + ridge * torch.eye(784))
        for ridge in (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)
    }
    best = min(ridges, key=lambda ridge: ridges[ridge]["validation"])
    found = {
        "full covariance": gaussian(pixels, covariance),
        f"full covariance + {best:g} I": ridges[best],
    }
    for number in (32, 64, 256):
        mean, eigenvalues, eigenvectors, noise = principal_components(pixels["train"], number, 0.0)
        weights = eigenvectors * (eigenvalues - noise).clamp(min=0).sqrt()
        pca = weights @ weights.T + noise * torch.eye(len(mean))
        found[f"probabilistic PCA, Z = {number}"] = gaussian(pixels, pca)
    return found


def variants(root: Path) -> dict[str, dict[str, Any]]:
    """Every variant, trained or taken from its finished run."""
    found: dict[str, dict[str, Any]] = {}
    for name, flags in VARIANTS.items():
        folder = root / name
        finished = (folder / "evaluation.json").exists()
        command = ["train", "vae", "--data", "digits", "--out", str(folder), *flags.split()]
        if not finished and main(command):
            raise SystemExit(f"{name} did not finish")
        result = json.loads((folder / "evaluation.json").read_text("utf-8"))
        parameters = sum(p.numel() for p in visarch.load(folder).parameters())
        found[name] = {"flags": flags, "parameters": parameters, "steps": result["step"]}
        found[name] |= result["metrics"]
        assert all(math.isfinite(value) for value in result["metrics"]["test"].values())
    return found


if __name__ == "__main__":
    environment = describe_environment(torch.device("cpu"), 1)
    results: dict[str, Any] = {
        "environment": {name: environment[name] for name in ENVIRONMENT},
        "seed": 0,
        "runs": 1,
        "linear": linear_models(digits()),
        "vae": variants(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/variants")),
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    for name, values in results["linear"].items():
        print(f"{name:32} {values['test']:.3f}")
    for name, values in results["vae"].items():
        print(f"{name:32} {values['test']['bits/dim']:.3f}")
