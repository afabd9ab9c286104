"""The residual blocks against the same layers of torch.nn in a row, with the weights copied."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from visarch import BottleneckBlock, ResidualBlock

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SIZES = (6, 5, 4)


class Composed(nn.Module):
    """Convolutions each with a norm, ReLU between them, a shortcut around them: odd windows."""

    def __init__(
        self,
        channels: list[int],
        kernel_sizes: list[int],
        strides: list[int],
        ndim: int,
    ) -> None:
        super().__init__()
        conv, norm = CONVOLUTIONS[ndim], NORMS[ndim]
        self.count = len(kernel_sizes)
        for i, (k, s) in enumerate(zip(kernel_sizes, strides, strict=True)):
            inside, out = channels[i], channels[i + 1]
            self.add_module(f"conv{i + 1}", conv(inside, out, k, s, padding=k // 2, bias=False))
            self.add_module(f"norm{i + 1}", norm(out))
        stride = math.prod(strides)
        self.shortcut = nn.Identity()
        if channels[0] != channels[-1] or stride > 1:
            change = conv(channels[0], channels[-1], 1, stride, bias=False)
            self.shortcut = nn.Sequential(change, norm(channels[-1]))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = self.get_submodule(f"norm{i}")(self.get_submodule(f"conv{i}")(y))
            if i < self.count:
                y = functional.relu(y)
        return functional.relu(y + self.shortcut(x))


def assert_the_same(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Outputs, gradients and running statistics, while training and after."""
    with torch.no_grad():
        for name, tensor in ours.state_dict().items():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for module in (ours, theirs):
        module.double().train()

    direction = torch.randn_like(theirs(x))
    assert ours(x).shape == direction.shape
    theirs.load_state_dict(ours.state_dict())
    results = []
    for module in (ours, theirs):
        y = module(x)
        gradients = torch.autograd.grad((y * direction).sum(), list(module.parameters()))
        names = [name for name, _ in module.named_parameters()]
        results.append({"y": y, **dict(zip(names, gradients, strict=True)), **module.state_dict()})
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("out_channels", "stride"), [(None, 1), (5, 1), (4, 2), (6, 3)])
def test_the_residual_block(out_channels, stride: int, kernel_size: int, ndim: int):
    block = ResidualBlock(4, out_channels, kernel_size=kernel_size, stride=stride, ndim=ndim)
    out = out_channels or 4
    composed = Composed([4, out, out], [kernel_size, kernel_size], [stride, 1], ndim)
    assert_the_same(block, composed, torch.randn(3, 4, *SIZES[:ndim], dtype=torch.float64))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("out_channels", "stride"), [(None, 1), (5, 1), (6, 2), (8, 3)])
def test_the_bottleneck_block(out_channels, stride: int, kernel_size: int, ndim: int):
    block = BottleneckBlock(6, 2, out_channels, kernel_size=kernel_size, stride=stride, ndim=ndim)
    composed = Composed([6, 2, 2, out_channels or 6], [1, kernel_size, 1], [1, stride, 1], ndim)
    assert_the_same(block, composed, torch.randn(3, 6, *SIZES[:ndim], dtype=torch.float64))


BLOCKS = {
    "residual": lambda **options: ResidualBlock(4, **options),
    "bottleneck": lambda **options: BottleneckBlock(4, 2, **options),
}


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(1,), (7,), (5, 8), (2, 3, 4)])
def test_the_output_has_a_stride_th_of_the_sides(make, kernel_size: int, stride: int, sizes):
    block = make(kernel_size=kernel_size, stride=stride, ndim=len(sizes))
    y = block(torch.randn(2, 4, *sizes))
    assert y.shape == (2, 4, *(math.ceil(size / stride) for size in sizes))


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
def test_without_its_branch_a_block_is_relu(make):
    """The residual connection: with γ of the last norm zero, and β too, ReLU(x) is left."""
    block = make()
    last = block.norm3 if isinstance(block, BottleneckBlock) else block.norm2
    nn.init.zeros_(last.weight)
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(block(x), functional.relu(x))
    assert isinstance(block.shortcut, nn.Identity)


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
def test_dropout_drops_while_training_and_only_then(make):
    block, x = make(dropout=0.5), torch.randn(8, 4, 5, 5)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))
    plain = make().eval()
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block(x), plain(x))


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"out_channels": 6}])
def test_no_convolution_has_a_bias(make, options):
    """The β of the norm after each takes its place."""
    names = [name for name, tensor in make(**options).named_parameters() if tensor.ndim == 1]
    assert names
    assert all("norm" in name or name.startswith("shortcut.1.") for name in names)


def test_the_lectures_sizes():
    """C = 64, k = 3; and C = 256, D = 64, k = 3."""
    residual, bottleneck = ResidualBlock(64), BottleneckBlock(256, 64)
    shapes = {k: tuple(v.shape) for k, v in residual.named_parameters() if v.ndim > 1}
    assert shapes == {"conv1.weight": (64, 64, 3, 3), "conv2.weight": (64, 64, 3, 3)}
    shapes = {k: tuple(v.shape) for k, v in bottleneck.named_parameters() if v.ndim > 1}
    assert shapes == {
        "conv1.weight": (64, 256, 1, 1),
        "conv2.weight": (64, 64, 3, 3),
        "conv3.weight": (256, 64, 1, 1),
    }


REFUSED = {
    "channels": (lambda: ResidualBlock(0), "in_channels is 0.*at least 1"),
    "inner channels": (lambda: BottleneckBlock(4, 0), "out_channels is 0.*at least 1"),
    "kernel": (lambda: ResidualBlock(4, kernel_size=0), "kernel_size (is )?0.*at least 1"),
    "stride": (lambda: BottleneckBlock(4, 2, stride=0), "stride (is )?0.*at least 1"),
    "axes": (lambda: ResidualBlock(4, ndim=4), "ndim is 4.*1, 2 or 3"),
    "dropout": (lambda: ResidualBlock(4, dropout=1.5), "between 0 and 1.*1.5"),
    "input": (
        lambda: ResidualBlock(4)(torch.zeros(2, 3, 5, 5)),
        r"\(2, 3, 5, 5\).*4 channels.*\(batch, 4, height, width\)",
    ),
}


@pytest.mark.parametrize(("mistake", "answer"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_a_way_out(mistake, answer: str):
    with pytest.raises(ValueError, match=answer):
        mistake()
