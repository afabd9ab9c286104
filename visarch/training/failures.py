"""What ends a training from outside, said in a paragraph: no memory left, another process gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from visarch.errors import UserError, lacks_memory


class TrainingStopped(UserError):
    """Training stopped in its course; what the last checkpoint holds is kept."""

    exit_code = 1


@contextmanager
def explained(run: Path | None) -> Iterator[None]:
    """Say what ended the training of a run and how to go on; leave other errors alone.

    Args:
        run: its folder; None if there is none yet.

    Raises:
        TrainingStopped: there was no memory left, or a process that trains along has ended.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _lacks_memory(error):
            reason = str(error).partition("\n")[0] or "an allocation failed"
            raise TrainingStopped(
                f"There is not enough memory, as it seems ({reason}). {_kept(run)} If it is this "
                "training that needs too much, begin another one with a smaller --batch-size, "
                "--image-size or network; --dry-run says what that takes."
            ) from error
        if _lacks_peer(error):
            raise TrainingStopped(
                "Another process of this training has ended or cannot be reached; what it said "
                f"last tells why. {_kept(run)} Any number of processes may go on with it."
            ) from error
        raise


def _kept(run: Path | None) -> str:
    if run is None or not (run / "checkpoints" / "last.safetensors").exists():
        return "Nothing was saved yet."
    return f"Go on from its last checkpoint with: visarch train --resume {run}."


def _lacks_memory(error: Exception) -> bool:
    """oneDNN does not tell a lack of memory from other errors, which a network that has been seen
    to work does not meet."""
    return lacks_memory(error) or "could not create a primitive" in str(error)


def _lacks_peer(error: Exception) -> bool:
    """Gloo raises a plain RuntimeError that names the line of its source."""
    return isinstance(error, distributed.DistError) or "/gloo/" in str(error)
