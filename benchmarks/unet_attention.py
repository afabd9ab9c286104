"""The U-Net's attention: the note's literal box beside the two residual forms, at equal steps.

    python benchmarks/unet_attention.py DATA [STEPS [SEED …]]

trains a diffusion model of each form from the same seeds on the same batches and noise, and adds to
``benchmarks/results/unet-attention.json`` the loss on held-out images, with the same noise for all,
and the training loss along the way. Everything but the form of attention is equal: the note's U-Net
(attention at the two lowest of four levels, two blocks at each) at an eighth of its channels, 200
images of validation and 1,000 of test.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import torch

from visarch.data import Data, open_data
from visarch.inference.splits import spread
from visarch.models.unet import Denoiser
from visarch.training.diffusion import DiffusionTrainConfig, Network
from visarch.training.diffusion_defaults import settle, unet_config
from visarch.training.diffusion_task import DiffusionTask
from visarch.training.environment import describe_environment
from visarch.training.loop import train
from visarch.training.runfolder import RunFolder

FORMS: tuple[Literal["literal", "residual", "prenorm"], ...] = ("literal", "residual", "prenorm")
HELD_OUT = {"validation": 200, "test": 1000}
CURVE_EVERY = 50
ENVIRONMENT = ("versions", "platform", "processor", "cores", "threads")
RESULTS = Path(__file__).parent / "results" / "unet-attention.json"


def fewer(data: Data) -> Data:
    """The data with as many held-out images as are needed."""
    for name, most in HELD_OUT.items():
        if name in data.splits:
            split = data.splits[name]
            data.splits[name] = split.take(name, spread(len(split), most))
    return data


def run(source: str, form: Literal["literal", "residual", "prenorm"], steps: int, seed: int) -> Any:
    """One training; what was measured."""
    data = fewer(open_data(source))
    network = Network(
        widths=(8, 16, 32, 128),
        num_blocks=2,
        attends=(False, False, True, True),
        attention=form,
        num_groups=8,
        dropout=0.0,
        context_dim=128,
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        config = settle(
            DiffusionTrainConfig(
                data=source,
                out=folder,
                preset="unet",
                learning_rate=1e-3,
                steps=steps,
                seed=seed,
                log_every=CURVE_EVERY,
                evaluate_every=0,
                sample_every=0,
                checkpoint_every=0,
                batch_size=64,
                model=network,
            ),
            data,
        )
        torch.manual_seed(seed)
        model = Denoiser(unet_config(config, data), num_classes=len(data.classes or ()) or None)
        result = train(DiffusionTask(config, data), model, data, config, quiet=True)
        rows = RunFolder(result.path).read_metrics()
    return {
        "data": source.rstrip("/").rpartition("/")[2],
        "form": form,
        "seed": seed,
        "steps": steps,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(time.monotonic() - started),
        "held_out": result.metrics,
        "curve": [[int(row["step"]), float(row["loss"])] for row in rows if "loss" in row],
    }


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else "digits"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seeds = [int(seed) for seed in sys.argv[3:]] or [0, 1]
    environment = describe_environment(torch.device("cpu"), 1)
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {"runs": []}
    found["environment"] = {name: environment[name] for name in ENVIRONMENT}
    for seed in seeds:
        for form in FORMS:
            done = run(source, form, steps, seed)
            found["runs"].append(done)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            values = {split: metrics["loss"] for split, metrics in done["held_out"].items()}
            print(done["data"], form, seed, steps, values, f"{done['seconds']} s", flush=True)
