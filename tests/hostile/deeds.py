"""What twenty people at once do to a page: what it is there for, and all that it is not.

Each deed returns what came of it in a word or two, and raises AssertionError where the page did
what it must not.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import socket
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from .visitor import Busy, Declined, Visitor, image_at

Deed = Callable[[Visitor, Random], str]
LIKELIEST = "the likeliest class"
LARGE = 100 * 2**20


def png(random: Random, side: int = 8) -> bytes:
    """A small gray image."""
    return encoded(np.frombuffer(random.randbytes(side * side), np.uint8).reshape(side, side))


def encoded(pixels: np.ndarray, kind: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def png_of_size(width: int, height: int, *before: tuple[bytes, bytes]) -> bytes:
    """The beginning of a PNG that claims this size, with no more pixels than a row of zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(width + 1))
    chunks = [(b"IHDR", header), *before, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def no_images() -> dict[str, bytes]:
    """Files that are no image, or none that could be used, by what they are."""
    whole = encoded(np.zeros((40, 40, 3), np.uint8))
    return {
        "nothing": b"",
        "words.png": b"just words",
        "cut.png": whole[: len(whole) // 2],
        "bomb.png": png_of_size(60_000, 60_000),
        "large.png": png_of_size(8000, 6000),
        "flat.png": png_of_size(2**31 - 1, 1),
        "text bomb.png": png_of_size(
            8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * 2**20), 9))
        ),
        "profile bomb.png": png_of_size(
            8, 8, (b"iCCP", b"a\0\0" + zlib.compress(bytes(80 * 2**20), 9))
        ),
        "array.npz": zipped("a.npy", bytes(1000)),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "page.html": b"<html><script>alert(1)</script></html>",
        "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(100),
        "noise.jpg": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20,
        "pickle.pkl": b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.",
    }


def classify(visitor: Visitor, random: Random) -> str:
    path = visitor.upload("a.png", png(random))
    label, heat, _ = visitor.ask("answer", "classifier", image_at(path), LIKELIEST)
    shares = [entry["confidence"] for entry in label["confidences"]]
    assert math.isclose(sum(shares), 1, abs_tol=1e-4), shares
    asked = {"Range": random.choice(RANGES)} if random.random() < 0.3 else {}
    status, picture = visitor.request("GET", f"/gradio_api/file={heat['path']}", **asked)
    assert status == 200, status
    with Image.open(io.BytesIO(picture)) as shown:
        shown.load()
    return "answered"


def look_around(visitor: Visitor, random: Random) -> str:
    path = visitor.upload("a.png", png(random))
    (gallery,) = visitor.ask("look_around", "classifier", image_at(path))
    assert gallery, gallery
    return "answered"


def encode(visitor: Visitor, random: Random) -> str:
    path = visitor.upload("a.png", png(random))
    visitor.ask("encode", "vae", image_at(path))
    visitor.ask("move", "vae", None, *(random.uniform(-4, 4) for _ in range(8)))
    return "answered"


def walk(visitor: Visitor, random: Random) -> str:
    ends = [image_at(visitor.upload("a.png", png(random))) for _ in range(2)]
    (way,) = visitor.ask("walk", "vae", *ends)
    assert way["path"]
    return "answered"


def draw_samples(visitor: Visitor, random: Random) -> str:
    visitor.ask("drawn", "vae", random.randrange(2**31), random.randint(1, 64))
    return "answered"


def wish(random: Random, steps: int) -> list[Any]:
    """What someone asks of a diffusion model."""
    sampler = random.choice(["ddpm", "ddim", "heun", "dpm++"])
    seed = random.randrange(2**31)
    return ["diffusion", "each class in turn", "", sampler, steps, 1.0, seed, 16]


def generate(visitor: Visitor, random: Random) -> str:
    visitor.ask("drawn_1", *wish(random, random.randint(1, 30)))
    return "answered"


def generate_long(visitor: Visitor, random: Random) -> str:
    visitor.ask("drawn_1", *wish(random, 250))
    return "answered"


