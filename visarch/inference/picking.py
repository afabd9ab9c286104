"""Images that a command line names one by one: as files, or as numbers of held-out ones."""

from __future__ import annotations

from collections.abc import Sequence

from visarch.data import Split, load_images
from visarch.errors import UserError
from visarch.run import Run


def pick(run: Run, names: Sequence[str]) -> list[Split]:
    """Each image as a split of one, prepared as the model's own images were.

    Raises:
        UserError: there is no such file or number, or the model has no such images.
    """
    numbers = [name for name in names if is_number(name)]
    if numbers and run.data is None:
        raise UserError(
            f"{numbers[0]} counts the images of a run's data, and {run.source} is a model without "
            "its run folder: give image files."
        )
    if len(numbers) < len(names) and run.preparation.ndim != 2:
        raise UserError(
            f"The model works on {run.preparation.ndim}-d data, of which there are no image files: "
            "say which of the held-out samples to take by a number, not by "
            f"{' and '.join(map(repr, names))}."
        )
    own = run.held_out(run.open_data()) if numbers else None
    picked = []
    for name in names:
        if own is None or not is_number(name):
            picked.append(load_images([name], run.preparation))
        elif 0 <= int(name) < len(own):
            picked.append(own.take(own.name, [int(name)]))
        else:
            raise UserError(
                f"There is no image {name}: the held-out ones of {run.data} are numbered from 0 "
                f"to {len(own) - 1}."
            )
    return picked


def is_number(name: str) -> bool:
    """Whether it is meant as a number, and not as a file."""
    return name.removeprefix("-").isdecimal()
