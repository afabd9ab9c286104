"""Several processes do what one does with the whole batch."""

import csv
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

import visarch
from visarch.blocks.normalization import BatchNorm
from visarch.cli import main
from visarch.errors import UserError
from visarch.training import classifier, diffusion
from visarch.training.checkpoint import read_state
from visarch.training.guard import NonFiniteError
from visarch.training.loop import train
from visarch.training.processes import share_batch

from .several import SHARDED, meet, together
from .toy import ToyTask, run, settings, toy_data, toy_model

LAST, MODEL = "checkpoints/last.safetensors", "model/model.safetensors"


# BatchNorm and dropout


NORMS = {
    "ours": lambda axes: BatchNorm(3),
    "torch's": lambda axes: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1](3),
    "cumulative": lambda axes: nn.BatchNorm2d(3, momentum=None),
    "without γ and β": lambda axes: nn.BatchNorm2d(3, affine=False),
}
LAYOUTS = (
    (3, torch.contiguous_format),
    (4, torch.contiguous_format),
    (4, torch.channels_last),
    (5, torch.channels_last_3d),
)


def part(whole):
    return whole.chunk(distributed.get_world_size())[distributed.get_rank()]


def assert_close(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def compare_norms():
    """Forward, backward and moving averages, against one process with the whole batch."""
    cases = [(dims, layout, kind) for dims, layout in LAYOUTS for kind in ("ours", "torch's")]
    cases += [(4, torch.contiguous_format, kind) for kind in ("cumulative", "without γ and β")]
    for dims, layout, kind in cases:
        torch.manual_seed(dims)
        shape = (6, 3, 4, 5, 2)[:dims]
        images = (5 + 3 * torch.randn(shape).double()).contiguous(memory_format=layout)
        slopes = torch.randn(shape).double().contiguous(memory_format=layout)
        alone, shared = (NORMS[kind](dims - 2).double() for _ in range(2))
        if alone.weight is not None:
            nn.init.normal_(alone.weight)
            nn.init.normal_(alone.bias)
            shared.load_state_dict(alone.state_dict())
        share_batch(shared)
        for _ in range(2):
            whole, ours = (t.clone().requires_grad_() for t in (images, part(images)))
            expected, found = alone(whole), shared(ours)
            expected.backward(slopes)
            found.backward(part(slopes))
            assert_close(found, part(expected))
            assert_close(ours.grad, part(whole.grad))
            assert ours.grad.stride() == part(whole).stride()
        for name, parameter in shared.named_parameters():
            distributed.all_reduce(parameter.grad)
            assert_close(parameter.grad, alone.get_parameter(name).grad)
        assert shared.state_dict().keys() == alone.state_dict().keys()
        for name, value in shared.state_dict().items():
            assert_close(value, alone.state_dict()[name])
        assert_close(shared.eval()(part(images)), part(alone.eval()(images)))


def compare_dropouts():
    """The very masks of one process, in every memory format."""
    torch.manual_seed(0)
    pictures = torch.randn(8, 5, 3, 4)
    batches = [torch.randn(6, 1000), torch.randn(40, 64, 8, 8), torch.randn(2, 3, 1, 1)]
    batches += [pictures, pictures.contiguous(memory_format=torch.channels_last)]
    cases = [(nn.Dropout(0.3), images) for images in batches]
    cases += [(nn.Dropout(0.9), pictures), (nn.Dropout2d(0.5), pictures)]
    for dropout, images in cases:
        torch.manual_seed(1)
        expected = dropout(images)
        share_batch(dropout)
        torch.manual_seed(1)
        found = dropout(part(images))
        assert torch.equal(found, part(expected))
        assert found.stride() == part(images).stride()
        assert torch.equal(dropout.eval()(images), images)


def test_norms_and_dropouts_see_the_whole_batch(tmp_path, start):
    together(start, norms_and_dropouts, tmp_path / "meeting")


def norms_and_dropouts(meeting):
    meet(meeting)
    compare_norms()
    compare_dropouts()
    distributed.destroy_process_group()


@pytest.fixture
def a_group_of_one(tmp_path):
    store = distributed.FileStore(str(tmp_path / "meeting"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("a_group_of_one")
def test_the_gradient_of_a_shared_norm_is_its_derivative():
    norm = BatchNorm(3).double()
    share_batch(norm)
    images = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def function(images, weights):
        return torch.func.functional_call(norm, {"weight": weights, "bias": weights}, (images,))

    assert torch.autograd.gradcheck(function, (images, weights))


@pytest.mark.usefixtures("a_group_of_one")
def test_half_precision_has_its_statistics_in_full():
    images = torch.full((64, 1, 8, 8), 256.0).bfloat16()
    images[::2] = 258
    norm = BatchNorm(1, momentum=1.0)
    share_batch(norm)
    assert norm(images).dtype == torch.bfloat16
    assert norm.running_mean.item() == 257
    assert norm.running_var.item() == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    "odd", [nn.AlphaDropout(0.5), nn.BatchNorm2d(3, track_running_stats=False)]
)
def test_what_cannot_be_shared_is_named(odd):
    with pytest.raises(ValueError, match=r"1 \(.*take a BatchNorm with running statistics"):
        share_batch(nn.Sequential(nn.Identity(), odd))


# Whole runs


SHORT = {
    "steps": 12,
    "warmup_steps": 3,
    "log_every": 1,
    "checkpoint_every": 5,
    "evaluate_every": 6,
    "sample_every": 6,
}
PLAIN = {"optimizer": "sgd", "ema": 0.0}
LENGTHS = (4, 9, 12)


def all_runs(folder):
    """What several processes do for the tests below, all in one go."""
    numbers = itertools.count()

    def one_more(out, task=None, **changes):
        meet(folder / f"meeting-{next(numbers)}")
        return run(out, task, **(SHORT | changes))

    one_more(folder / "adamw")
    one_more(folder / "sgd", **PLAIN)
    one_more(folder / "spoiled", ToyTask(spoil=spoil_on_the_second))
    one_more(folder / "changed over", steps=LENGTHS[1])
    assert one_more(folder / "interrupted", ToyTask(at_step=interrupt_the_second)).step == 6
    with pytest.raises(UserError, match="7 cannot be shared equally by 2 processes"):
        one_more(folder / "odd", batch_size=7)
    distributed.destroy_process_group()
    meet(folder / f"meeting-{next(numbers)}")
    with pytest.raises(NonFiniteError, match=r"in the data: train-30\.png"):
        train(ToyTask(), toy_model(), *bad_images(folder / "bad"), quiet=True)

    for task in TASKS:
        meet(folder / f"meeting-{next(numbers)}")
        run_task(task, folder / task)


def run_task(task, out):
    """A few steps of a real task, with all that is random in it."""
    rng = np.random.default_rng(0)
    file = out.with_name(f"{out.name}-{os.environ.get('RANK', 0)}.npz")
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(file, images=images, labels=np.arange(60) % 3)
    common = {
        "data": str(file),
        "out": str(out),
        "device": "cpu",
        "precision": "fp32",
        "steps": 4,
        "batch_size": 16,
        "log_every": 1,
    }
    assert TASKS[task](common) == 0


def run_classifier(common):
    model = classifier.Network(depths=(1, 1), widths=(8, 16), dropout=0.2)
    augmentation = {"mixup": 0.2, "randaugment": 1, "cutout": 2, "rotate": 5.0, "flip": "yes"}
    return classifier.train_classifier(
        classifier.ClassifierTrainConfig(**common, **augmentation, model=model)
    )


def run_diffusion(common):
    model = diffusion.Network(widths=(8, 16), num_blocks=1, num_groups=4, dropout=0.2)
    return diffusion.train_diffusion(
        diffusion.DiffusionTrainConfig(**common, model=model, sampling_steps=3)
    )


TASKS = {"classifier": run_classifier, "diffusion": run_diffusion}


def spoil_on_the_second(step, loss):
    return loss * float("nan") if (step, distributed.get_rank()) == (4, 1) else loss


def interrupt_the_second(step):
    if (step, distributed.get_rank()) == (5, 1):
        os.kill(os.getpid(), signal.SIGINT)


def bad_images(out):
    data = toy_data()
    data.splits["train"].images[30] = float("nan")
    return data, settings(out, batch_size=38, max_bad_steps=2)


@pytest.fixture(scope="module", params=[{}, SHARDED], ids=["DDP", "FSDP"])
def two(request, start, tmp_path_factory):
    """The runs of two processes."""
    folder = tmp_path_factory.mktemp("two")
    run(folder / "changed over", **(SHORT | {"steps": LENGTHS[0]}))
    together(start, all_runs, folder, environment=request.param)
    return folder


def metrics(path):
    with (path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) for k, v in row.items() if v and "second" not in k} for row in rows]


