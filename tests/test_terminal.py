"""What verbs say: results whole, notes and progress apart from them."""

from __future__ import annotations

import pytest
from rich.table import Table

from visarch.data import Data
from visarch.terminal import note, note_skipped, print_table, progress


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