def look_inside(visitor: Visitor, random: Random) -> str:
    path = visitor.upload("a.png", png(random))
    maps, said = visitor.ask("look", "classifier", image_at(path), "z", 0.5)
    assert maps["path"], said
    return "answered"


def matrix(visitor: Visitor, random: Random) -> str:
    svg, said = visitor.ask(
        "drawn_2",
        random.choice(["1-d", "2-d"]),
        random.randint(5, 8),
        random.randint(1, 5),
        random.randint(1, 4),
        random.randint(0, 4),
    )
    assert svg.startswith("<svg"), said
    return "answered"


def take_held_out(visitor: Visitor, _: Random) -> str:
    visitor.ask("take", "classifier")
    return "answered"


def open_page(visitor: Visitor, random: Random) -> str:
    path = random.choice(["/", "/config", "/theme.css", "/favicon.ico", "/manifest.json"])
    status, _ = visitor.request("GET", path)
    assert status == 200, (path, status)
    return "200"


def upload_within(visitor: Visitor, random: Random) -> str:
    """The largest file that is taken, and no image."""
    path = visitor.upload("large.png", random.randbytes(20 * 2**20 - 1000))
    return declined(visitor, path)


def upload_pixels(visitor: Visitor, random: Random) -> str:
    """As many pixels as are taken, of the kind that needs most memory."""
    path = visitor.upload("wide.png", encoded(np.zeros((6000, 6500, 4), np.uint8)))
    visitor.ask("answer", "classifier", image_at(path), LIKELIEST)
    return "answered"


