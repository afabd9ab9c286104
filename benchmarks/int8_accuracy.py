"""What fewer bits cost a trained classifier: its test accuracy in fp32, bf16 and int8.

    python benchmarks/int8_accuracy.py runs/classifier

measures the fast copies of a run's model on every test image and writes what it finds to
``benchmarks/results/int8-accuracy.json``. int8 is calibrated on training images, drawn three times:
how much depends on the draw is part of the answer.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import visarch
from visarch.data import Split, open_data, to_unit
from visarch.inference import classifier
from visarch.training.environment import describe_environment

ENVIRONMENT = ("versions", "platform", "processor", "cores", "threads")
RESULTS = Path(__file__).parent / "results" / "int8-accuracy.json"
CALIBRATION, DRAWS = 256, 3


def draw(train: Split, levels: int | None, seed: int) -> Tensor:
    """Images to calibrate with."""
    places = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return to_unit(train.read(places[:CALIBRATION]).images, levels)


def copies(model: visarch.ResNet, train: Split, levels: int | None) -> Iterator[tuple[str, Any]]:
    """The model's fast copies, by what they are called in the results."""
    for precision in ("fp32", "bf16"):
        yield precision, model.optimize_for_inference(precision=precision)
    for seed in range(DRAWS):
        images = draw(train, levels, seed)
        yield (
            f"int8, draw {seed}",
            model.optimize_for_inference(precision="int8", calibration=images),
        )


def beside(answers: Tensor, exact: Tensor, labels: Tensor) -> dict[str, float]:
    """How answers fare, and how they differ from the exact ones on the same images."""
    right, was_right = answers.argmax(1) == labels, exact.argmax(1) == labels
    gain = (right.float() - was_right.float()).double()
    return {
        "accuracy": float(right.double().mean()),
        "difference": float(gain.mean()),
        "± (95 %)": float(1.96 * gain.std() / len(gain) ** 0.5),
        "other class": float((answers.argmax(1) != exact.argmax(1)).double().mean()),
        "logits": float((answers - exact).norm() / exact.norm()),
    }


def measure(run: Path) -> dict[str, Any]:
    model = visarch.load(run)
    task = json.loads((run / "model" / "task.json").read_text("utf-8"))
    data = open_data(task["source"])
    train, test = data.splits["train"], data.splits["test"]
    assert test.labels is not None
    levels = data.preparation.levels
    found, exact = {}, torch.empty(0)
    for name, fast in copies(model, train, levels):
        answers = classifier.logits(fast, test, levels)
        if name == "fp32":
            exact = answers
        found[name] = beside(answers, exact, test.labels)
        print(f"{name:14}", *(f"{key} {value:+.4f}" for key, value in found[name].items()))
    return {"model": model.settings(), "images": len(test), "calibration": CALIBRATION} | found


if __name__ == "__main__":
    environment = describe_environment(torch.device("cpu"), 1)
    results = {"environment": {name: environment[name] for name in ENVIRONMENT}}
    results |= measure(Path(sys.argv[1]))
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
