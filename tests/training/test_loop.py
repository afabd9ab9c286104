import os
import random
import shutil
import signal
import socket
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from visarch.errors import UserError
from visarch.performance.choices import Choice
from visarch.training.checkpoint import load_checkpoint, read_state
from visarch.training.config import TrainConfig, from_mapping
from visarch.training.guard import NonFiniteError
from visarch.training.length import TimeBudget
from visarch.training.loop import train
from visarch.training.randomness import batch_indices
from visarch.training.runfolder import RunFolder, read_config

from .toy import ToyModel, ToyTask, run, run_here, settings, toy_data, toy_model

LAST, BEST = "checkpoints/last.safetensors", "checkpoints/best.safetensors"
MODEL = "model/model.safetensors"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run of 100 steps that nothing interrupted."""
    path = tmp_path_factory.mktemp("straight") / "run"
    run(path)
    return path


def assert_same_files(one, other, names=(LAST, BEST, MODEL, "evaluation.json")):
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def metrics(path):
    """metrics.csv without the one column that is about time."""
    folder = RunFolder(path)
    rows = folder.read_metrics()
    folder.close()
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def interrupt_at(step, number=signal.SIGINT):
    def at_step(now):
        if now == step:
            os.kill(os.getpid(), number)

    return ToyTask(at_step=at_step)


# Going on


@pytest.mark.parametrize("decay", ["inverse_sqrt", "constant", "cosine"])
def test_sixty_steps_and_forty_are_a_hundred(tmp_path, decay):
    run(tmp_path / "whole", decay=decay)
    stopped = run(tmp_path / "parts", interrupt_at(59), decay=decay)
    assert (stopped.step, stopped.total_steps, stopped.metrics) == (60, 100, {})
    assert run(tmp_path / "parts", decay=decay).step == 100
    assert_same_files(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


@pytest.mark.parametrize("decay", ["inverse_sqrt", "constant"])
def test_a_finished_run_of_sixty_extended_to_a_hundred_is_a_hundred(tmp_path, decay):
    run(tmp_path / "whole", decay=decay)
    assert run(tmp_path / "parts", decay=decay, steps=60).total_steps == 60
    run(tmp_path / "parts", decay=decay, steps=100)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(("decay", "differs"), [("cosine", True), ("constant", False)])
def test_what_another_length_does_to_the_learning_rate_is_said(tmp_path, capsys, decay, differs):
    run(tmp_path / "run", decay=decay, steps=20)
    config = settings(tmp_path / "run", decay=decay, steps=30)
    assert train(ToyTask(), toy_model(), toy_data(), config).step == 30
    assert ("It was to have 20 steps. --decay cosine" in capsys.readouterr().out) == differs


def test_another_length_in_time_survives_a_stop_before_the_first_step(tmp_path):
    budget = {"steps": None, "evaluate_every": 0, "sample_every": 0}
    total = run(tmp_path / "run", time="1s", **budget).total_steps
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "run", ToyTask(at_step=lambda step: 1 // 0), time="2s", **budget)
    assert run(tmp_path / "run", time="2s", **budget).total_steps == 2 * total


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"ema": 0.0},
        {"batch_size": 50},
        {"precision": "bf16"},
        {"clip": 0.0, "log_every": 1},
    ],
    ids=str,
)
def test_so_it_is_with_other_settings(tmp_path, changes):
    short = {"steps": 20, "checkpoint_every": 5, **changes}
    run(tmp_path / "whole", **short)
    run(tmp_path / "parts", interrupt_at(12), **short)
    run(tmp_path / "parts", **short)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")


def test_killed_at_any_moment_it_goes_on_exactly(tmp_path, straight, start):
    path, waits = tmp_path / "run", random.Random(0)
    kills = 0
    for _ in range(8):
        process = start(run_here, path, {"checkpoint_every": 1})
        began = time.monotonic()
        while not (path / LAST).exists() and process.is_alive():
            time.sleep(0.001)
        process.join(waits.uniform(0.0, 0.4))
        kills += process.is_alive()
        process.kill()
        process.join()
        assert time.monotonic() - began < 60
    assert kills >= 3
    assert run(path).step == 100
    assert_same_files(straight, path, [LAST, MODEL, "evaluation.json"])
    assert metrics(path) == metrics(straight)
    assert not [file for file in path.rglob(".*") if file.name != ".lock"]


@pytest.mark.parametrize("moment", ["write", "sync", "rename"])
def test_killed_while_saving_it_goes_on_exactly(tmp_path, straight, start, moment):
    process = start(run_and_die_while_saving, tmp_path / "run", moment)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read_state(tmp_path / "run" / LAST)["step"] in (40, 60)
    run(tmp_path / "run")
    assert_same_files(straight, tmp_path / "run")


def run_and_die_while_saving(path, moment):
    """Die in the midst of writing the checkpoint of step 60."""
    from visarch.training import atomic, checkpoint

    def die(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    def write_half(tensors, side, metadata):
        side.write_bytes(b"half a checkpoint")
        die()

    def at_step(step):
        if step == 59:
            if moment == "write":
                checkpoint.save_file = write_half
            elif moment == "sync":
                atomic._sync = die
            else:
                atomic.os.replace = die

    run(path, ToyTask(at_step=at_step))


def test_a_finished_run_asked_for_again_does_nothing(tmp_path, capsys):
    result = run(tmp_path / "run", steps=20)
    before = modification_times(tmp_path / "run")
    task = ToyTask(at_step=lambda step: pytest.fail("a step was done"))
    again = train(task, toy_model(), toy_data(), settings(tmp_path / "run", steps=20))
    assert again == result
    assert task.evaluations == 0
    assert "It is finished: all of its 20 steps are done" in capsys.readouterr().out
    assert modification_times(tmp_path / "run") == before


@pytest.mark.parametrize("lost", ["", "config.json", "model.safetensors", "task.json"])
def test_a_model_that_was_removed_is_written_anew(tmp_path, straight, lost):
    shutil.copytree(straight, tmp_path / "run")
    gone = tmp_path / "run" / "model" / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    run(tmp_path / "run")
    assert_same_files(tmp_path / "run", straight)
    for name in ("config.json", "task.json"):
        original = (straight / "model" / name).read_bytes()
        assert (tmp_path / "run/model" / name).read_bytes() == original


@pytest.mark.parametrize("content", ["{", "3", "\xff"])
@pytest.mark.parametrize("name", ["evaluation.json", "environment.json"])
def test_a_damaged_file_that_is_written_anew_is_named(tmp_path, name, content):
    run(tmp_path / "run", steps=20)
    (tmp_path / "run" / name).write_text(content, encoding="latin-1")
    steps = 20 if name == "evaluation.json" else 21
    with pytest.raises(UserError, match=rf"{name} .*: remove it, and it is written anew"):
        run(tmp_path / "run", steps=steps)
    (tmp_path / "run" / name).unlink()
    assert run(tmp_path / "run", steps=steps).step == steps


def modification_times(path):
    return {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.name != ".lock"}


def test_a_run_killed_before_its_last_words_says_them_on_resume(tmp_path):
    class Killed(ToyTask):
        def pictures(self, model, data):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", Killed(), steps=20, sample_every=0)
    run(tmp_path / "parts", steps=20, sample_every=0)
    run(tmp_path / "whole", steps=20, sample_every=0)
    assert_same_files(tmp_path / "whole", tmp_path / "parts")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


# Refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 0.5, "seed": 7}, ["learning_rate (was 0.001, now 0.5)", "seed (was 0"]),
        ({"optimizer": "sgd"}, ["optimizer (was adamw, now sgd)"]),
        ({"steps": 10}, ["10 steps", "done 20 already"]),
        ({"steps": None, "time": "1m"}, ["--time 1m", "20 steps", "--steps"]),
    ],
)
def test_another_run_under_the_same_name_is_refused(tmp_path, changes, words):
    run(tmp_path / "run", steps=20)
    before = (tmp_path / "run" / LAST).read_bytes(), (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(UserError) as error:
        run(tmp_path / "run", **({"steps": 20} | changes))
    assert all(word in str(error.value) for word in words)
    assert before == (
        (tmp_path / "run" / LAST).read_bytes(),
        (tmp_path / "run/config.yaml").read_text(),
    )


def test_settings_edited_in_the_run_folder_are_refused_too(tmp_path):
    """The steps so far were done with the old ones, whatever config.yaml says of them now."""
    run(tmp_path / "run", steps=20)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("learning_rate: 0.001", "learning_rate: 0.5"))
    with pytest.raises(UserError, match=r"learning_rate \(was 0.001, now 0.5\)"):
        run(tmp_path / "run", steps=30, learning_rate=0.5)
    assert run(tmp_path / "run", steps=30).step == 30  # what it began with is still welcome


def test_what_only_concerns_reports_may_change_and_so_may_the_place_of_the_data(tmp_path):
    run(tmp_path / "run", steps=20)
    changes = {"log_every": 3, "checkpoint_every": 4, "sample_every": 0, "evaluate_every": 6}
    result = run(tmp_path / "run", steps=24, data="elsewhere", max_bad_steps=3, **changes)
    assert result.step == 24


def test_another_precision_by_another_device_is_said_aloud(tmp_path, capsys, monkeypatch):
    run(tmp_path / "run", steps=20, precision="auto")
    monkeypatch.setattr(
        "visarch.training.trainer.precision", lambda *_: Choice("bf16", "for the sake of it")
    )
    config = settings(tmp_path / "run", steps=21, precision="auto")
    train(ToyTask(), toy_model(), toy_data(), config)
    assert "So far it was trained in fp32; from here on it is in bf16." in capsys.readouterr().out


def test_other_images_another_task_and_another_model_are_refused(tmp_path):
    run(tmp_path / "run", steps=20)
    config = settings(tmp_path / "run", steps=20)
    with pytest.raises(UserError, match="begun on other images than toy holds now"):
        train(ToyTask(), toy_model(), toy_data(seed=1), config, quiet=True)
    with pytest.raises(UserError, match="belongs to another model"):
        train(ToyTask(), toy_model(width=5), toy_data(), config, quiet=True)
    other = ToyTask()
    other.name = "classifier"
    with pytest.raises(UserError, match="is a toy run, and this asks for classifier"):
        train(other, toy_model(), toy_data(), config, quiet=True)


def test_a_truncated_checkpoint_is_refused_and_never_a_new_start(tmp_path):
    run(tmp_path / "run", steps=20)
    last = tmp_path / "run" / LAST
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"last\.safetensors is not a whole checkpoint"):
        run(tmp_path / "run", steps=30)


@pytest.mark.parametrize("keep", ["metrics.csv", BEST])
def test_a_lost_checkpoint_is_no_reason_to_begin_again(tmp_path, keep):
    run(tmp_path / "run", steps=20, evaluate_every=5)
    for name in {"metrics.csv", LAST, BEST} - {keep}:
        (tmp_path / "run" / name).unlink()
    with pytest.raises(UserError, match=r"trained already.*last\.safetensors is gone"):
        run(tmp_path / "run", steps=20)


def test_the_best_checkpoint_can_take_the_place_of_the_last(tmp_path, straight):
    shutil.copytree(straight, tmp_path / "run")
    (tmp_path / "run" / BEST).replace(tmp_path / "run" / LAST)
    state = read_state(tmp_path / "run" / LAST)
    assert run(tmp_path / "run", steps=110).step == 110 > state["step"]


def test_two_commands_on_one_folder(tmp_path, straight, start):
    codes = []

    def at_step(step):
        if step == 3:
            process = start(run_here, tmp_path / "run", {})
            process.join()
            codes.append(process.exitcode)

    run(tmp_path / "run", ToyTask(at_step=at_step))
    assert codes == [2]
    assert_same_files(straight, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": None}, ["How long to train?", "--steps", "--time"]),
        ({"device": "cuda:77"}, ["--device cuda:77", "cpu"]),
        ({"device": "gpu"}, ["--device gpu"]),
        ({"precision": "fp16"}, ["--precision fp16", "cpu"]),
        ({"track": "wandb"}, ["pip install wandb"]),
        ({"name": "first"}, ["--out", "--name first"]),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_written(tmp_path, changes, words):
    with pytest.raises(UserError) as error:
        run(tmp_path / "run", **changes)
    assert all(word in str(error.value) for word in words)
    assert not list(tmp_path.iterdir())


# Steps that are not finite


def test_a_run_with_a_bad_step_goes_on_counts_it_and_says_so(tmp_path, capsys):
    task = ToyTask(spoil=lambda step, loss: loss * float("nan") if step == 10 else loss)
    result = train(task, toy_model(), toy_data(), settings(tmp_path / "run", steps=30))
    assert result.step == 30
    assert "step 11  loss or gradient is not finite: the step is skipped" in capsys.readouterr().out
    state = read_state(tmp_path / "run" / LAST)
    assert (state["skipped_steps"], state["average_updates"]) == (1, 29)
    assert metrics(tmp_path / "run")[-2]["skipped_steps"] == "1"


def test_bad_steps_for_ever_stop_it_with_a_diagnosis_and_a_good_checkpoint(tmp_path):
    task = ToyTask(spoil=lambda step, loss: loss * float("inf") if step >= 30 else loss)
    with pytest.raises(NonFiniteError) as error:
        run(tmp_path / "run", task, max_bad_steps=5)
    message = str(error.value)
    assert "stopped after step 35" in message
    assert "5 steps in a row" in message
    assert "in the sum of the loss" in message
    assert "Try a lower --learning-rate" in message
    assert str(tmp_path / "run" / LAST) in message
    assert error.value.exit_code == 1
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.state["step"] == 20
    assert all(tensor.isfinite().all() for tensor in checkpoint.tensors.values())


def test_bad_images_are_named(tmp_path):
    data = toy_data()
    data.splits["train"].images[[3, 30]] = float("nan")
    config = settings(tmp_path / "run", batch_size=37, max_bad_steps=1)
    with pytest.raises(NonFiniteError) as error:
        train(ToyTask(), toy_model(), data, config, quiet=True)
    assert "in the data: " in str(error.value)
    assert "train-3.png" in str(error.value)
    assert "train-30.png" in str(error.value)


# Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, capfd, number, code):
    handlers = signal.getsignal(number)
    config = settings(tmp_path / "run")
    result = train(interrupt_at(33, number), toy_model(), toy_data(), config)
    assert (result.exit_code, result.step) == (code, 34)
    assert read_state(tmp_path / "run" / LAST)["step"] == 34
    assert not (tmp_path / "run/model").exists()
    assert f"visarch train --resume {tmp_path / 'run'}" in capfd.readouterr().out
    assert signal.getsignal(number) is handlers


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def at_step(step):
        if step == 33:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
            pytest.fail("the step went on")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", ToyTask(at_step=at_step))
    assert read_state(tmp_path / "run" / LAST)["step"] == 20
    assert run(tmp_path / "run").step == 100


# What a run leaves


def test_the_run_folder_holds_what_it_should(straight):
    config = read_config(straight)
    assert config.pop("task") == "toy"
    assert from_mapping(TrainConfig, config, place="") == settings(straight)
    assert {p.name for p in (straight / "samples").iterdir()} == {
        "step-000050-sample.png",
        "step-000100-sample.png",
    }
    with Image.open(straight / "samples/step-000100-sample.png") as picture:
        assert picture.size == (4, 4)
    steps = [int(row["step"]) for row in metrics(straight)]
    assert steps == sorted({*range(7, 100, 7), 25, 50, 75, 100})
    environment = yaml.safe_load((straight / "environment.json").read_text())
    assert environment[0]["versions"]["torch"] == torch.__version__
    assert yaml.safe_load((straight / "data.json").read_text())["source"] == "toy"


def test_the_finished_model_is_the_average_with_exact_statistics(straight):
    model = ToyModel.from_pretrained(straight / "model").eval()
    stored = load_file(straight / LAST)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, stored[f"ema.{name}"])
        assert not torch.equal(parameter, stored[f"model.{name}"])
    assert not torch.equal(model.norm.running_mean, stored["ema.norm.running_mean"])
    noisy = toy_data().splits["train"].images  # the loss adds a little noise
    inputs = model.conv(noisy)
    torch.testing.assert_close(model.norm.running_mean, inputs.mean((0, 2, 3)), atol=0.01, rtol=0)
    torch.testing.assert_close(model.norm.running_var, inputs.var((0, 2, 3)), atol=0.02, rtol=0)


def test_what_is_evaluated_is_the_average(tmp_path):
    seen = {}

    class Watching(ToyTask):
        def evaluate(self, model, split, noise):
            if self.evaluations == 0:
                seen.update({name: t.clone() for name, t in model.state_dict().items()})
            return super().evaluate(model, split, noise)

    config = {"steps": 11, "evaluate_every": 10, "checkpoint_every": 10}
    run(tmp_path / "run", Watching(at_step=lambda step: None), **config)
    stored = load_file(tmp_path / "run" / BEST)
    assert seen
    run(tmp_path / "ten", **(config | {"steps": 10, "evaluate_every": 0}))
    stored = load_file(tmp_path / "ten" / LAST)
    assert all(torch.equal(seen[name], stored[f"ema.{name}"]) for name in seen)


@pytest.mark.parametrize(("direction", "best"), [("min", 10), ("max", 15)])
def test_the_best_checkpoint_is_the_best(tmp_path, direction, best):
    class Scripted(ToyTask):
        metric = ("score", direction)

        def evaluate(self, model, split, noise):
            self.evaluations += 1
            return {"score": [3.0, 1.0, 9.0, float("nan"), 5.0][self.evaluations - 1]}

    run(tmp_path / "run", Scripted(), steps=25, evaluate_every=5)
    state = read_state(tmp_path / "run" / BEST)
    assert (state["step"], state["metric"]) == (best, {10: 1.0, 15: 9.0}[best])


def test_without_validation_images_there_is_nothing_to_evaluate(tmp_path):
    task = ToyTask()
    data = toy_data(num_validation=0)
    result = train(task, toy_model(), data, settings(tmp_path / "run", steps=30), quiet=True)
    assert (result.metrics, task.evaluations) == ({}, 0)
    assert not (tmp_path / "run" / BEST).exists()
    assert (tmp_path / "run" / MODEL).exists()


@pytest.mark.parametrize("ema", [0.0, 0.05])
def test_reports_do_not_change_training(tmp_path, ema):
    often, never = (
        {"evaluate_every": every, "sample_every": every, "checkpoint_every": every}
        for every in (4, 0)
    )
    run(tmp_path / "often", steps=20, ema=ema, **often)
    run(tmp_path / "never", steps=20, ema=ema, **never)
    assert_same_files(tmp_path / "often", tmp_path / "never", [LAST, MODEL])


def test_training_learns(straight):
    losses = [float(row["loss"]) for row in metrics(straight) if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_without_a_place_gets_a_number_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = replace(settings(tmp_path, steps=5), out=None)
    path = train(ToyTask(), toy_model(), toy_data(), config, quiet=True).path
    assert str(path) == "runs/0001-toy-toy"
    assert train(ToyTask(), toy_model(), toy_data(), config, quiet=True).path.name[:4] == "0002"


def test_epochs_are_passes_over_the_training_images(tmp_path):
    result = run(tmp_path / "run", steps=None, epochs=2.5)
    assert result.step == 12  # 2.5 · 37 images, 8 per step


# Time budgets


def test_a_time_budget_is_kept_and_turned_into_steps_once(tmp_path):
    def slow(until):
        def at_step(step):
            time.sleep(0.01)
            if step == until:
                os.kill(os.getpid(), signal.SIGINT)

        return ToyTask(at_step=at_step)

    budget = {"steps": None, "decay": "cosine"}
    began = time.monotonic()
    stopped = run(tmp_path / "run", slow(40), time="2s", **budget)
    total = stopped.total_steps
    assert (stopped.step, stopped.exit_code) == (41, 130)
    assert 45 < total < 200
    finished = run(tmp_path / "run", slow(None), time="2s", **budget)
    assert finished.step == finished.total_steps == total
    assert time.monotonic() - began < 4
    assert run(tmp_path / "run", slow(total), time="4s", **budget).total_steps == 2 * total


# Several processes


def start_two(start, path, changes, *, spoil=False):
    """Two processes that train together; returns their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [start(run_one_of_two, path, changes, rank, port, spoil) for rank in (0, 1)]
    for process in started:
        process.join(60)
    return [process.exitcode for process in started]


