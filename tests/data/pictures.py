"""Image files for tests, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise(height: int = 12, width: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A picture whose every pixel differs, (H, W, 3) or (H, W)."""
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray | Image.Image | None = None, **options: object) -> Path:
    """Write an image file (noise where no pixels are given), and the folders on the way to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = noise(seed=len(path.name))
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path
