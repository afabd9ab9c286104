"""Each contender in a process of its own."""

import os
from dataclasses import dataclass

import pytest
import torch

from visarch.bench import harness
from visarch.bench.harness import Contender, Race, Work
from visarch.bench.processes import apart
from visarch.errors import UserError


@dataclass(frozen=True)
class Numbers:
    """Contenders that answer with where they are and what they drew, then do as they are told."""

    fate: str = "lives"

    def races(self):
        for title in ("first", "second"):
            drawn = torch.rand(())

            def make(name: str, drawn=drawn) -> Work:
                if self.fate == "refuses" and name == "peer":
                    raise UserError("there is no such peer")
                numbers = [torch.tensor(float(os.getpid())), drawn, torch.zeros(())]

                def call() -> None:
                    numbers[2] += 1
                    if self.fate == "dies":
                        os._exit(3)

                return Work(call, lambda: torch.stack(numbers))

            yield Race(
                title,
                Contender("ours", lambda: make("ours")),
                (Contender("peer", lambda: make("peer"), tolerance=float("inf")),),
            )


def test_each_has_its_own_process_and_the_same_numbers_in_all():
    titles, drawn = [], []
    for race in apart(Numbers()):
        works = [contender.make() for contender in (race.ours, *race.peers)]
        answers = [work.answer() for work in works if work.answer is not None]
        assert len({os.getpid(), *(int(answer[0]) for answer in answers)}) == 3
        assert answers[0][1] == answers[1][1]
        for work in works:
            work.call()
            work.repeat(5)
        titles.append(race.title)
        drawn.append(float(answers[0][1]))
    assert titles == ["first", "second"]
    assert drawn[0] != drawn[1]


def test_what_a_process_takes_to_start_is_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(harness, "TURN", 0.0)
    race = next(iter(apart(Numbers())))
    outcome = harness.run(race, seconds=0, rounds=1)
    for lap in (outcome.ours, *outcome.peers):
        assert lap.made < 1  # a Python that imports torch takes longer
        assert lap.turns[0] > 0


def test_what_it_refuses_is_told():
    race = next(iter(apart(Numbers("refuses"))))
    with pytest.raises(UserError, match=r"^there is no such peer$"):
        race.peers[0].make()


def test_a_process_that_ends_is_no_measurement():
    race = next(iter(apart(Numbers("dies"))))
    work = race.ours.make()
    with pytest.raises(RuntimeError, match="ended by itself"):
        work.call()
