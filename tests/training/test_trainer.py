from dataclasses import replace

import pytest
import torch

from visarch.performance.choices import Choice
from visarch.training.devices import compiled, make_accelerator, precision, processes
from visarch.training.loop import train
from visarch.training.trainer import Trainer

from .toy import ToyModel, ToySplit, ToyTask, settings, toy_data, toy_model


class Colored(ToyModel):
    """The toy for images of three channels; notes how they lie in memory."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.output = torch.nn.Conv2d(4, 3, 1)

    def forward(self, x):
        self.laid_out = x.is_contiguous(memory_format=torch.channels_last)
        return super().forward(x)


@pytest.mark.parametrize(("number_format", "channels_last"), [("fp32", False), ("bf16", True)])
def test_images_come_in_the_memory_format_that_was_chosen(tmp_path, number_format, channels_last):
    config = settings(tmp_path, precision=number_format)
    accelerator = make_accelerator(
        config, processes(config), tmp_path, low_precision=False, num_samples=20
    )
    split = ToySplit("train", torch.rand(20, 3, 4, 4), [str(number) for number in range(20)])
    trainer = Trainer(ToyTask(), Colored(), split, config, accelerator)
    for _ in range(2):
        trainer.step()
    assert trainer.model.laid_out == channels_last
    assert all(parameter.is_contiguous() for parameter in trainer.model.parameters())
    chosen = ["precision", "memory format", "compilation", "threads"]
    assert [what for what, _, _ in trainer.reasons] == chosen


@pytest.mark.parametrize("low_precision", [True, False])
def test_the_task_decides_on_low_precision_unless_the_settings_do(
    tmp_path, monkeypatch, low_precision
):
    asked = []
    monkeypatch.setattr(
        "visarch.performance.choices.precision",
        lambda device, low_precision: asked.append(low_precision) or Choice("bf16", "pretended"),
    )
    cpu = torch.device("cpu")
    choice = precision(settings(tmp_path, precision="auto"), cpu, low_precision)
    assert choice == ("bf16", "pretended")
    assert asked == [low_precision]
    assert precision(settings(tmp_path, precision="fp32"), cpu, low_precision).value == "fp32"
    assert asked == [low_precision]


def test_what_was_chosen_is_said_with_the_reason(tmp_path, capsys):
    train(ToyTask(), toy_model(), toy_data(), settings(tmp_path / "run", steps=2))
    told = capsys.readouterr().out
    assert "precision: fp32 (this task trains in full precision on a CPU)" in told
    assert "memory format: contiguous (the most exact on a CPU in fp32)" in told
    assert "compilation: no (it is the default on CUDA GPUs alone, not on cpu)" in told


@pytest.mark.parametrize(
    ("length", "steps", "seconds"),
    [({"steps": 70}, 70, None), ({"epochs": 3}, 15, None), ({"time": "2m"}, None, 120.0)],
)
def test_the_length_of_a_run_decides_on_compilation_unless_the_settings_do(
    tmp_path, monkeypatch, length, steps, seconds
):
    asked = []

    def compilation(device, *, steps, seconds):
        asked.append((steps, seconds))
        return Choice(True, "pretended")

    monkeypatch.setattr("visarch.performance.choices.compilation", compilation)
    config = settings(tmp_path, batch_size=4, **{"steps": None, **length})
    assert compiled(config, torch.device("cpu"), 20) == (True, "pretended")
    assert asked == [(steps, seconds)]
    for choice in (True, False):
        said = compiled(replace(config, compile=choice), torch.device("cpu"), 20)
        assert said == (choice, "asked for")
    assert len(asked) == 1
