"""The frame: choosing a verb, answering mistakes, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tyro.conf import Positional, arg

from visarch import __version__, cli
from visarch.cli import VERBS, Verb, main
from visarch.cli.flags import nearest
from visarch.errors import UserError


@dataclass(frozen=True)
class Inner:
    """Flags of a dataclass inside the verb's."""

    learning_rate: float = 1e-3
    """The step size."""
    batch_size: int = 32
    """Images per step."""
    time: str | None = None
    """When to stop."""
    sides: tuple[int, ...] | None = None
    """How large."""
    chosen: tuple[bool, ...] | None = None
    """Which."""
    speed: Literal["slow", "fast"] | None = None
    """How fast."""
    kernel_size: int = 3
    """How wide."""

    def __post_init__(self) -> None:
        if self.kernel_size < 1:
            raise ValueError(f"Inner: kernel_size is {self.kernel_size}: it must be at least 1")
        if self.batch_size < 1:
            raise UserError(f"--batch-size is {self.batch_size}; it must be at least 1.")


@dataclass(frozen=True)
class Toy:
    """Do what it is told."""

    deed: Positional[str]
    """What to do."""
    times: Annotated[int, arg(aliases=["-n"])] = 1
    """How often."""
    loud: bool = False
    """Whether to shout."""
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.times < 1:
            raise UserError(f"--times is {self.times}; it must be at least 1.")

    def main(self) -> int | None:
        deeds = {
            "print": lambda: print(self),
            "three": lambda: 3,
            "value": lambda: self._raise(ValueError("the kernel size is 4; it must be odd")),
            "user": lambda: self._raise(UserError("no folder 'x'")),
            "foreign": lambda: json.loads("no JSON"),
            "defect": lambda: self._raise(RuntimeError("a defect")),
            "file": lambda: Path("/nonexistent/file").read_text(),
            "interrupt": lambda: self._raise(KeyboardInterrupt()),
        }
        result = deeds[self.deed]()
        return result if isinstance(result, int) else None

    def _raise(self, error: BaseException) -> None:
        raise error


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that is found like the others, in a module whose errors count as visarch's own."""
    monkeypatch.setitem(globals(), "__name__", "visarch.cli.toy")
    monkeypatch.setitem(sys.modules, "visarch.cli.toy", sys.modules[Toy.__module__])
    monkeypatch.setitem(cli.VERBS, "toy", Verb("DEED", "do what it is told", "visarch.cli.toy:Toy"))


class TestAnswers:
    @pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
    def test_help_lists_every_verb(self, arguments, capsys):
        assert main(arguments) == 0
        output = capsys.readouterr().out
        for name, verb in VERBS.items():
            assert f"{name} {verb.usage}" in output
            assert verb.summary in output
        assert max(map(len, output.splitlines())) <= 100

    def test_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"visarch {__version__}\n"

    def test_flags_reach_the_dataclass(self, capsys):
        assert main(["toy", "print", "-n", "4", "--loud", "--batch-size=8", "--time", "10m"]) == 0
        expected = Toy("print", times=4, loud=True, inner=Inner(batch_size=8, time="10m"))
        assert capsys.readouterr().out == f"{expected}\n"

    def test_negative_and_several_values_reach_it_too(self, capsys):
        arguments = ["--learning-rate", "-1e-3", "--sides", "3", "4", "--speed=fast", "--loud"]
        assert main(["toy", "print", *arguments]) == 0
        inner = Inner(learning_rate=-1e-3, sides=(3, 4), speed="fast")
        assert capsys.readouterr().out == f"{Toy('print', loud=True, inner=inner)}\n"

    def test_flags_may_be_written_with_underscores(self, capsys):
        assert main(["toy", "print", "--learning_rate", "0.5"]) == 0
        assert "learning_rate=0.5" in capsys.readouterr().out

    def test_what_a_verb_returns_is_the_exit_code(self):
        assert main(["toy", "three"]) == 3

    @pytest.mark.parametrize("arguments", [["train", "--help"], ["train", "-h"]])
    def test_train_lists_its_things(self, arguments, capsys):
        assert main(arguments) == 0
        output = capsys.readouterr().out
        assert "train vae --data DATA" in output
        assert "train --resume RUN" in output
        assert "evaluate" not in output


