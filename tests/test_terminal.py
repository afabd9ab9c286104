"""What verbs say: results whole, notes and progress apart from them, as much as is asked for."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest
from rich.table import Table

from visarch.data import Data
from visarch.terminal import (
    Manner,
    console,
    has_colors,
    is_quiet,
    note,
    note_skipped,
    print_table,
    progress,
    speaking,
    tell,
)


def test_a_table_is_whole_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    cells = ["x" * 300, "some words", "y" * 80]
    table = Table("a", "b", "c")
    table.add_row(*cells)
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(cell in lines[3] for cell in cells)


def test_notes_leave_the_results_alone(capsys):
    note("something to know")
    assert capsys.readouterr() == ("", "something to know\n")


@pytest.mark.parametrize(("count", "listed"), [(0, 0), (5, 5), (8, 5)])
def test_a_few_of_what_is_skipped_is_listed_and_the_rest_counted(count: int, listed: int, capsys):
    skipped = [(f"{number}.png", "is empty (0 bytes)") for number in range(count)]
    note_skipped(Data("x", "folder", (1, 4, 4), 256, {}, skipped=skipped))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:listed] == [f"skipped {n}.png: is empty (0 bytes)" for n in range(listed)]
    assert lines[listed:] == ([f"… and {count - listed} more"] if count > listed else [])


def test_progress_is_silent_where_there_is_no_terminal(capsys):
    with progress("counting") as tell:
        tell(1, 2)
        tell(2, 2)
    assert capsys.readouterr() == ("", "")


def test_json_is_all_there_is_on_stdout(capsys):
    with speaking(Manner(json=True)):
        print("at work")
        note("beside")
        tell({"a": [1.5, (2, "σ")], "b": None}, parts())
    output, messages = capsys.readouterr()
    assert json.loads(output) == {"a": [1.5, [2, "σ"]], "b": None}
    assert messages == "at work\nbeside\n"


def parts():
    """That nobody asks for where nobody sees them."""
    yield pytest.fail("they were asked for")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_has_null_for_what_is_no_number(number: float, capsys):
    with speaking(Manner(json=True)):
        tell({"deep": [{"down": number}, (number,)]}, [])
    assert json.loads(capsys.readouterr().out) == {"deep": [{"down": None}, [None]]}


def test_json_keeps_its_letters_where_stdout_cannot_spell_them(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="replace")
    monkeypatch.setattr(sys, "stdout", stdout)
    with speaking(Manner(json=True)):
        tell(["σ"], [])
    stdout.flush()
    assert json.loads(stdout.buffer.getvalue()) == ["σ"]


def test_readers_see_lines_and_tables(capsys):
    table = Table("heading")
    table.add_row("cell")
    tell({}, ["before", table])
    output = capsys.readouterr().out
    assert output.startswith("before\n")
    assert "cell" in output


def test_the_quiet_say_nothing(capsys):
    with speaking(Manner(quiet=True)):
        print("at work")
        note("beside")
        tell({}, parts())
        assert is_quiet()
    assert capsys.readouterr() == ("", "")
    assert not is_quiet()


def test_the_quiet_still_answer_programs(capsys):
    with speaking(Manner(quiet=True, json=True)):
        print("at work")
        note("beside")
        tell([1], parts())
    assert capsys.readouterr() == ("[\n  1\n]\n", "")


def test_what_is_said_afterwards_is_said_as_ever(capsys):
    with pytest.raises(KeyError), speaking(Manner(json=True, quiet=True)):
        raise KeyError
    print("on")
    assert capsys.readouterr().out == "on\n"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "colored"),
    [
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"NO_COLOR": ""}, True),
        (Screen(), {"TERM": "dumb"}, False),
        (Screen(), {"FORCE_COLOR": "0"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colors(stream, environment, colored, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    assert has_colors(stream) == colored
    console().print("text", style="red")
    assert ("\x1b" in stream.getvalue()) == colored


def test_forced_colors_move_nothing(capsys, monkeypatch):
    """A file with colors is still no terminal: no bar is drawn, no table cut."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    table = Table(header_style="bold")
    table.add_column("x" * 50)
    with progress("counting") as report:
        report(1, 2)
    print_table(table)
    output, messages = capsys.readouterr()
    assert messages == ""
    assert "x" * 50 in output
    assert set(re.findall(r"\x1b\[[\d;]*(.)", output)) == {"m"}
