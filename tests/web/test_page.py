"""The page as one uses it, in Chromium: every tab, on a desk and on a phone."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.skipif(_CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="there is no playwright here"
    ),
]
_FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
)
_PATIENCE = 180_000
"""Milliseconds; nothing waits for so long unless the machine is busy."""
DESK, PHONE = {"width": 1200, "height": 900}, {"width": 390, "height": 800}
PANEL = '[role="tabpanel"]:visible'


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_CHROMIUM, args=_FLAGS.split(), timeout=_PATIENCE
        )
        yield browser
        browser.close()


class Visit:
    """Someone who looks at the page, and whom their browser asked."""

    def __init__(self, chromium: Any, address: str, size: dict[str, int] = DESK) -> None:
        self.context = chromium.new_context(
            viewport=size,
            accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(_PATIENCE)
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.get_by_role("tab", name="Look inside").wait_for()

    def open(self, tab: str) -> Any:
        """A tab, and its panel."""
        self.page.get_by_role("tab", name=tab).click()
        return self.page.locator(PANEL)

    def drop(self, name: str, content: bytes, number: int = 0) -> None:
        """A file onto one of the places for images."""
        clear = (
            self.page.locator(PANEL)
            .get_by_label("Clear")
            .or_(self.page.locator(PANEL).get_by_label("Remove Image"))
        )
        if clear.count() and clear.first.is_visible():
            clear.first.click()
        place = self.page.locator(f'{PANEL} input[type="file"]').nth(number)
        kind = "image/gif" if name.endswith(".gif") else "image/png"
        place.set_input_files({"name": name, "mimeType": kind, "buffer": content})

    def copy(self, content: bytes) -> None:
        """A PNG into the clipboard."""
        self.page.evaluate(
            """async text => {
                const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
                const image = new Blob([bytes], {type: "image/png"});
                await navigator.clipboard.write([new ClipboardItem({"image/png": image})]);
            }""",
            base64.b64encode(content).decode(),
        )

    def shot(self, panel: Any, label: str) -> Any:
        """A picture of the page, once it is there."""
        block = panel.locator(".block", has_text=label).first
        found = block.locator("img").first
        found.wait_for()
        return found

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []


@pytest.fixture
def visit(chromium: Any, page: Any) -> Iterator[Visit]:
    visit = Visit(chromium, page.address)
    yield visit
    visit.close()
    assert visit.hosts <= {urlsplit(page.address).netloc, ""}  # "" is what it holds itself


def red(kind: str = "PNG", **more: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 90, (40, 60, 3), dtype=np.uint8)
    pixels[..., 0] += 130
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def test_an_image_is_classified(visit: Visit):
    panel = visit.open("Classify")
    visit.drop("red.png", red())
    panel.get_by_test_id("label-output-value").wait_for()
    visit.shot(panel, "Heat map: red")
    panel.locator(".block", has_text="Nearest training images").locator("img").nth(7).wait_for()
    panel.get_by_label("Heat map of").click()
    before = visit.shot(panel, "Heat map: red").get_attribute("src")
    panel.get_by_role("option", name="green").click()
    visit.page.wait_for_function(
        "old => ![...document.querySelectorAll('img')].some(image => image.src === old)", arg=before
    )


@pytest.mark.parametrize("way", ["button", "Control+V"])
def test_an_image_is_pasted(visit: Visit, way: str):
    visit.copy(red())
    panel = visit.open("Classify")
    if way == "button":
        panel.get_by_label("Paste from clipboard").click()
    else:
        visit.page.keyboard.press(way)
    panel.get_by_test_id("label-output-value").wait_for()
    visit.shot(panel, "Heat map: red")


def test_words_are_pasted_where_words_belong(visit: Visit):
    panel = visit.open("Generate")
    visit.page.evaluate("() => navigator.clipboard.writeText('23')")
    panel.get_by_label("Seed").fill("")
    panel.get_by_label("Seed").press("Control+V")
    assert panel.get_by_label("Seed").input_value() == "23"


def test_a_held_out_image_is_told_from_others(visit: Visit):
    panel = visit.open("Classify")
    panel.get_by_role("button", name="Take a held-out image").click()
    told = panel.get_by_text(re.compile(r"Held-out image \d+: "))
    told.wait_for()
    visit.shot(panel, "Heat map: red")
    visit.drop("red.png", red())
    told.wait_for(state="detached")


def test_what_is_no_image_is_declined_and_the_page_goes_on(visit: Visit):
    panel = visit.open("Classify")
    for name, content, said in (
        ("words.png", b"just words", "it holds text"),
        ("cut.png", red()[:400], "is truncated"),
    ):
        visit.drop(name, content)
        visit.page.get_by_text(said).first.wait_for()
    film = red("GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    visit.drop("film.gif", film)
    panel.get_by_text("several frames").wait_for()
    panel.get_by_test_id("label-output-value").wait_for()


def test_an_image_is_encoded_moved_and_led_to_another(visit: Visit):
    panel = visit.open("Encode")
    panel.get_by_role("button", name="Take a held-out image").click()
    visit.shot(panel, "Image, and its reconstruction")
    sliders = panel.locator('input[type="range"]:visible')
    sliders.nth(8).wait_for()
    assert sliders.count() == 8 + 1  # and the one that says how many samples to draw
    decoded = visit.shot(panel, "g(z)").get_attribute("src")
    sliders.first.focus()
    for _ in range(20):
        visit.page.keyboard.press("ArrowRight")
    sliders.first.dispatch_event("pointerup")
    visit.page.wait_for_function(
        "old => ![...document.querySelectorAll('img')].some(image => image.src === old)",
        arg=decoded,
    )
    panel.get_by_role("button", name="Take a second held-out image").click()
    visit.shot(panel, "Along the straight line")
    panel.get_by_role("button", name="Draw samples").click()
    visit.shot(panel, "for z ~ N")


def test_pictures_come_out_of_noise(visit: Visit, tmp_path: Path):
    panel = visit.open("Generate")
    panel.get_by_label("Class").click()
    panel.get_by_role("option", name="blue").click()
    panel.get_by_label("Seed").fill("17")
    visit.page.evaluate(
        """() => {
            window.frames_seen = new Set();
            new MutationObserver(() => {
                const said = document.body.innerText.match(/Frame (\\d+)/);
                if (said) window.frames_seen.add(said[1]);
            }).observe(document.body, {subtree: true, childList: true, characterData: true});
        }"""
    )
    panel.get_by_role("button", name="Draw").click()
    panel.get_by_text("Drawn: seed 17").wait_for()
    assert visit.page.evaluate("() => window.frames_seen.size") >= 2
    with visit.page.expect_download() as download:
        panel.get_by_role("button", name="Download").or_(
            panel.get_by_role("link", name="Download")
        ).first.click()
    file = tmp_path / "samples.png"
    download.value.save_as(file)
    with Image.open(file) as picture:
        facts = picture.info
    assert facts["seed"] == "17"
    assert facts["label"] == "blue"
    assert facts["steps"] == "4"


def test_a_generation_is_stopped(visit: Visit):
    panel = visit.open("Generate")
    steps, draw = panel.get_by_label("number input for Steps"), panel.get_by_role("button")
    steps.fill("250")
    panel.get_by_label("Sampler").click()
    panel.get_by_role("option", name="heun").click()
    draw.filter(has_text="Draw").click()
    panel.get_by_text("Frame ").wait_for()
    draw.filter(has_text="Stop").click()
    visit.page.wait_for_timeout(500)  # what was on its way when it was stopped
    before = panel.get_by_text("Frame ").inner_text()
    visit.page.wait_for_timeout(1000)
    assert panel.get_by_text("Frame ").inner_text() == before
    steps.fill("2")
    draw.filter(has_text="Draw").click()
    panel.get_by_text("steps 2").wait_for()


def test_a_full_queue_is_told_of_and_empties(visit: Visit, page: Any):
    """Someone else asks for more than may wait, and leaves."""
    config = json.loads(visit.page.request.get(f"{page.address}config").text())
    functions = {function["api_name"]: function["id"] for function in config["dependencies"]}
    wish = ["diffusion", "each class in turn", "", "heun", 250, 1, 0, 16]
    asked = {"data": wish, "fn_index": functions["drawn_1"], "session_hash": "someone"}
    join = f"{page.address}gradio_api/queue/join"
    statuses = {visit.page.request.post(join, data=asked).status for _ in range(40)}
    assert statuses == {200, 503}
    panel = visit.open("Classify")
    panel.get_by_role("button", name="Take a held-out image").click()
    visit.page.get_by_text("currently busy. Please try again").first.wait_for()
    with socket.create_connection(
        (urlsplit(page.address).hostname, urlsplit(page.address).port)
    ) as other:
        path = "/gradio_api/queue/data?session_hash=someone"
        other.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200" in other.recv(100)
    panel.get_by_role("button", name="Take a held-out image").click()
    panel.get_by_test_id("label-output-value").wait_for()


def test_one_looks_inside(visit: Visit):
    panel = visit.open("Look inside")
    drawings = panel.locator(".drawing svg")
    drawings.nth(1).wait_for()
    assert drawings.count() == 2
    panel.get_by_role("button", name="Take a held-out image").click()
    visit.shot(panel, "Feature maps")
    panel.get_by_label("Step").click()
    panel.get_by_role("option", name="z₂").click()
    panel.get_by_text("z₂: 6×6×6, values from").wait_for()
    panel.get_by_text("V of 7 × 7").wait_for()
    panel.get_by_label("number input for Stride S").fill("2")
    panel.get_by_text("V of 4 × 7").wait_for()
    panel.get_by_label("2-d").click()
    panel.get_by_text("V of 16 × 49").wait_for()


def test_a_click_on_a_step_of_the_drawing_shows_it(visit: Visit):
    panel = visit.open("Look inside")
    edge = "tile => getComputedStyle(tile).strokeWidth"
    panel.locator('[data-step="z1"]').first.click()  # before there is an image
    panel.get_by_text("There is no image yet").wait_for()
    panel.get_by_role("button", name="Take a held-out image").click()
    panel.get_by_text("z₁: 4×12×12, values from").wait_for()
    assert panel.locator('[data-step="z1"]').first.evaluate(edge) == "3px"
    panel.get_by_label("Run").click()
    panel.get_by_role("option", name="diffusion").click()
    panel.get_by_text("x: 3×12×12, values from").wait_for()
    y = panel.locator('[data-step="y"]')
    y.click()
    panel.get_by_text("y: 3×12×12, values from").wait_for()
    assert panel.get_by_label("Step").input_value() == "y"
    assert y.evaluate(edge) == "3px"
    assert panel.locator('[data-step="x"]').evaluate(edge) != "3px"


def test_a_phone_is_wide_enough(chromium: Any, page: Any):
    visit = Visit(chromium, page.address, PHONE)
    for tab in ("Classify", "Encode", "Generate", "Look inside"):
        visit.open(tab)
        width = visit.page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= PHONE["width"], tab
    panel = visit.open("Encode")
    decoded = visit.shot(panel, "g(z)").bounding_box()
    slider = panel.locator('input[type="range"]:visible').first.bounding_box()
    assert decoded["y"] < slider["y"]  # what the sliders change is beside them, and not below all
    visit.close()


def test_two_people_are_answered_at_once(chromium: Any, page: Any):
    visits = [Visit(chromium, page.address) for _ in range(2)]
    for visit in visits:
        visit.open("Classify")
    for visit in visits:
        visit.drop("red.png", red())
    for visit in visits:
        visit.page.locator(PANEL).get_by_test_id("label-output-value").wait_for()
        visit.close()