def upload_too_large(visitor: Visitor, _: Random) -> str:
    """100 MB, as a browser sends them."""
    pieces = iter([bytes(2**20)] * (LARGE // 2**20))
    kind = "multipart/form-data; boundary=x"
    try:
        status, text = visitor.request(
            "POST", "/gradio_api/upload", pieces, Content_Type=kind, Content_Length=str(LARGE)
        )
    except ConnectionError:
        return "connection closed"
    assert status == 413, (status, text)
    assert b"20 MiB" in text, text
    return "413"


def upload_without_length(visitor: Visitor, _: Random) -> str:
    """100 MB, in chunks whose number is not told."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'

    def chunks() -> Iterator[bytes]:
        for piece in (head, *[bytes(2**20)] * (LARGE // 2**20)):
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    kind = "multipart/form-data; boundary=x"
    try:
        status, text = visitor.request(
            "POST", "/gradio_api/upload", chunks(), Content_Type=kind, Transfer_Encoding="chunked"
        )
    except ConnectionError:
        return "connection closed"
    assert status in (411, 413), (status, text)
    return str(status)


def wrong_type(visitor: Visitor, random: Random) -> str:
    name, content = random.choice(list(NO_IMAGES.items()))
    return declined(visitor, visitor.upload(name, content))


NO_IMAGES = no_images()


def declined(visitor: Visitor, path: str) -> str:
    """What is said of a file that is no image: a sentence, without the page's own path."""
    said = refusal(visitor, "answer", "classifier", image_at(path), LIKELIEST)
    assert said is not None, "what is no image was classified"
    assert "This file" in said or "pixels" in said, said
    assert "visarch-web-" not in said, said
    return "declined"


def refusal(visitor: Visitor, function: str, *data: Any) -> str | None:
    """Why the page does not answer; nothing where it does."""
    try:
        visitor.ask(function, *data)
    except Declined as why:
        return str(why)
    return None


def odd_upload(visitor: Visitor, random: Random) -> str:
    """Forms as no browser makes them."""
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n'
    kind, body = random.choice(
        [
            ("multipart/form-data", b"x"),
            ("multipart/form-data; boundary=x", b"x"),
            ("multipart/form-data; boundary=" + "x" * 3000, b"--" + b"x" * 3000),
            ("multipart/form-data; boundary=x", b""),
            ("multipart/form-data; boundary=x", b"\r\n" * 500_000),
            ("multipart/form-data; boundary=x", part % b"a" + b"no end"),
            ("multipart/form-data; boundary=x", part % (b"a" * 10_000) + b"1\r\n--x--\r\n"),
            ("multipart/form-data; boundary=x", part % b"../../escaped" + b"1\r\n--x--\r\n"),
            ("multipart/form-data; boundary=x", part % b"/etc/escaped" + b"1\r\n--x--\r\n"),
            ("multipart/form-data; boundary=x", part % b"\xff\0\n" + b"1\r\n--x--\r\n"),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n1\r\n--x--\r\n',
            ),
            (
                "multipart/form-data; boundary=x",
                b"".join(part % str(n).encode() + b"1\r\n" for n in range(1500)) + b"--x--\r\n",
            ),
            ("application/json", b"{}"),
            ("text/plain", b"x" * 1000),
        ]
    )
    query = random.choice(["", f"?upload_id={uuid.uuid4().hex}", "?upload_id="])
    status, text = visitor.request(
        "POST", f"/gradio_api/upload{query}", body, Content_Type=kind, Host=visitor.host
    )
    assert status in (200, 400, 413), (status, kind[:60], body[:200], text[:200])
    return str(status)


NUMBERS = (None, True, -1, 0, 1.5, 1e9, 1e308, "three", "", [], {}, [1], float("nan"), 10**400)
TEXTS = (None, 7, "", "nobody", "\0", "\ud800", "x" * 10_000, [], ["classifier"], {}, "../..")
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


class Traps:
    """Where the page must not reach: a file with a secret, and a server that counts its visits."""

    def __init__(self, canary: str, secret: bytes, port: int) -> None:
        self.canary, self.secret, self.port = canary, secret, port

    def laid(self, value: Any) -> Any:
        """A value of a question that names them."""
        text = json.dumps(value).replace("{canary}", self.canary)
        return json.loads(text.replace("{port}", str(self.port)))


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
        }
        function = random.choice(list(right))
        data = right[function]
        place = random.randrange(len(data))
        data[place] = traps.laid(random.choice((*NUMBERS, *TEXTS, *FILES)))
        said = refusal(visitor, function, *data)
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
            *(json.dumps(own | {"fn_index": n, "data": []}) for n in range(22)),
            json.dumps(own).replace('"classifier"', "NaN"),
            json.dumps(own).encode("utf-16"),
            json.dumps(own) + "x",
        ]
    )
    status, text = visitor.put(question if isinstance(question, bytes) else question.encode())
    assert status in (200, 400, 403, 404, 413, 422, 503), (status, question[:200], text[:200])
    return str(status)


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


RANGES = ("bytes=0-1,2-3", "bytes=5-1", "bytes=-", "bytes=0-" + "9" * 500, "bytes=" + "0-," * 2000)


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


def leave_halfway(visitor: Visitor, random: Random) -> str:
    """Close the connection in the middle of a request."""
    heads = [
        "POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 15000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n',
        "POST /gradio_api/queue/join HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\n{{",
        "GET /config HTTP/1.1\r\nHost: {host}\r\nX: ",
        "GET / HT",
    ]
    with visitor.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(random.choice(heads).format(host=visitor.host).encode())
        connection.sendall(random.randbytes(random.choice([0, 100, 5_000_000])))
        if random.random() < 0.5:
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    return "left"


def leave_the_answer(visitor: Visitor, random: Random) -> str:
    """Ask, and go: at once, or while the answer comes."""
    status, _ = visitor.join("drawn_1", wish(random, 250))
    if status == 503:
        raise Busy
    assert status == 200, status
    for _, message in zip(range(random.randint(0, 12)), visitor.listen(), strict=False):
        if message["msg"] == "process_completed":
            break
    return "left"