def assert_same_numbers(one, other):
    for expected, found in zip(metrics(one), metrics(other), strict=True):
        assert found == pytest.approx(expected, abs=1e-5, rel=1e-6)


def assert_same_run(one, other):
    """Every logged number, and every tensor of checkpoint and model, to within rounding."""
    assert_same_numbers(one, other)
    assert names_of_pictures(one) == names_of_pictures(other)
    assert_same_tensors(one, other)
    states = [read_state(path / LAST) for path in (one, other)]
    for state in states:
        del state["window"]  # the sums of the numbers above
    assert states[0] == states[1]


def names_of_pictures(path):
    return sorted(file.name for file in path.rglob("*.png"))


def assert_same_tensors(one, other):
    for name in (LAST, MODEL):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "changes"), [("adamw", {}), ("sgd", PLAIN)])
def test_two_processes_run_as_one(tmp_path, two, name, changes):
    run(tmp_path / "one", **(SHORT | changes))
    assert_same_run(tmp_path / "one", two / name)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_as_one(tmp_path, two, task):
    run_task(task, tmp_path / task)
    assert_same_numbers(tmp_path / task, two / task)


def test_a_bad_step_on_one_process_is_skipped_on_all(tmp_path, two):
    task = ToyTask(spoil=lambda step, loss: loss * float("nan") if step == 4 else loss)
    run(tmp_path / "one", task, **SHORT)
    assert read_state(two / "spoiled" / LAST)["skipped_steps"] == 1
    assert_same_run(tmp_path / "one", two / "spoiled")


