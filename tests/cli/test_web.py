"""``visarch web``: what cannot be shown is told of before anything is served."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="the page needs visarch[web]"
)


def test_runs_are_asked_for(refused):
    assert "Say which runs to show" in refused("web")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_is_a_port(refused, port: int):
    assert f"--port is {port}; it must lie between 0 and 65535" in refused(f"web run --port={port}")


def test_without_the_extra_it_is_one_line(refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("visarch.cli.web.find_spec", lambda name: None)
    assert refused("web run") == "visarch: The page needs Gradio: `pip install 'visarch[web]'`."


def test_an_address_that_cannot_be_had(refused, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("visarch.cli.web.find_spec", lambda name: True)
    assert "--host 192.0.2.1 --port 0 cannot" in refused("web run --host 192.0.2.1 --port 0")


@needs_gradio
@pytest.mark.filterwarnings("ignore")  # of Gradio's own, on import
def test_what_is_no_run(refused, tmp_path: Path):
    assert "no run folder or model folder" in refused(f"web {tmp_path}/run --port 0")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert "has not written its model yet" in refused(f"web {tmp_path} --port 0")


@needs_gradio
@pytest.mark.filterwarnings("ignore")
def test_a_page_shows_images(refused, signals):
    assert "works on 1-d data, and the page shows images" in refused(f"web {signals.path} --port 0")
