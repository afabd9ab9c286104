"""Inception-v3 as the FID knows it: a measuring instrument, whose weights are given as a file.

It is the network of the TensorFlow graph of 2015-12-05, which departs from the published one where
that graph does: average pools leave the padding out, and the last block pools by maximum. Names are
those of the weights known for PyTorch as ``pt_inception-2015-12-05-6726825d.pth``.

Source: Szegedy et al. 2016; Heusel et al. 2017.
"""

from pathlib import Path
from pickle import UnpicklingError

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu


class ConvUnit(nn.Module):
    """ReLU(BatchNorm(Conv(x))), ε = 0.001; as large as x, but for a stride or without padding."""

    def __init__(
        self, in_channels: int, out_channels: int, *kernel: int, stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        padding = [side // 2 if pad else 0 for side in kernel]
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False)  # type: ignore[arg-type]
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        return relu(self.bn(self.conv(x)))


class MixedA(nn.Module):
    """1 × 1, 5 × 5 and two 3 × 3 convolutions side by side, and a pool: 224 + ``pooled``."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(channels, 64, 1, 1)
        self.branch5x5_1 = ConvUnit(channels, 48, 1, 1)
        self.branch5x5_2 = ConvUnit(48, 64, 5, 5)
        self.branch3x3dbl_1 = ConvUnit(channels, 64, 1, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3, 3)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, 3)
        self.branch_pool = ConvUnit(channels, pooled, 1, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], 1)


class MixedB(nn.Module):
    """To half the resolution: 480 + C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = ConvUnit(channels, 384, 3, 3, stride=2, pad=False)
        self.branch3x3dbl_1 = ConvUnit(channels, 64, 1, 1)
        self.branch3x3dbl_2 = ConvUnit(64, 96, 3, 3)
        self.branch3x3dbl_3 = ConvUnit(96, 96, 3, 3, stride=2, pad=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, max_pool2d(x, 3, 2)], 1)


class MixedC(nn.Module):
    """7 × 7 convolutions, one and two, each as a row and a column of ``inner`` channels: 768."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = ConvUnit(channels, 192, 1, 1)
        self.branch7x7_1 = ConvUnit(channels, inner, 1, 1)
        self.branch7x7_2 = ConvUnit(inner, inner, 1, 7)
        self.branch7x7_3 = ConvUnit(inner, 192, 7, 1)
        self.branch7x7dbl_1 = ConvUnit(channels, inner, 1, 1)
        self.branch7x7dbl_2 = ConvUnit(inner, inner, 7, 1)
        self.branch7x7dbl_3 = ConvUnit(inner, inner, 1, 7)
        self.branch7x7dbl_4 = ConvUnit(inner, inner, 7, 1)
        self.branch7x7dbl_5 = ConvUnit(inner, 192, 1, 7)
        self.branch_pool = ConvUnit(channels, 192, 1, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], 1)


class MixedD(nn.Module):
    """To half the resolution again: 512 + C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvUnit(channels, 192, 1, 1)
        self.branch3x3_2 = ConvUnit(192, 320, 3, 3, stride=2, pad=False)
        self.branch7x7x3_1 = ConvUnit(channels, 192, 1, 1)
        self.branch7x7x3_2 = ConvUnit(192, 192, 1, 7)
        self.branch7x7x3_3 = ConvUnit(192, 192, 7, 1)
        self.branch7x7x3_4 = ConvUnit(192, 192, 3, 3, stride=2, pad=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), max_pool2d(x, 3, 2)], 1)


