"""Processes that train together train on the same images, from the same step on, or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from accelerate import PartialState
from accelerate.utils import gather_object

from visarch.errors import UserError

if TYPE_CHECKING:
    from visarch.data import Data


def open_together(state: PartialState, open_data: Callable[[], "Data"]) -> "Data":
    """The data as this process opens it, once all have opened the same.

    Raises:
        UserError: a process cannot open the data, or finds other images than the first one.
    """
    if state.num_processes == 1:
        return open_data()
    data, error = None, None
    try:
        data = open_data()
    except (ValueError, OSError) as refusal:
        error = refusal
    found = gather_object([(data and data.fingerprint(), str(error))])
    if error:
        raise error
    assert data is not None
    for rank, (fingerprint, problem) in enumerate(found):
        if fingerprint is None:
            raise UserError(f"Process {rank} of this training cannot open the data: {problem}")
        if fingerprint != found[0][0]:
            raise UserError(
                f"{data.source} holds other images for process {rank} of this training than for "
                "process 0 (their fingerprints differ). Give all of them the same."
            )
    return data


def check_same_step(run: Path, step: int) -> None:
    """Wait for all processes, which must have found the same checkpoint of a run.

    Raises:
        UserError: one of them has not.
    """
    steps = gather_object([step])
    if len(set(steps)) > 1:
        raise UserError(
            f"The processes of this training do not find the same checkpoint in {run}, but those "
            f"of steps {', '.join(map(str, steps))}. Put the run on a file system that all "
            "machines share, or copy it to each of them."
        )
