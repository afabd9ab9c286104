import re

import pytest
import torch
from rich.console import Console

from visarch.training import progress
from visarch.training.progress import Reporter, Speed, peak_memory


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_come_at_the_start_at_a_cadence_and_at_the_end(clock, capsys):
    reporter = Reporter()
    reporter.start()
    for step in range(1, 101):
        clock.now += 1
        reporter.step(step, 100, images=8, loss=1 / step)
    reporter.stop()
    lines = capsys.readouterr().out.splitlines()
    steps = [int(re.match(r"step (\d+)/100", line)[1]) for line in lines]
    assert steps == [1, 16, 31, 46, 61, 76, 91, 100]
    assert re.fullmatch(r"step 61/100  loss 0\.01639  8 images/s  0:39 left  \d+\.\d GiB", lines[4])


def test_a_length_that_is_not_known_yet_is_a_question_mark(clock, capsys):
    Reporter().step(1, None, images=8, loss=1.0)
    assert capsys.readouterr().out.startswith("step 1/?  loss 1  ")


def test_quiet_is_quiet(capsys):
    reporter = Reporter(quiet=True)
    reporter.start()
    reporter.say("hello")
    reporter.step(1, 1, images=8, loss=1.0)
    reporter.stop()
    assert capsys.readouterr().out == ""


def test_on_a_terminal_there_is_a_live_line_and_messages_stand_above_it(capsys):
    reporter = Reporter()
    reporter._console = Console(force_terminal=True, width=100, highlight=False)
    reporter.start()
    reporter.step(1, 4, images=8, loss=0.5)
    reporter.say("a [message] with brackets")
    reporter.step(2, 4, images=8, loss=0.25)
    reporter.stop()
    output = capsys.readouterr().out
    assert "a [message] with brackets" in output
    assert "step 2/4  loss 0.25" in output
    assert "\x1b[?25h" in output.rpartition("step 2/4")[2]  # the cursor is back


def test_speed_is_an_average_that_forgets_and_leaves_pauses_out(clock):
    reporter = Reporter(quiet=True)
    for _ in range(200):
        clock.now += 0.5
        reporter.step(1, None, images=8, loss=0.0)
    assert reporter.images_per_second == pytest.approx(16)
    reporter.pause()
    clock.now += 1000
    reporter.step(1, None, images=8, loss=0.0)
    clock.now += 0.5
    reporter.step(1, None, images=8, loss=0.0)
    assert reporter.images_per_second == pytest.approx(16)
    for _ in range(200):
        clock.now += 0.25
        reporter.step(1, None, images=8, loss=0.0)
    assert reporter.images_per_second == pytest.approx(32, rel=0.01)


def test_speed_needs_two_moments():
    speed = Speed()
    speed.add(1.0, 8)
    assert speed.rate == 0
    speed.add(3.0, 8)
    assert speed.rate == 4


def test_memory_is_that_of_the_process():
    before = peak_memory(torch.device("cpu"))
    block = torch.ones(50 * 2**20)
    assert peak_memory(torch.device("cpu")) >= before > 50 * 2**20
    assert peak_memory(torch.device("cpu")) >= block.nbytes
