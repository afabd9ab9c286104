"""All that a training imports, for the process that commands are forked from."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import huggingface_hub.hub_mixin
import huggingface_hub.repocard  # noqa: F401
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import rich.progress  # noqa: F401

import visarch.cli.flags
import visarch.cli.train
import visarch.data
import visarch.models.resnet
import visarch.models.unet
import visarch.models.vae
import visarch.pictures
import visarch.report
import visarch.training.classifier
import visarch.training.classifier_task
import visarch.training.diffusion
import visarch.training.diffusion_task
import visarch.training.loop
import visarch.training.vae
import visarch.training.vae_task  # noqa: F401
