"""``visarch evaluate``: the numbers of the training again, and what one must know to read them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visarch import GaussianVAE


@pytest.fixture
def numbers(visarch):
    """Type an evaluation; gives what it says as JSON."""

    def run(command: str) -> dict:
        output, _ = visarch(f"evaluate {command} --json")
        return json.loads(output)

    return run


@pytest.fixture
def changed(digits, tmp_path: Path):
    """A copy of the run on digits whose weights one may change."""

    def change(function) -> Path:
        run = tmp_path / "changed"
        shutil.copytree(digits.path, run)
        model = GaussianVAE.from_pretrained(run / "model")
        with torch.no_grad():
            function(model)
        model.save_pretrained(run / "model")
        return run

    return change


# The numbers.


def test_they_are_those_of_the_end_of_training(trained, numbers):
    then = json.loads((trained.path / "evaluation.json").read_text())["metrics"]
    for split, metrics in then.items():
        told = numbers(f"{trained.path} --split {split} --importance-samples 0")
        assert told["metrics"] == metrics
        assert (told["split"], told["run"]) == (split, str(trained.path))
        assert told["trained_on_this_data"]
        if split == list(then)[-1]:
            assert numbers(f"{trained.path} --importance-samples 0") == told


def test_the_weighted_bound_is_tighter_and_leaves_the_rest(digits, numbers):
    without, few, more = (
        numbers(f"{digits.path} --importance-samples {count}") for count in (0, 2, 12)
    )
    for told, name in ((few, "IW-2"), (more, "IW-12")):
        assert without["metrics"].items() < told["metrics"].items()
        assert told["metrics"][f"{name} bits/dim"] < told["metrics"]["bits/dim"]
        assert told["metrics"]["ELBO"] < told["metrics"][f"{name} bound"]
    assert few["metrics"]["IW-2 bound"] < more["metrics"]["IW-12 bound"]


def test_bits_are_nats_on_the_scale_of_the_pixels(digits, signals, numbers):
    for trained in (digits, signals):
        told = numbers(f"{trained.path} --importance-samples 0")
        levels = told["levels"] or 1
        bits = -told["metrics"]["ELBO"] / told["numbers_per_image"] / np.log(2) + np.log2(levels)
        assert told["metrics"]["bits/dim"] == pytest.approx(bits)
        ratio = told["standard_errors"]["ELBO"] / told["standard_errors"]["bits/dim"]
        assert ratio == pytest.approx(told["numbers_per_image"] * np.log(2))
    assert numbers(f"{digits.path} --importance-samples 0")["levels"] == 256
    assert told["levels"] is None


@pytest.mark.parametrize(("split", "count"), [("validation", 500), ("test", 500), ("all", 5000)])
def test_which_part_of_the_data(split: str, count: int, digits, numbers):
    told = numbers(f"{digits.path} --split {split} --importance-samples 0")
    assert (told["split"], told["images"]) == (split, count)
    assert len(told["kl_per_dimension"]) == 8
    assert sum(told["kl_per_dimension"]) == pytest.approx(told["metrics"]["KL"], rel=1e-4)


def test_a_single_image_has_no_spread_and_raises_no_alarm(colors, numbers, tmp_path: Path):
    shutil.copytree(colors.path / "model", tmp_path / "lone")
    Image.new("RGB", (14, 10)).save(tmp_path / "one.png")
    told = numbers(f"{tmp_path / 'lone'} --data {tmp_path} --importance-samples 2")
    assert told["images"] == 1
    assert set(told["standard_errors"].values()) == {None}
    assert told["metrics"]["active units"] == 0
    assert not any("collapsed" in remark for remark in told["remarks"])


# The table.


def test_the_table_says_the_same(trained, visarch, numbers):
    output, _ = visarch(f"evaluate {trained.path} --importance-samples 2")
    told = numbers(f"{trained.path} --importance-samples 2")
    first, *_ = output.splitlines()
    assert first == f"{trained.path} on {trained.data}: {told['split']}, n = {told['images']}"
    rows = {}
    for line in output.splitlines():
        if line.startswith("│"):
            name, mean, error, unit = (cell.strip() for cell in line.strip("│").split("│"))
            rows[name] = (mean, error, unit)
    assert list(rows) == list(told["metrics"])
    for name, value in told["metrics"].items():
        mean, error, _ = rows[name]
        assert float(mean) == pytest.approx(value, rel=1e-3, abs=1e-3)
        if error:
            assert float(error) == pytest.approx(told["standard_errors"][name], rel=0.05, abs=0.05)
        else:
            assert name in ("rmse", "active units")
    assert rows["active units"][2] == "of 8 latent dimensions"
    assert rows["bits/dim"][2] == rows["IW-2 bits/dim"][2] == "bits"
    assert rows["IW-2 bound"][2] == rows["ELBO"][2] == "nats per image"

    listed = re.search(r"largest first:\n(.*)\n", output)
    assert listed
    expected = sorted(told["kl_per_dimension"], reverse=True)
    assert [float(value) for value in listed[1].split()] == pytest.approx(expected, abs=0.006)


# What one must know.


def test_nothing_where_all_is_well(digits, visarch, numbers):
    assert numbers(f"{digits.path} --importance-samples 0")["remarks"] == []
    output, notes = visarch(f"evaluate {digits.path} --importance-samples 0")
    assert len(output.splitlines()[-1].split()) == 8  # the KL of each dimension comes last
    assert notes == ""


def test_of_continuous_data_the_bits_are_of_a_density(signals, numbers, visarch):
    remarks = numbers(f"{signals.path} --importance-samples 0")["remarks"]
    (remark,) = [remark for remark in remarks if "continuous" in remark]
    assert "without log₂(levels)" in remark
    output, _ = visarch(f"evaluate {signals.path} --importance-samples 0")
    assert remark in output


def test_other_data_is_named(digits, colors, numbers, visarch):
    told = numbers(f"{digits.path} --data {colors.data} --importance-samples 0")
    assert not told["trained_on_this_data"]
    expected = f"{colors.data} is not what the run was trained on, digits."
    assert told["remarks"] == [expected]
    assert [skipped["name"] for skipped in told["skipped"]] == ["warm/broken.png"]
    output, notes = visarch(f"evaluate {digits.path} --data {colors.data} --importance-samples 0")
    assert output.endswith(f"\n{expected}\n")
    assert notes == "skipped warm/broken.png: is no image: it holds text\n"


def test_the_same_data_in_another_place_is_its_own(signals, numbers, tmp_path: Path):
    shutil.copy(signals.data, tmp_path / "copy.npz")
    told = numbers(f"{signals.path} --data {tmp_path / 'copy.npz'} --importance-samples 0")
    own = numbers(f"{signals.path} --importance-samples 0")
    assert told == {**own, "data": str(tmp_path / "copy.npz")}


def test_data_that_has_changed_is_noticed(signals, numbers, tmp_path: Path):
    shutil.copytree(signals.path, tmp_path / "run")
    shutil.copy(signals.data, tmp_path / "waves.npz")
    for name in ("data.json", "config.yaml"):
        file = tmp_path / "run" / name
        file.write_text(file.read_text().replace(signals.data, str(tmp_path / "waves.npz")))
    told = numbers(f"{tmp_path / 'run'} --importance-samples 0")
    assert told["trained_on_this_data"]
    with np.load(signals.data) as arrays:
        np.savez(tmp_path / "waves.npz", signals=arrays["signals"][:-1])
    told = numbers(f"{tmp_path / 'run'} --importance-samples 0")
    assert not told["trained_on_this_data"]
    assert "has changed since the run was trained on it" in told["remarks"][0]


def test_a_collapsed_posterior_raises_the_alarm(changed, numbers):
    def collapse(model: GaussianVAE) -> None:
        for parameter in (*model.encoder.f_mean.parameters(), *model.encoder.f_var.parameters()):
            parameter.zero_()

    told = numbers(f"{changed(collapse)} --importance-samples 0")
    assert told["metrics"]["KL"] == told["metrics"]["active units"] == 0
    (alarm,) = told["remarks"]
    assert alarm.startswith("The posterior has collapsed")
    assert "--kl-warmup-steps" in alarm


# What cannot be evaluated.


def test_a_split_that_is_not_there(colors, refused):
    assert "has no split test; it has train, validation, all." in refused(
        f"evaluate {colors.path} --split test"
    )


def test_a_model_on_its_own_needs_data(digits, refused, numbers):
    shutil.copytree(digits.path / "model", digits.path.parent / "lone", dirs_exist_ok=True)
    lone = digits.path.parent / "lone"
    assert "say which data to take" in refused(f"evaluate {lone}")
    told = numbers(f"{lone} --data digits --importance-samples 0")
    own = numbers(f"{digits.path} --importance-samples 0")
    assert told["metrics"]["KL"] == pytest.approx(own["metrics"]["KL"], rel=1e-3)  # other noise
    assert not any("assumed" in remark for remark in told["remarks"])
    (lone / "task.json").unlink()
    told = numbers(f"{lone} --data digits --importance-samples 0")
    assert "8-bit images of 1×28×28 are assumed" in told["remarks"][0]


def test_mistakes(digits, signals, refused, tmp_path: Path):
    assert "must be at least 0" in refused(f"evaluate {digits.path} --importance-samples=-1")
    assert "There is no run folder" in refused(f"evaluate {tmp_path / 'none'}")
    assert "There is no 'nowhere'" in refused(f"evaluate {digits.path} --data nowhere")
    assert "trained on 1-d data" in refused(f"evaluate {signals.path} --data digits")
