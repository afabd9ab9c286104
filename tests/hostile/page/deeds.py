"""What twenty people at once do to a page: what it is there for, and all that it is not.

Each deed returns what came of it in a word or two, and raises AssertionError where the page did
what it must not.
"""

from __future__ import annotations

from .connections import babble, dawdle, leave_halfway, leave_the_answer, stop
from .paths import other_host, other_path, path_trick
from .questions import flood, never_listen, unknown_stream, wrong_question, wrong_values
from .traps import Traps
from .uploads import (
    odd_upload,
    upload_pixels,
    upload_too_large,
    upload_within,
    upload_without_length,
    wrong_type,
)
from .use import (
    classify,
    draw_samples,
    encode,
    generate,
    generate_long,
    look_around,
    look_inside,
    matrix,
    open_page,
    take_held_out,
    walk,
)
from .visitor import Deed

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
