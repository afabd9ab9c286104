"""Many at once on a page, and how it is judged."""

from __future__ import annotations

import math
import signal
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from .connections import crowd
from .deeds import WANTED, deeds
from .images import encoded
from .served import Served, ended, size
from .traps import Traps
from .use import wish
from .visitor import LIKELIEST, Busy, Declined, Deed, Visitor, image_at

QUEUE_FULL = "queue full"
_TRIES = 20
"""Of whoever is told that the queue is full."""
GROWTH = 1.1
"""By which memory may grow from the second quarter of the load to its last."""
_CROWD = 500
"""Connections at once."""
_ENOUGH = 240
"""Looks at the memory: two minutes of them say whether it grows, fewer do not."""
MOST_MEMORY = 1500
"""MiB that the load may take on top of what the page has at rest."""
MOST_TEMPORARY = 1500
"""MiB of temporary files."""
MOST_SECONDS = 20
"""For the same answers as before, once all have gone."""


class Record:
    """What was done to a page, what came of it, and what should not have."""

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.wrong: list[str] = []
        self.facts: dict[str, Any] = {}
        self.requests = self.longest_queue = 0
        self._lock = threading.Lock()

    def note(self, deed: str, outcome: str) -> None:
        with self._lock:
            self.outcomes[deed][outcome] += 1

    def complain(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what[:1000])

    @property
    def count(self) -> int:
        """Deeds, of which each is one request or some."""
        return sum(counter.total() for counter in self.outcomes.values())

    def __str__(self) -> str:
        lines = [f"{self.requests} requests in {self.count} deeds:"]
        for deed, counter in sorted(self.outcomes.items()):
            told = ", ".join(f"{outcome} {count}" for outcome, count in counter.most_common())
            lines.append(f"{counter.total():6} {deed}: {told}")
        lines += [f"{name}: {fact}" for name, fact in self.facts.items()]
        lines += self.wrong or ["Nothing went wrong."]
        return "\n".join(lines)


def answers(address: str) -> tuple[Any, ...]:
    """What a page says of one image, and draws for one seed: the same each time."""
    visitor = Visitor(address)
    visitor.look()
    image = image_at(
        visitor.upload("a.png", encoded(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3))
    )
    label, *_ = visitor.ask("answer", "classifier", image, LIKELIEST)
    samples, *_ = visitor.ask("drawn", "vae", 3, 4)
    drawn, *_ = visitor.ask("drawn_1", *wish(Random(0), 4))
    pictures = []
    for shown in (samples, drawn):
        status, picture = visitor.request("GET", f"/gradio_api/file={shown['path']}")
        assert status == 200, status
        pictures.append(picture)
    return label, *pictures, visitor.ask("drawn_2", "2-d", 7, 3, 1, 1)


