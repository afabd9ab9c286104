"""Questions that no browser puts, and answers that nobody hears."""

from __future__ import annotations

import json
import uuid
from random import Random
from typing import Any

from .traps import Traps
from .use import wish
from .visitor import LIKELIEST, Deed, Visitor

NUMBERS = (None, True, -1, 0, 1.5, 1e9, 1e308, "three", "", [], {}, [1], float("nan"), 10**400)
TEXTS = (None, 7, "", "nobody", "\0", "\ud800", "x" * 10_000, [], ["classifier"], {}, "../..")
EVENTS = (None, 7, "step", [], {}, {"step": None}, {"step": "z"}, {"step": ["z"]}, {"_data": 1})
FILES = (
    *(7, "", "data:image/png;base64,AAAA", "/etc/passwd", [], {}, {"path": None}, {"path": 7}),
    {"path": None, "url": "http://127.0.0.1:{port}/canary"},
    {"url": "http://127.0.0.1:{port}/canary", "meta": {"_type": "gradio.FileData"}},
    {"path": "http://127.0.0.1:{port}/canary", "meta": {"_type": "gradio.FileData"}},
    {"path": "file:///etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"path": "{canary}", "meta": {"_type": "gradio.FileData"}},
    {"path": "{canary}", "url": "file://{canary}", "is_stream": True},
    [{"path": "{canary}", "meta": {"_type": "gradio.FileData"}}],
)


def wrong_values(traps: Traps) -> Deed:
    def deed(visitor: Visitor, random: Random) -> str:
        """A right question, with one of its values made something else."""
        right: dict[str, list[Any]] = {
            "take": ["classifier"],
            "answer": ["classifier", None, LIKELIEST],
            "look_around": ["classifier", None],
            "repaint": ["classifier", None, LIKELIEST],
            "encode": ["vae", None],
            "move": ["vae", None, *[0] * 8],
            "walk": ["vae", None, None],
            "drawn": ["vae", 0, 16],
            "drawn_1": wish(random, 2),
            "drawn_2": ["2-d", 7, 3, 1, 1],
            "look": ["classifier", None, "z", 0.5],
            "other": ["classifier", None, 0.5],
            "point": ["classifier", None, 0.5],
        }
        function = random.choice(list(right))
        data = right[function]
        place = random.randrange(len(data))
        data[place] = traps.laid(random.choice((*NUMBERS, *TEXTS, *FILES)))
        said = visitor.refusal(function, *data, event_data=random.choice(EVENTS))
        if said is None:
            return "answered"
        assert '"error": null' not in said, (function, data, said)
        assert not said.startswith("500"), (function, data, said)
        return "declined"

    return deed


def wrong_question(visitor: Visitor, random: Random) -> str:
    """What is no question, or one to nobody."""
    own = {"data": ["classifier"], "fn_index": visitor.functions["take"], "session_hash": "x"}
    question = random.choice(
        [
            *(b"", b"{", b"\xff\xff", b"[" * 100_000, b"null", b"[]", b"{}", b'"x"', b"7"),
            b'{"a":' * 50_000,
            b'{"data": [' + b"1," * 400_000 + b'1], "fn_index": 0, "session_hash": "x"}',
            json.dumps(own | {"fn_index": 999}),
            json.dumps(own | {"fn_index": -1}),
            json.dumps(own | {"fn_index": 10**400}),
            json.dumps(own | {"fn_index": None}),
            json.dumps(own | {"fn_index": "take"}),
            json.dumps(own | {"fn_index": None, "api_name": "nobody"}),
            json.dumps(own | {"session_hash": None}),
            json.dumps(own | {"session_hash": 7}),
            json.dumps(own | {"session_hash": ""}),
            json.dumps(own | {"session_hash": "x" * 100_000}),
            json.dumps(own | {"data": []}),
            json.dumps(own | {"data": {}}),
            json.dumps(own | {"data": ["classifier"] * 1000}),
            json.dumps(own | {"batched": True}),
            json.dumps(own | {"trigger_id": 10**9, "event_data": {"a": [1]}}),
            json.dumps(own | {"event_data": 7, "simple_format": True}),
            json.dumps(own | {"fn_index": visitor.functions["unnamed"]}),
            *(json.dumps(own | {"fn_index": n, "data": []}) for n in range(30)),
            json.dumps(own).replace('"classifier"', "NaN"),
            json.dumps(own).encode("utf-16"),
            json.dumps(own) + "x",
        ]
    )
    status, text = visitor.put(question if isinstance(question, bytes) else question.encode())
    assert status in (200, 400, 403, 404, 413, 422, 503), (status, question[:200], text[:200])
    return str(status)


def unknown_stream(visitor: Visitor, random: Random) -> str:
    """Listen where there is nothing to hear."""
    path = random.choice(
        [
            f"/gradio_api/queue/data?session_hash={uuid.uuid4().hex}",
            "/gradio_api/queue/data",
            f"/gradio_api/upload_progress?upload_id={uuid.uuid4().hex}",
            "/gradio_api/upload_progress",
        ]
    )
    status, _ = visitor.request("GET", path)
    assert status in (200, 404, 422), (path, status)
    return str(status)


def flood(visitor: Visitor, random: Random) -> str:
    """More questions at once than may wait; whoever is too many is told so. Then leave."""
    statuses = []
    for _ in range(60):
        status, text = visitor.join("drawn_1", wish(random, 30))
        statuses.append(status)
        if status != 200:
            assert status == 503, (status, text)
            assert b"Queue is full" in text, text
    if 200 in statuses:
        next(visitor.listen())
    assert 503 in statuses, "60 questions at once were all taken"
    return "told so"


def never_listen(visitor: Visitor, _: Random) -> str:
    """Ask for the longest answers, and hear none of them."""
    statuses = {visitor.join("drawn_2", ["2-d", 8, 5, 1, 4])[0] for _ in range(8)}
    assert statuses <= {200, 503}, statuses
    return "left"
