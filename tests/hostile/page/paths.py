"""Ways to what is not the page's, or not for whoever asks."""

from __future__ import annotations

import json
from random import Random

from .images import png
from .traps import Traps
from .visitor import RANGES, Deed, Visitor


def other_path(visitor: Visitor, random: Random) -> str:
    """What is not there to be asked."""
    path = random.choice(
        [
            *("/gradio_api/run/take", "/gradio_api/call/take", "/gradio_api/api/take", "/run/take"),
            *(
                "/gradio_api/queue/status",
                "/gradio_api/vibe-edit",
                "/login",
                "/gradio_api/stream/x",
            ),
            *("/gradio_api/component_server", "/gradio_api/process_recording", "/monitoring"),
        ]
    )
    method = random.choice(["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
    status, text = visitor.request(method, path, b"{}", Content_Type="application/json")
    assert status in (403, 404, 405), (method, path, status, text[:200])
    return str(status)


def path_trick(traps: Traps) -> Deed:
    def deed(visitor: Visitor, random: Random) -> str:
        """The path of a file that is not the page's."""
        own = visitor.upload("a.png", png(random))
        up = "../" * 12
        target = random.choice([traps.canary, "/etc/passwd", "/proc/self/environ"])
        twice = target.replace("/", "%252f")
        once = target.replace("/", "%2f")
        path = random.choice(
            [
                *(f"/gradio_api/file={target}", f"/file={target}", f"/gradio_api/file/{target}"),
                *(f"/gradio_api/file={up}{target[1:]}", f"/gradio_api/file={own}/{up}{target[1:]}"),
                f"/gradio_api/file={own}/{up.replace('..', '%2e%2e')}{target[1:]}",
                f"/gradio_api/file={own}/{up.replace('..', '%252e%252e')}{target[1:]}",
                f"/gradio_api/file={own}/{up.replace('/', '%2f')}{target[1:]}",
                f"/gradio_api/file={own}%00{target}",
                f"/gradio_api/file={target}%00.png",
                *(f"/gradio_api/file=file://{target}", f"/gradio_api/file={once}"),
                *(f"/gradio_api/file={twice}", f"/gradio_api/file=//{target}"),
                *(f"/static/{up}{target[1:]}", f"/assets/{up}{target[1:]}", f"/static/{target}"),
                *(f"/svelte/{up.replace('..', '%2e%2e')}{target[1:]}", f"/static/{once}"),
                f"/gradio_api/proxy=http://127.0.0.1:{traps.port}/canary",
                f"/gradio_api/file=http://127.0.0.1:{traps.port}/canary",
                f"/gradio_api/proxy=file://{target}",
                f"/?deep_link={up}{target[1:]}",
                f"/config?deep_link={up}{target[1:]}",
                f"/gradio_api/custom_component/x/client/component/{up}{target[1:]}",
                "/assets/" + "a" * 5000,
                "/gradio_api/file=" + "a" * 5000,
                f"http://127.0.0.1:{traps.port}/canary",
            ]
        )
        asked = {"Range": random.choice(RANGES)} if random.random() < 0.3 else {}
        status, text = visitor.request(random.choice(["GET", "HEAD"]), path, **asked)
        assert traps.secret not in text, path
        assert b"root:" not in text, path
        assert status in (400, 403, 404, 405) or "deep_link" in path, (path[:200], status)
        return str(status)

    return deed


def other_host(visitor: Visitor, random: Random) -> str:
    """Another site that had this machine's address, or its visitors' browsers."""
    host = random.choice(["evil.example", "127.0.0.1.evil.example", "", "[::1]evil", "a" * 5000])
    origin = random.choice(["https://evil.example", "null", "http://localhost.evil.example"])
    if random.random() < 0.5:
        status, _ = visitor.request("GET", "/config", Host=host)
    else:
        own = {"data": ["classifier"], "fn_index": 0, "session_hash": "x"}
        status, _ = visitor.request(
            "POST",
            "/gradio_api/queue/join",
            json.dumps(own).encode(),
            Origin=origin,
            Content_Type="text/plain",
        )
    assert status in (400, 403), status
    return str(status)
