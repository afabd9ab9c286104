"""Where images come from: every source becomes tensors of one shape and one scale."""

from visarch.data.dataset import Batch, Data, Split
from visarch.data.opening import load_images, open_data
from visarch.data.preparation import Preparation
from visarch.data.values import dequantize, to_uint8, to_unit

__all__ = [
    "Batch",
    "Data",
    "Preparation",
    "Split",
    "dequantize",
    "load_images",
    "open_data",
    "to_uint8",
    "to_unit",
]
