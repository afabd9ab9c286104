"""Files that are too large, no images, or come in forms that no browser makes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from random import Random

import numpy as np

from .images import encoded, no_images
from .visitor import LIKELIEST, Visitor, image_at

LARGE = 100 * 2**20


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
    said = visitor.refusal("answer", "classifier", image_at(path), LIKELIEST)
    assert said is not None, "what is no image was classified"
    assert "This file" in said or "pixels" in said, said
    assert "visarch-web-" not in said, said
    return "declined"


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
