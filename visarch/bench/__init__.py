"""Benchmarks: this package beside its peers, measured in one run.

``BENCHMARKS`` is the one list of them. Each entry names a frozen dataclass in the benchmark's own
module: its fields are the sizes, its method ``races`` yields what is to be compared.
"""

from typing import NamedTuple


class Entry(NamedTuple):
    """One line of ``visarch bench --list`` and where it leads: ``module:class``."""

    summary: str
    target: str


BENCHMARKS = {
    "unet-train": Entry(
        "training steps of the note's U-Net, beside labml.ai's: as it comes, and compiled in bf16",
        "visarch.bench.unet_train:UNetTrain",
    ),
    "unet-infer": Entry(
        "the note's U-Net without gradients, beside labml.ai's and one of diffusers'",
        "visarch.bench.unet_infer:UNetInfer",
    ),
    "resnet-train": Entry(
        "training steps of ResNet-50 on small images, beside transformers'",
        "visarch.bench.resnet_train:ResNetTrain",
    ),
    "resnet-infer": Entry(
        "ResNet-50 without gradients, beside ONNX Runtime and OpenVINO",
        "visarch.bench.resnet_infer:ResNetInfer",
    ),
    "vae-train": Entry(
        "training steps of the Gaussian VAE, beside pythae's around the same networks",
        "visarch.bench.vae_train:VAETrain",
    ),
    "vae-nll": Entry(
        "importance-weighted likelihood of images under a VAE, beside pythae's",
        "visarch.bench.vae_nll:VAENll",
    ),
    "sample": Entry(
        "64 images from a diffusion model, beside labml.ai's sampler of 1,000 steps",
        "visarch.bench.sample:Sample",
    ),
    "trainer-overhead": Entry(
        "steps of the trainer, beside a bare loop around the same step",
        "visarch.bench.trainer_overhead:TrainerOverhead",
    ),
    "startup": Entry(
        "how long until help, a network and a first training step are there",
        "visarch.bench.startup:Startup",
    ),
}