def test_several_processes_learn_what_one_learns(tmp_path, start):
    changes = {"steps": 12, "checkpoint_every": 5}
    assert start_two(start, tmp_path / "two", changes) == [0, 0]
    run_without_batchnorm(tmp_path / "one", changes)
    one, two = load_file(tmp_path / "one" / LAST), load_file(tmp_path / "two" / LAST)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)
    for row, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert {k: float(v) for k, v in row.items()} == pytest.approx(
            {k: float(v) for k, v in other.items()}, rel=1e-4
        )
    # and one process goes on with what two began
    run_without_batchnorm(tmp_path / "two", changes | {"steps": 15})


def test_a_bad_part_of_the_batch_stops_every_process_and_is_named(tmp_path, start):
    assert start_two(start, tmp_path / "run", {}, spoil=True) == [1, 1]
    bad = int(batch_indices(0, 0, 37, 8)[5])  # it falls to the second process
    for rank in (0, 1):
        message = (tmp_path / f"message-{rank}").read_text()
        assert "stopped after step 1" in message
        assert f"in the data: train-{bad}.png" in message


def test_several_processes_agree_on_the_steps_that_fit_a_time(tmp_path, start):
    changes = {"steps": None, "time": "2s", "evaluate_every": 0, "sample_every": 0}
    assert start_two(start, tmp_path / "two", changes) == [0, 0]
    state = read_state(tmp_path / "two" / LAST)
    assert state["step"] == state["total_steps"] > 5


def run_one_of_two(path, changes, rank, port, spoil):
    torch.set_num_threads(1)
    TimeBudget.NUM_MEASURED += 3 * rank  # clocks differ, and so does what they have measured
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    if not spoil:
        run_without_batchnorm(path, changes)
        return
    data = toy_data()
    data.splits["train"].images[batch_indices(0, 0, 37, 8)[5]] = float("nan")
    try:
        train(ToyTask(), toy_model(), data, settings(path, max_bad_steps=1), quiet=True)
    except NonFiniteError as error:
        path.with_name(f"message-{rank}").write_text(str(error))
        sys.exit(error.exit_code)


def run_without_batchnorm(path, changes):
    """BatchNorm sees each process's part of the batch alone, and dropout is its own."""
    model = toy_model(dropout=0.0)
    model.norm = torch.nn.Identity()
    train(ToyTask(), model, toy_data(), settings(path, **changes), quiet=True)