def load(
    page: Served,
    laid: Traps,
    record: Record,
    clients: int,
    seed: int,
    *,
    seconds: float = math.inf,
    turns: float = math.inf,
) -> None:
    """Have so many clients do what they like for so long, or so often; each a new visitor with
    each deed, and each deed once before the first is done again."""
    first = Visitor(page.address)
    first.look()
    chosen = deeds(laid)
    names, weights = list(chosen), [often for _, often in chosen.values()]
    record.facts["memory at rest (MiB)"] = round(page.status("VmRSS") / 1024)
    until = time.monotonic() + seconds

    def live(number: int) -> None:
        random = Random(f"{seed} {number}")
        turn = 0
        while turn < turns and time.monotonic() < until and page.is_alive:
            position = turn * clients + number
            name = names[position] if position < len(names) else random.choices(names, weights)[0]
            turn += 1
            for _ in range(_TRIES):
                outcome = one(name, chosen[name][0], random)
                record.note(name, outcome)
                if outcome != QUEUE_FULL or time.monotonic() > until:
                    break
                time.sleep(random.uniform(1, 3))

    def one(name: str, deed: Deed, random: Random) -> str:
        """What came of a deed of someone new."""
        visitor = Visitor(page.address)
        visitor.functions = first.functions
        try:
            return deed(visitor, random)
        except Busy:
            return QUEUE_FULL
        except Declined as said:
            if deed in WANTED:
                record.complain(f"{name}: declined: {said}")
            return "declined"
        except Exception as error:
            record.complain(f"{name}: {error!r}")
            return type(error).__name__
        finally:
            record.requests += visitor.requests
            record.longest_queue = max(record.longest_queue, visitor.longest_queue)
            for said in visitor.heard:
                if laid.secret in said or b"Traceback" in said:
                    record.complain(f"{name}: it answered {said[:300]!r}")

    threads = [threading.Thread(target=live, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rest(page: Served, record: Record, right: tuple[Any, ...]) -> None:
    """Once all have gone, and a crowd that says nothing too, it answers as before."""
    crowd(Visitor(page.address), _CROWD)
    began = time.monotonic()
    if answers(page.address) != right:
        record.complain("after the load it answers otherwise than before")
    record.facts["seconds until it answers again"] = round(time.monotonic() - began, 1)
    began = time.monotonic()
    answers(page.address)
    seconds = time.monotonic() - began
    record.facts["seconds for the answers thereafter"] = round(seconds, 1)
    if seconds > MOST_SECONDS:
        record.complain(f"after the load it takes {seconds:.0f} seconds to answer")


def end(
    page: Served, record: Record, laid: Traps, asked: list[str], readable: Sequence[Path]
) -> None:
    """End it while it works, and judge all that was seen of it."""
    memory, temporary = page.memory, page.temporary
    quarter = max(1, len(memory) // 4)
    early = statistics.mean(memory[quarter : 2 * quarter])
    late = statistics.mean(memory[-quarter:])
    idle = record.facts["memory at rest (MiB)"]
    peak = round(page.status("VmHWM") / 1024)
    record.facts |= {
        "largest memory (MiB)": peak,
        "mean memory of the second and the last quarter (MiB)": f"{early:.0f}, {late:.0f}",
        "memory in the end (MiB)": round(page.status("VmRSS") / 1024),
        "largest temporary files (MiB)": round(max(temporary)),
        "longest queue": record.longest_queue,
        "open files in the end": page.connections,
        "threads in the end": page.status("Threads"),
    }
    if len(memory) > _ENOUGH and late > GROWTH * early:
        record.complain(f"memory grows: {early:.0f} MiB, then {late:.0f} MiB")
    if peak > idle + MOST_MEMORY:
        record.complain(f"memory: {peak} MiB at most, {idle} MiB at rest")
    if max(temporary) > MOST_TEMPORARY:
        record.complain(f"temporary files: {max(temporary):.0f} MiB")
    if record.longest_queue > 32:
        record.complain(f"{record.longest_queue} questions waited")
    visitor = Visitor(page.address)
    visitor.look()
    visitor.join("drawn_1", wish(Random(0), 250))
    code, seconds = ended(page, signal.SIGTERM)
    assert page.process.stdout is not None
    said = page.process.stdout.read()
    record.facts["seconds to end it"] = round(seconds, 1)
    if code or said != "The page has ended.\n":
        record.complain(f"it ended with {code}, saying {said!r}")
    record.facts["lines on stderr"] = dict(Counter(page.log.splitlines()))
    if "Traceback" in page.log or "rror" in page.log:
        record.complain(f"on stderr: {page.log[-3000:]}")
    if asked:
        record.complain(f"it asked another server for {asked}")
    looked_at, touched = page.touched(readable)
    record.facts["files and connections that were watched"] = looked_at
    for line in touched[:20]:
        record.complain(f"it touched {line}")
    for name in ("home", "here", "tmp"):
        if left := list((page.folder / name).iterdir()):
            record.complain(f"it left {left}, {size(page.folder / name)} bytes")
    if any((page.folder.parent / name).exists() for name in ("owned", "escaped")):
        record.complain("a file of theirs escaped")
