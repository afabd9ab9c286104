"""From a file that someone dropped on the page to an image as a model takes it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from visarch.data import Split
from visarch.data.picture import read_picture, read_size, warnings_as_notes
from visarch.data.preparation import times
from visarch.errors import UserError
from visarch.run import Run

MOST_BYTES = 20 * 2**20
"""Of a file; the server takes no larger one."""
MOST_PIXELS = 40_000_000
"""Of an image: what it takes decoded must fit into memory for several people at once."""
NO_IMAGE = "There is no image yet: drop one, paste one, or take a held-out one."


def read_upload(file: str | None, run: Run) -> tuple[Split, str]:
    """An image file as a split of one, prepared as the model's own images were; and what should be
    known of it, as a sentence, or nothing.

    Raises:
        UserError: there is no image yet, or none in the file, or it is too large.
    """
    if file is None:
        raise UserError(NO_IMAGE)
    if not os.path.isfile(file):
        raise UserError("The image is kept no longer: put it there again.")
    try:
        height, width = read_size(Path(file))
        if height * width > MOST_PIXELS:
            raise UserError(
                f"The image has {height}×{width} pixels, and at most {MOST_PIXELS / 1e6:.0f} "
                "million are taken here: make it smaller. The model sees it at "
                f"{times(run.preparation.shape[1:])} anyway."
            )
        with warnings_as_notes():
            picture = read_picture(Path(file), run.preparation.shape[1:])
        image = run.preparation.apply(picture.values)
    except UserError:
        raise
    except ValueError as error:  # without the file's name, which is the page's own
        raise UserError(f"This file {error}.") from error
    noted = f"This file has {' and '.join(picture.notes)}." if picture.notes else ""
    return Split("upload", torch.stack([image]), None, ["upload"]), noted