class MixedE(nn.Module):
    """3 × 3 convolutions as a row beside a column, and a pool of one kind or the other: 2048."""

    def __init__(self, channels: int, *, pool_maximum: bool) -> None:
        super().__init__()
        self.pool_maximum = pool_maximum
        self.branch1x1 = ConvUnit(channels, 320, 1, 1)
        self.branch3x3_1 = ConvUnit(channels, 384, 1, 1)
        self.branch3x3_2a = ConvUnit(384, 384, 1, 3)
        self.branch3x3_2b = ConvUnit(384, 384, 3, 1)
        self.branch3x3dbl_1 = ConvUnit(channels, 448, 1, 1)
        self.branch3x3dbl_2 = ConvUnit(448, 384, 3, 3)
        self.branch3x3dbl_3a = ConvUnit(384, 384, 1, 3)
        self.branch3x3dbl_3b = ConvUnit(384, 384, 3, 1)
        self.branch_pool = ConvUnit(channels, 192, 1, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        u = self.branch3x3_1(x)
        v = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        once = [self.branch3x3_2a(u), self.branch3x3_2b(u)]
        twice = [self.branch3x3dbl_3a(v), self.branch3x3dbl_3b(v)]
        pooled = self.branch_pool(max_pool2d(x, 3, 1, 1) if self.pool_maximum else _average(x))
        return torch.cat([self.branch1x1(x), *once, *twice, pooled], 1)


class Inception(nn.Module):
    """Inception-v3, up to the vector whose Fréchet distance is the FID.

    Shapes: images (b, 1 or 3, H, W) on the unit scale → (b, 2048).
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, 32, 3, 3, stride=2, pad=False)
        self.Conv2d_2a_3x3 = ConvUnit(32, 32, 3, 3, pad=False)
        self.Conv2d_2b_3x3 = ConvUnit(32, 64, 3, 3)
        self.Conv2d_3b_1x1 = ConvUnit(64, 80, 1, 1)
        self.Conv2d_4a_3x3 = ConvUnit(80, 192, 3, 3, pad=False)
        self.Mixed_5b, self.Mixed_5c = MixedA(192, 32), MixedA(256, 64)
        self.Mixed_5d, self.Mixed_6a = MixedA(288, 64), MixedB(288)
        self.Mixed_6b, self.Mixed_6c = MixedC(768, 128), MixedC(768, 160)
        self.Mixed_6d, self.Mixed_6e = MixedC(768, 160), MixedC(768, 192)
        self.Mixed_7a, self.Mixed_7b = MixedD(768), MixedE(1280, pool_maximum=False)
        self.Mixed_7c = MixedE(2048, pool_maximum=True)
        self.fc = nn.Linear(2048, 1008)  # unused: it tells these weights from other Inceptions'

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2048"]:
        x = inception_input(x)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (b, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, 2)))  # (b, 192, 71, 71)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(max_pool2d(x, 3, 2))))  # (b, 288, 35, 35)
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))  # (b, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (b, 2048, 8, 8)
        return x.mean((2, 3))


def inception_input(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 299 299"]:
    """Images as Inception takes them: of 8 bits, resized bilinearly, on −1 … 1, in three colors.

    Real images come from files of 8 bits, so all get as many. Nothing is smoothed before an image
    is made smaller: so it is done where a distance is called FID.

    Raises:
        ValueError: for other channels than 1 or 3.
    """
    if x.shape[1] not in (1, 3):
        raise ValueError(f"Inception takes images of 1 or 3 channels, not of {x.shape[1]}")
    pixels = (256 * x).floor().clamp(0, 255) / 255
    resized = interpolate(pixels, (299, 299), mode="bilinear", align_corners=False)
    return (2 * resized - 1).expand(-1, 3, -1, -1)


def load_inception(file: Path) -> Inception:
    """Inception in eval mode with the weights of a ``.safetensors`` file, or of torch's format.

    No code of the file is run.

    Raises:
        ValueError: if the file holds anything but the weights of the FID's Inception.
    """
    with torch.device("meta"):
        model = Inception()
    try:
        if file.suffix == ".safetensors":
            weights = load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, UnpicklingError, SafetensorError) as error:
        raise ValueError(
            f"{file} does not hold the weights of the FID's Inception, which are known as "
            f"pt_inception-2015-12-05-6726825d.pth: {error}"
        ) from error
    return model.eval()


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)
