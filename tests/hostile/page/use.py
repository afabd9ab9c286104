"""What a page is there for."""

from __future__ import annotations

import io
import math
from random import Random
from typing import Any

from PIL import Image

from .images import png
from .visitor import LIKELIEST, RANGES, Visitor, image_at


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
    gallery, _ = visitor.ask("look_around", "classifier", image_at(path))
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
    _, maps, said = visitor.ask("look", "classifier", image_at(path), "z", 0.5)
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
