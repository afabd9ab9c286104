"""The server of the page: what it serves, where it writes, how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from visarch.errors import UserError
from visarch.web.server import listen


def ask(
    page, path: str, method: str = "GET", body: bytes | str | None = None, **headers: str
) -> tuple[int, bytes]:
    """Status and body, whatever the path looks like: nothing is tidied up on the way."""
    connection = http.client.HTTPConnection(urlsplit(page.address).netloc, timeout=120)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def upload(page, name: str, content: bytes) -> tuple[int, bytes]:
    edge = "edge"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{edge}--\r\n".encode()
    kind = f"multipart/form-data; boundary={edge}"
    return ask(page, "/gradio_api/upload", "POST", body, **{"Content-Type": kind})


def question(page, data: list[object]) -> tuple[int, bytes]:
    """The first function of the page, asked by hand."""
    body = json.dumps({"data": data, "fn_index": 0, "session_hash": "someone"})
    return ask(page, "/gradio_api/queue/join", "POST", body, **{"Content-Type": "application/json"})


def test_the_page_asks_for_nothing_of_another_machine(page):
    status, text = ask(page, "/")
    assert status == 200
    for elsewhere in (b"googleapis", b"gstatic", b"cdnjs"):
        assert elsewhere not in text


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/file=/etc/passwd", "/gradio_api/file=../../../../etc/passwd"),
        *("/file=/etc/passwd", "/static/../../../../etc/passwd", "/assets/%2e%2e/%2e%2e/cli.py"),
        *("/gradio_api/file=%2Fetc%2Fpasswd", "/gradio_api/proxy=http://127.0.0.1/"),
        *("/gradio_api/file=http://127.0.0.1/", "/static//etc/passwd", "/svelte/../../cli.py"),
        *("/docs", "/openapi.json", "/monitoring", "/gradio_api/openapi.json"),
    ],
)
def test_no_other_file_is_served(page, path: str):
    status, text = ask(page, path)
    assert status in (400, 403, 404)
    assert b"root:" not in text


def test_an_upload_is_kept_in_the_pages_own_folder(page):
    status, answer = upload(page, "../../../escaped.png", b"content")
    assert status == 200
    (path,) = map(Path, json.loads(answer))
    assert path.is_relative_to((page.folder / "tmp").resolve())
    assert ask(page, f"/gradio_api/file={path}") == (200, b"content")
    assert ask(page, f"/gradio_api/file={path}/../../../../stderr")[0] == 404


def test_an_upload_that_is_too_large_is_refused(page):
    assert upload(page, "large.png", bytes(21 * 2**20))[0] == 413


def test_a_question_opens_no_file_of_the_machine_and_no_address(page):
    for path in ("/etc/passwd", "http://127.0.0.1:9/x.png", str(page.folder / "stderr")):
        assert question(page, [{"path": path, "meta": {"_type": "gradio.FileData"}}])[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        b'--edge\r\nContent-Disposition: form-data; name="files"\r\n\r\n1\r\n--edge--\r\n',
        b"no form",
    ],
)
def test_an_odd_form_is_refused(page, body: bytes):
    kind = "multipart/form-data; boundary=edge"
    path = "/gradio_api/upload?upload_id=someone"
    status, said = ask(page, path, "POST", body, **{"Content-Type": kind})
    assert (status, b"Internal" in said) == (400, False)


def test_a_question_that_nobody_put_has_no_answer(page):
    status, said = ask(page, "/gradio_api/queue/data?session_hash=nobody")
    assert status == 200
    assert b"session_not_found" in said


def test_another_site_is_no_name_for_it(page):
    assert ask(page, "/", Host="evil.example")[0] == 403


def test_it_writes_nowhere_else(page):
    ask(page, "/")
    written = [path.name for name in ("home", "here") for path in (page.folder / name).iterdir()]
    assert written == []
    assert all(path.name.startswith("visarch-web-") for path in (page.folder / "tmp").iterdir())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_asked_and_leaves_nothing(runs, show, tmp_path: Path, ending: signal.Signals):
    pytest.importorskip("gradio", reason="the page needs visarch[web]")
    with show(tmp_path, runs.vae) as page:
        upload(page, "a.png", b"content")
        page.process.send_signal(ending)
        assert page.process.stdout.read() == "The page has ended.\n"
        assert page.process.wait(120) == 0
    assert (tmp_path / "stderr").read_text() == ""
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_ends_in_the_midst_of_a_computation(runs, show, tmp_path: Path):
    """Python aborts where a thread still computes when it ends."""
    pytest.importorskip("gradio", reason="the page needs visarch[web]")
    with show(tmp_path, runs.diffusion) as page:
        _, config = ask(page, "/config")
        (draw,) = [
            dependency["id"]
            for dependency in json.loads(config)["dependencies"]
            if dependency["api_name"] == "drawn"
        ]
        wish = ["diffusion", "each class in turn", "", "heun", 250, 1, 0, 16]
        body = json.dumps({"data": wish, "fn_index": draw, "session_hash": "someone"})
        kind = {"Content-Type": "application/json"}
        assert ask(page, "/gradio_api/queue/join", "POST", body, **kind)[0] == 200
        time.sleep(0.5)
        page.process.send_signal(signal.SIGTERM)
        assert page.process.stdout.read() == "The page has ended.\n"
        assert page.process.wait(120) == 0
    assert (tmp_path / "stderr").read_text() == ""


def test_a_port_that_is_taken_is_told_of():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} .*in use.*Give another --port"):
            listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_told_of():
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1 .*cannot assign"):
        listen("192.0.2.1", 0)
    with pytest.raises(UserError, match="--host no such name"):
        listen("no such name", 0)
