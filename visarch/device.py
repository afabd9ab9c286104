"""Where to compute, as `--device` says it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from visarch.errors import UserError


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is the accelerator of this machine, or else the CPU.

    Raises:
        UserError: there is no such device here.
    """
    found = torch.accelerator.current_accelerator()
    if name == "auto":
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        if device.type != "cpu":
            torch.zeros(1, device=device).cpu()  # "meta" holds no numbers to get back
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu"]
        if found is not None:
            count = torch.accelerator.device_count()
            here += [found.type] + [f"{found.type}:{index}" for index in range(count)]
        raise UserError(
            f"--device {name} is not to be had here; there is {', '.join(here)}, or auto."
        ) from error
    return device


@contextmanager
def as_launched() -> Iterator[None]:
    """Accelerate goes by variables of the environment that a launcher, or somebody else, has set.

    Raises:
        UserError: it can make nothing of them.
    """
    try:
        yield
    except (ValueError, ImportError) as error:
        names = [name for name in os.environ if name.startswith("ACCELERATE_")]
        names += [name for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK") if name in os.environ]
        if not names:
            raise
        said = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"Accelerate cannot work as the environment asks it to ({said}). It sets "
            f"{', '.join(sorted(names))}: unset what no launcher of yours has set, or launch for "
            "another kind of training."
        ) from error