def stop(visitor: Visitor, random: Random) -> str:
    """The Stop button of a long generation."""
    status, text = visitor.join("drawn_1", wish(random, 250))
    if status == 503:
        raise Busy
    event = json.loads(text)["event_id"]
    number = visitor.functions["drawn_1"]
    body = {"session_hash": visitor.session, "fn_index": number, "event_id": event}
    stopped = False
    for message in visitor.listen():
        if message["msg"] in ("process_generating", "estimation") and not stopped:
            status, text = visitor.request(
                "POST",
                "/gradio_api/cancel",
                json.dumps(body).encode(),
                Content_Type="application/json",
            )
            assert status == 200, (status, text)
            stopped = True
    return "stopped" if stopped else "was done before"


def dawdle(visitor: Visitor, random: Random) -> str:
    """Send a byte now and then, or read none."""
    with visitor.connect() as connection:
        if random.random() < 0.5:
            for byte in b"POST /gradio_api/queue/join HTTP":
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        else:
            request = f"GET /config HTTP/1.1\r\nHost: {visitor.host}\r\n\r\n".encode()
            connection.sendall(request * 20)
            time.sleep(3)
    return "left"


def babble(visitor: Visitor, random: Random) -> str:
    """What is no HTTP."""
    with visitor.connect() as connection:
        connection.sendall(
            random.choice(
                [
                    random.randbytes(1000),
                    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + random.randbytes(300),
                    b"GET / HTTP/9.9\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50_000,
                    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Length: -1\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\n\r\n",
                ]
            )
        )
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        said = b""
        try:
            while piece := connection.recv(2**16):
                said += piece
        except (TimeoutError, ConnectionError):
            pass
    visitor.heard.append(said[:10_000])
    assert not said or said.startswith(b"HTTP/1.1 4") or said.startswith(b"HTTP/1.1 200"), said[:99]
    return said[9:12].decode() or "connection closed"


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
    """More questions at once than may wait; whoever is too many is told so."""
    statuses = []
    for _ in range(60):
        status, text = visitor.join("drawn_1", wish(random, 3))
        statuses.append(status)
        if status != 200:
            assert status == 503, (status, text)
            assert b"Queue is full" in text, text
    assert 503 in statuses, "60 questions at once were all taken"
    return "told so"


def never_listen(visitor: Visitor, _: Random) -> str:
    """Ask for the longest answers, and hear none of them."""
    statuses = {visitor.join("drawn_2", ["2-d", 8, 5, 1, 4])[0] for _ in range(8)}
    assert statuses <= {200, 503}, statuses
    return "left"


WANTED = (
    *(classify, look_around, encode, walk, draw_samples, generate, generate_long, look_inside),
    *(matrix, take_held_out, upload_pixels),
)
"""What the page is there for, and what it must do."""


def deeds(traps: Traps) -> dict[str, tuple[Deed, int]]:
    """All of them with how often they are done, by their names in the record."""
    return {
        "classify": (classify, 3),
        "nearest images": (look_around, 2),
        "encode and move": (encode, 2),
        "way between images": (walk, 1),
        "samples of a VAE": (draw_samples, 2),
        "generate": (generate, 2),
        "generate in 250 steps": (generate_long, 1),
        "look inside": (look_inside, 2),
        "matrix": (matrix, 2),
        "held-out image": (take_held_out, 1),
        "open the page": (open_page, 2),
        "upload of 20 MiB": (upload_within, 2),
        "image of 39 million pixels": (upload_pixels, 1),
        "upload of 100 MB": (upload_too_large, 3),
        "100 MB without a length": (upload_without_length, 1),
        "no image": (wrong_type, 4),
        "odd form": (odd_upload, 3),
        "wrong values": (wrong_values(traps), 6),
        "no question": (wrong_question, 4),
        "other path or method": (other_path, 2),
        "path trick": (path_trick(traps), 6),
        "other host or origin": (other_host, 2),
        "left in the request": (leave_halfway, 3),
        "left in the answer": (leave_the_answer, 2),
        "stopped": (stop, 2),
        "slow": (dawdle, 1),
        "no HTTP": (babble, 2),
        "nothing to hear": (unknown_stream, 2),
        "60 questions at once": (flood, 1),
        "asked and never listened": (never_listen, 1),
    }
