"""Whatever is typed is done or answered: never a traceback, never an exit code of its own.

All values for all flags are tried by `tests/soak/input_arguments.py`.
"""

from __future__ import annotations

import socket
from importlib import import_module

import datasets
import huggingface_hub
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visarch.cli import VERBS
from visarch.cli.flags import parse
from visarch.errors import UserError

from .arguments import WILD, flags_of
from .commands import TRAINING, commands, inside, refused, typed

FLAGS = [(name, flag) for name in VERBS for flag in flags_of(name)]
POSITIONAL = {
    **dict.fromkeys(["evaluate", "report", "sample", "check", "describe", "bench"], "x"),
    **dict.fromkeys(["predict", "reconstruct", "embed"], "x y"),
    "interpolate": "x y z",
    **dict.fromkeys([f"train {task}" for task in TRAINING], "--data digits"),
}
"""What a verb needs beside its flags."""

values = st.one_of(
    st.sampled_from(WILD),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_characters="\0"), max_size=8),
)


def understood(name: str, arguments: list[str]) -> bool:
    """Whether a verb takes its flags; what is refused must be answered, and nothing else raised."""
    module, _, class_name = VERBS[name].target.partition(":")
    verb = getattr(import_module(module), class_name)
    try:
        parse(verb, arguments, f"visarch {name}")
    except UserError:
        return False
    except SystemExit as stop:  # tyro has answered, be it with help
        return stop.code == 0
    return True


@settings(max_examples=400)
@given(st.sampled_from(FLAGS), st.lists(values, max_size=2))
def test_every_flag_of_every_verb_takes_or_refuses_any_value(flag, given_values):
    name, written = flag
    understood(name, [*POSITIONAL.get(name, "").split(), written, *given_values])


@given(st.lists(st.one_of(values, st.sampled_from([*VERBS, *(flag for _, flag in FLAGS)]))))
@settings(max_examples=60)
def test_a_line_of_anything_is_answered(arguments):
    harmless = ["check", *arguments[:3]]  # `check` writes nothing, whatever it is given
    code, said = typed(*harmless)
    assert code in (0, 1, 2)
    assert "Traceback" not in said


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Whoever wants to reach another machine is refused, and remembered."""
    asked: list[tuple[object, ...]] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("there is no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for place in (huggingface_hub.constants, datasets.config):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    return asked


def test_each_command_works_and_none_asks_for_the_network(runs, no_network):
    with inside(runs):
        for name, command in commands(runs).items():
            code, said = typed(*command)
            assert code == 0, f"{name}: {said}"
    assert no_network == []


def test_only_who_asks_for_the_hub_reaches_for_it(tmp_path, no_network):
    with inside(tmp_path):
        refused("check", "hf:owner/name")
    assert no_network


WENT_WRONG = {
    "a width of nothing": ("train diffusion", "--widths", "-0", "--widths is (0,)"),
    "a device without numbers": ("sample", "--device", "meta", "--device meta is not to be had"),
    "channels of nothing": ("train vae", "--image-channels", "-1", "--image-channels is -1"),
    "an average of nothing": ("train vae", "--ema", "1e-300", "must be at least 1e-06"),
    "more than 64 bits": ("train classifier", "--seed", "9" * 30, "no number can be above"),
    "more digits than Python reads": ("sample", "-n", "9" * 5000, "must be a whole number"),
}


@pytest.mark.parametrize("case", WENT_WRONG.values(), ids=WENT_WRONG)
def test_what_once_went_wrong(case, runs):
    name, flag, value, answer = case
    with inside(runs):
        assert answer in refused(*commands(runs)[name], flag, value)


def test_a_network_beyond_all_memory_ends_as_a_training_that_memory_fails(runs):
    with inside(runs):
        command = commands(runs)["train diffusion"]
        answer = refused(*command, "--context-dim", "2147483648", code=1)
    assert "There is not enough memory" in answer
    assert "Nothing was saved yet" in answer