def test_a_run_changes_over_from_one_process_to_two_and_back(tmp_path, two):
    run(tmp_path / "one", **SHORT)
    assert read_state(two / "changed over" / LAST)["step"] == LENGTHS[1]
    run(two / "changed over", **SHORT)
    assert_same_tensors(tmp_path / "one", two / "changed over")


def test_a_signal_to_one_process_stops_all_after_the_same_step(two):
    assert read_state(two / "interrupted" / LAST)["step"] == 6


def test_nothing_is_written_where_the_batch_cannot_be_shared(two):
    assert not (two / "odd").exists()


# As it is launched


ACCELERATE = ["accelerate.commands.launch", "--num_machines", "1", "--main_process_port", "0"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_processes", "2"]
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    "accelerate": [*ACCELERATE, "--multi_gpu"],
    "FSDP": [*ACCELERATE, "--use_fsdp", "--fsdp_version", "2"],
}
VAE = ["train", "vae", "--data", "images.npz", "--steps", "6", "--batch-size", "8"]
VAE += ["--log-every", "1", "--latent-dim", "4", "--channels", "16", "--depth", "1"]
VAE += ["--dropout", "0.2"]


def visarch_in(folder, *arguments):
    """Run a command of visarch as a user would."""
    place = {"PYTHONPATH": str(Path(visarch.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *arguments]
    result = subprocess.run(
        command, cwd=folder, env=os.environ | place, capture_output=True, text=True, timeout=120
    )
    return result.returncode, result.stdout + result.stderr


def test_launched_from_a_command_line(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 9, 7), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images)
    monkeypatch.chdir(tmp_path)
    place = {"PYTHONPATH": str(Path(visarch.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    launched = {
        name: subprocess.Popen(
            [sys.executable, "-m", *launcher, "-m", "visarch", *VAE, "--out", name],
            env=os.environ | place,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, launcher in LAUNCHERS.items()
    }
    assert main([*VAE, "--out", "one"]) == 0
    for name, process in launched.items():
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert told.count("Finished after 6 steps") == 1  # one process speaks
        assert_same_run(Path("one"), Path(name))


def test_fsdp_of_the_first_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match=r"FSDP of version 1.*--fsdp_version 2"):
        run(tmp_path / "run")