class TestMistakes:
    def complaint(self, capsys, *arguments: str) -> str:
        """What is said to a mistake: on stderr only, code 2, no traceback."""
        assert main(arguments) == 2
        output, complaint = capsys.readouterr()
        assert output == ""
        assert "Traceback" not in complaint
        return complaint

    @pytest.mark.parametrize(
        ("written", "meant"),
        [("smaple", "sample"), ("eval", "evaluate"), ("Train", "train"), ("desc", "describe")],
    )
    def test_unknown_verb_is_answered_with_the_nearest(self, written, meant, capsys):
        assert f"Nearest: {meant}" in self.complaint(capsys, written)

    def test_unknown_flag_before_any_verb(self, capsys):
        assert "--version" in self.complaint(capsys, "--verison")

    @pytest.mark.parametrize("arguments", [["train"], ["train", "--data", "x"]])
    def test_train_without_a_thing_names_the_things(self, arguments, capsys):
        assert "needs to know what; there is: vae" in self.complaint(capsys, *arguments)

    def test_train_with_an_unknown_thing_names_the_things(self, capsys):
        assert "knows no 'vea'; there is: vae" in self.complaint(capsys, "train", "vea")

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("--lerning-rate", "--learning-rate"),
            ("--lerning-rate=0.1", "--learning-rate"),
            ("--lr", "--learning-rate"),
            ("--bs", "--batch-size"),
            ("--batch", "--batch-size"),
            ("--rate", "--learning-rate"),
            ("--inner.time", "--time"),
            ("--no-lod", "--no-loud"),
            ("--TIMES", "--times"),
        ],
    )
    def test_misspelt_flag_is_answered_with_the_nearest(self, written, meant, capsys):
        complaint = self.complaint(capsys, "toy", "print", written, "1")
        assert f"Nearest: {meant}" in complaint
        assert "`visarch toy --help`" in complaint

    def test_misspelt_flag_is_answered_before_what_is_missing(self, capsys):
        assert "Nearest: --times" in self.complaint(capsys, "toy", "--tmies", "2")

    def test_a_positional_is_not_a_flag(self, capsys):
        assert "no flag --deed" in self.complaint(capsys, "toy", "--deed", "print")

    def test_what_looks_like_a_flag_is_no_file(self, capsys):
        for arguments in (["-a.png"], ["print", "--time", "-a.png"]):
            assert "has no flag -a.png" in (answer := self.complaint(capsys, "toy", *arguments))
            assert "./-a.png" in answer

    def test_missing_positional(self, capsys):
        assert "DEED" in self.complaint(capsys, "toy")

    @pytest.mark.parametrize(
        ("arguments", "paragraph"),
        [
            ("--times", "--times needs a value: a whole number."),
            ("--times --loud", "--times needs a value: a whole number."),
            ("-n --loud", "-n needs a value: a whole number."),
            ("--times many", "--times is 'many'; it must be a whole number."),
            ("--times=2.5", "--times is '2.5'; it must be a whole number."),
            ("-n many", "-n is 'many'; it must be a whole number."),
            ("--learning_rate high", "--learning-rate is 'high'; it must be a number."),
            ("--time", "--time needs a value."),
            ("--sides", "--sides needs a value: a whole number."),
            ("--sides --loud", "--sides needs a value: a whole number."),
            ("--sides 3 wide", "--sides is 'wide'; it must be a whole number."),
            ("--chosen no yes", "--chosen is 'no'; it must be True or False."),
            ("--speed", "--speed needs a value: one of slow, fast."),
            ("--speed None", "--speed is 'None'; it must be one of slow, fast."),
            ("--kernel-size 0", "--kernel-size is 0: it must be at least 1"),
            ("--time=", "--time is empty; give a value, or leave it out."),
        ],
    )
    def test_a_value_that_is_missing_or_wrong_is_answered_in_a_paragraph(
        self, arguments, paragraph, capsys
    ):
        complaint = self.complaint(capsys, "toy", "print", *arguments.split())
        assert complaint == f"visarch: {paragraph}\n"

    @pytest.mark.parametrize("flag", ["--times", "--batch-size"])
    def test_value_that_the_dataclass_refuses(self, flag, capsys):
        complaint = self.complaint(capsys, "toy", "print", flag, "0")
        assert complaint == f"visarch: {flag} is 0; it must be at least 1.\n"

    def test_nothing_is_accepted_and_ignored(self, capsys):
        assert "surplus" in self.complaint(capsys, "toy", "print", "surplus")

    @pytest.mark.parametrize(
        ("deed", "paragraph"),
        [
            ("value", "the kernel size is 4; it must be odd"),
            ("user", "no folder 'x'"),
            ("file", "[Errno 2] No such file or directory: '/nonexistent/file'"),
        ],
    )
    def test_an_error_for_the_user_is_one_paragraph(self, deed, paragraph, capsys):
        assert self.complaint(capsys, "toy", deed) == f"visarch: {paragraph}\n"

    @pytest.mark.parametrize("arguments", [["toy", "user", "--debug"], ["--debug", "toy", "user"]])
    def test_debug_shows_the_traceback(self, arguments, capsys):
        assert main(arguments) == 2
        complaint = capsys.readouterr().err
        assert complaint.startswith("Traceback")
        assert complaint.endswith("UserError: no folder 'x'\n")

    @pytest.mark.parametrize("arguments", [["smaple"], ["toy", "print", "--tmies", "2"]])
    def test_debug_anywhere(self, arguments, capsys):
        assert main([*arguments, "--debug"]) == 2
        assert "Traceback" in capsys.readouterr().err

    @pytest.mark.parametrize(("deed", "kind"), [("defect", RuntimeError), ("foreign", ValueError)])
    def test_a_defect_keeps_its_traceback(self, deed, kind):
        with pytest.raises(kind):
            main(["toy", deed])

    def test_interrupted(self, capsys):
        assert main(["toy", "interrupt"]) == 130
        assert capsys.readouterr().err == "Interrupted.\n"


