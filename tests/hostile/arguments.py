"""Values that nobody meant, for any flag."""

from __future__ import annotations

from importlib import import_module

from visarch.cli import VERBS
from visarch.cli.flags import flag_names

NUMBERS = [
    *("-1", "0", "-0", "1", "0.5", "-0.5", "1e-300", "1e300", "1e400", "nan", "inf", "-inf"),
    *("2147483648", "9223372036854775808", "9" * 30, "9" * 5000, "1_000", "0x10", "٣", "1,2", "½"),
]
TEXTS = [
    *("", " ", "--", "-", "None", "null", "True", "no", "é", "日本", "\U0001f600", "a\nb", "\t"),
    *("%s", "{}", "$HOME", "~", "*", "a" * 300, "\udcff", "../..", "/", ".", "nowhere/at/all"),
    *("/dev/null", "/dev/null/below", "hf:", "hf:/", "digits", "auto", "cpu", "meta", "cuda:99"),
]
WILD = [*NUMBERS, *TEXTS]

NOT_RUN = {"--compile", "--track"}
"""Flags that have others do something, and take long about it."""


def flags_of(name: str) -> list[str]:
    """The flags of one of `visarch.cli.VERBS`."""
    module, _, class_name = VERBS[name].target.partition(":")
    return flag_names(getattr(import_module(module), class_name))


def verb_of(command: str) -> str:
    """The name in VERBS of one of `commands`: "evaluate diffusion" is `evaluate`."""
    return command if command in VERBS else command.split()[0]
