import dataclasses
import re
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from visarch.errors import UserError
from visarch.training.config import (
    MAY_CHANGE,
    TrainConfig,
    differences,
    from_mapping,
    seconds_of,
    to_yaml,
)

CONFIGS = st.builds(
    TrainConfig,
    data=st.text(min_size=1),
    out=st.none() | st.text(),
    steps=st.none() | st.integers(1, 10**9),
    batch_size=st.integers(1, 10**5),
    optimizer=st.sampled_from(["adamw", "sgd"]),
    learning_rate=st.floats(1e-12, 1e3),
    weight_decay=st.floats(0, 10),
    warmup_steps=st.integers(1, 10**6),
    decay=st.sampled_from(["cosine", "inverse_sqrt", "constant"]),
    clip=st.floats(0, 1e6),
    ema=st.just(0.0) | st.floats(1e-6, 0.28),
    seed=st.integers(0, 2**31),
    precision=st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    compile=st.none() | st.booleans(),
)


@dataclass(frozen=True)
class Inner:
    widths: tuple[int, ...] = (1, 2)
    rate: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class TaskConfig(TrainConfig):
    inner: Inner = field(default_factory=Inner)
    shape: tuple[int, int] | None = None


@given(CONFIGS)
def test_yaml_gives_back_the_same_config(config):
    text = to_yaml(config, task="vae")
    values = yaml.safe_load(text)
    assert values.pop("task") == "vae"
    assert from_mapping(TrainConfig, values, place="config.yaml") == config


def test_yaml_gives_back_inherited_and_nested_configs_with_tuples():
    config = TaskConfig(data="digits", inner=Inner((3, 4, 5), 0.5), shape=(8, 9))
    values = yaml.safe_load(to_yaml(config))
    assert from_mapping(TaskConfig, values, place="config.yaml") == config


def test_a_number_that_yaml_takes_for_a_string_is_a_number():
    values = yaml.safe_load("data: digits\nlearning_rate: 1e-4\nweight_decay: 0")
    config = from_mapping(TrainConfig, values, place="config.yaml")
    assert config.learning_rate == 1e-4
    assert isinstance(config.weight_decay, float)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rte": 1}, ["learning_rte", "did you mean 'learning_rate'", "config.yaml"]),
        ({"batch_size": "many"}, ["batch_size", "'many'", "int"]),
        ({"batch_size": True}, ["batch_size", "True", "int"]),
        ({"compile": 1}, ["compile", "1", "bool"]),
        ({"optimizer": "adam"}, ["optimizer", "'adam'", "adamw"]),
        ({"inner": {"widths": [1, "x"]}}, ["widths", "'x'"]),
        ({"shape": [1, 2, 3]}, ["shape", "[1, 2, 3]"]),
    ],
)
def test_wrong_keys_and_values_in_yaml_are_named(changes, words):
    with pytest.raises(UserError) as error:
        from_mapping(TaskConfig, {"data": "digits", **changes}, place="config.yaml")
    assert all(word in str(error.value) for word in words)


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="lacks data"):
        from_mapping(TrainConfig, {}, place="config.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 10, "epochs": 2}, ["--steps 10", "--epochs 2"]),
        ({"steps": 0}, ["--steps", "0", "above 0"]),
        ({"epochs": -1.0}, ["--epochs", "-1"]),
        ({"batch_size": 0}, ["--batch-size", "0", "at least 1"]),
        ({"learning_rate": 0.0}, ["--learning-rate", "above 0"]),
        ({"learning_rate": float("nan")}, ["--learning-rate", "nan"]),
        ({"ema": 0.3}, ["--ema", "0.3", "at most 0.28"]),
        ({"ema": 1e-9}, ["--ema", "1e-09", "at least 1e-06"]),
        ({"image_channels": 0}, ["--image-channels", "at least 1"]),
        ({"decay": "linear"}, ["--decay", "'linear'", "cosine, inverse_sqrt, constant"]),
        ({"decay": "inverse_sqrt", "warmup_steps": 0}, ["--warmup-steps", "at least 1"]),
        ({"time": "10"}, ["--time", "'10'", "10m"]),
    ],
)
def test_values_out_of_range_are_named_with_their_range(changes, words):
    with pytest.raises(UserError) as error:
        TrainConfig(data="digits", **changes)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800)],
)
def test_times_are_read(text, seconds):
    assert seconds_of(text) == seconds


@given(st.text(alphabet="0123456789.smhd -", max_size=6))
def test_what_is_no_time_is_refused(text):
    assume(not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text) or not re.search("[1-9]", text))
    with pytest.raises(UserError, match=re.escape(repr(text))):
        seconds_of(text)


def test_differences_name_the_nested_key_and_both_values():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}}
    assert differences(old, new) == ["b.c (was 2, now 4)"]
    assert differences(old, old) == []


def test_what_may_change_exists_and_every_field_has_its_help():
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    assert names >= MAY_CHANGE
    with open(sys.modules[TrainConfig.__module__].__file__) as file:
        lines = file.read().splitlines()
    for name in names:
        position = next(i for i, line in enumerate(lines) if line.startswith(f"    {name}: "))
        assert lines[position + 1].startswith('    """'), name


def test_importing_settings_and_run_folders_does_not_import_torch():
    modules = "visarch.training.config, visarch.training.runfolder"
    code = f"import sys, {modules}; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