class TestNearest:
    FLAGS = ("--data", "--out", "--batch-size", "--learning-rate", "--seed", "--steps")

    @given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=5))
    def test_always_names_some_of_the_candidates(self, name, candidates):
        assert set(nearest(name, candidates)) <= set(candidates)
        assert 1 <= len(nearest(name, candidates)) <= 3

    @given(st.sampled_from(FLAGS), st.data())
    def test_one_slip_of_the_finger_is_understood(self, flag, data):
        position = data.draw(st.integers(2, len(flag) - 2))
        swapped = flag[:position] + flag[position + 1] + flag[position] + flag[position + 2 :]
        dropped = flag[:position] + flag[position + 1 :]
        assert flag in nearest(swapped, self.FLAGS)
        assert flag in nearest(dropped, self.FLAGS)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "visarch", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def test_from_the_shell():
    assert run("--version").stdout == f"visarch {__version__}\n"
    mistake = run("smaple")
    assert mistake.returncode == 2
    assert mistake.stderr.startswith("visarch: there is no 'smaple'")
    assert mistake.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
@pytest.mark.parametrize(("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_colors_unless_it_declines_them(environment, colored):
    import pty

    parent, terminal = pty.openpty()
    command = [sys.executable, "-m", "visarch", "evaluate", "--help"]
    inherited = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment = inherited | {"TERM": "xterm"} | environment
    subprocess.run(command, stdout=terminal, stderr=terminal, env=environment, check=True)
    os.close(terminal)
    assert (b"\x1b" in os.read(parent, 1 << 16)) == colored


@pytest.mark.parametrize(("environment", "colored"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_a_file_gets_no_colors_unless_it_is_to_have_them(environment, colored):
    result = run("evaluate", "--help", TERM="xterm", **environment)
    assert result.returncode == 0
    assert ("\x1b" in result.stdout) == colored


def test_a_narrow_encoding_does_not_end_a_command():
    code = "from visarch.cli import main; main(['--version']); print('σ')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(b"?\n")


@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [("--version", "1", 0), ("--version", "0 1 2", 0), ("smaple", "2", 2), ("smaple", "0 1 2", 2)],
)
def test_closed_streams_are_no_error(arguments, closed, code):
    closing = " ".join(f"{descriptor}>&-" for descriptor in closed.split())
    command = ["sh", "-c", f'exec "$0" -m visarch {arguments} {closing}', sys.executable]
    result = subprocess.run(command, capture_output=True)
    assert (result.returncode, result.stderr) == (code, b"")


def test_what_is_written_to_a_closed_stream_gets_into_no_file(tmp_path):
    code = """
import os, sys
from visarch.cli import main
main(["--version"])
file = open(sys.argv[1], "w")
os.write(1, b"lost")
"""
    command = ["sh", "-c", 'exec "$0" -c "$1" "$2" >&-', sys.executable, code, tmp_path / "file"]
    assert subprocess.run(command).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_streams_that_cannot_be_written():
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "visarch"]
        result = subprocess.run([*command, "--help"], stdout=full, stderr=subprocess.PIPE)
        assert result.returncode == 2
        assert result.stderr.startswith(b"visarch: stdout could not be written")
        assert subprocess.run([*command, "smaple"], stderr=full).returncode == 2


def test_a_current_folder_that_is_gone(tmp_path):
    tmp_path = tmp_path / "gone"
    tmp_path.mkdir()
    script = f'cd {tmp_path} && rmdir {tmp_path} && exec "$0" -m visarch check digits'
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = ["sh", "-c", script, sys.executable]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert "visarch: The current folder has been removed" in result.stderr


def test_an_interrupt_during_an_import_is_not_swallowed(tmp_path):
    (tmp_path / "slow.py").write_text("""
import os, signal, weakref

class Thing: pass

def called_back(reference):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass

thing = Thing()
reference = weakref.ref(thing, called_back)
del thing
print("went on", flush=True)
""")
    code = """
from visarch import cli
cli._run = lambda arguments: __import__("slow") and 0
cli.main([])
"""
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(cli.__file__).parents[2]}"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize("arguments", [["--help"], ["describe", "vae"]], ids=" ".join)
def test_a_reader_who_leaves_is_no_error(arguments):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "visarch", *arguments]
    result = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert result.returncode == 141
    assert result.stderr == b""
