"""An image, and which part of it is to be made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from visarch.data import Preparation, Split, load_images, to_unit
from visarch.data.preparation import times
from visarch.errors import UserError
from visarch.inference.diffusion import Known
from visarch.inference.picking import is_number, pick
from visarch.inference.splits import first_image
from visarch.models.unet import Denoiser
from visarch.run import Run

_WHITE = 128


def read_known(run: Run[Denoiser], image: str, mask: Path, rounds: int) -> tuple[Split, Known]:
    """The image as a split of one, and what of it is known.

    Args:
        run: the model.
        image: a file, or the number of a held-out image.
        mask: a picture that is white where the image is to be made anew, as large as the image, or
            as those of the model; or an `.npy` array of the model's sides that is not 0 there.
        rounds: as in :class:`Known`.

    Raises:
        UserError: one of them cannot be used, or they do not fit each other.
    """
    (picked,) = pick(run, [image])
    anew = _read_array(run, mask) if mask.suffix == ".npy" else _read_mask(run, image, mask)
    if not anew.any() or anew.all():
        raise UserError(
            f"--mask {mask} is {'white' if anew.all() else 'black'} all over: it must be white "
            "where the image is to be made anew, and black where it is kept."
        )
    unit = to_unit(first_image(picked), run.preparation.levels)[0]
    return picked, Known(unit, ~anew, rounds)


def _read_mask(run: Run[Denoiser], image: str, mask: Path) -> Tensor:
    """True where the picture is white: (1, H, W)."""
    shape = run.preparation.shape[1:]
    if run.preparation.ndim != 2:
        raise UserError(
            f"--mask {mask}: the model works on {run.preparation.ndim}-d data; give an .npy array "
            f"of {times(shape)}."
        )
    read = load_images([mask], Preparation((1, *shape), 256))
    fitting = {shape[::-1]} | (set() if is_number(image) else {_size(image)})
    if _size(mask) not in fitting:
        sizes = " or ".join(times(size) for size in sorted(fitting))
        raise UserError(
            f"--mask {mask} has {times(_size(mask))} pixels; it must have {sizes}, so as to lie on "
            "the image."
        )
    return first_image(read)[0] >= _WHITE


def _read_array(run: Run[Denoiser], mask: Path) -> Tensor:
    """True where the array is not 0: (1, *spatial)."""
    shape = run.preparation.shape[1:]
    try:
        array = np.load(mask, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"--mask {mask} cannot be read: {error}.") from error
    if array.shape != shape:
        raise UserError(
            f"--mask {mask} has the shape {times(array.shape)}; it must be {times(shape)}, as the "
            "samples are."
        )
    return torch.from_numpy(array != 0).unsqueeze(0)


def _size(file: str | Path) -> tuple[int, ...]:
    """(width, height) as it is seen."""
    with Image.open(file) as picture:
        return ImageOps.exif_transpose(picture).size
