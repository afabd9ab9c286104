"""The note's U-Net once more, in torch's own functions and nothing of ours but the weights.

Every line is a line of the note's boxes (section 2.2, appendix B.2), under the note's names.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from visarch import UNet, UNetConfig

from .weights import randomize

NUM_GROUPS = 4
SMALL = UNetConfig(widths=(8, 12, 16, 20), num_groups=NUM_GROUPS, context_dim=6)


def transcribed(weights: dict[str, Tensor], x: Tensor, u: Tensor) -> Tensor:
    """U-Net(x, u) of the note, with 12 steps down and 13 up."""

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv2d(
            x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding
        )

    def trans_conv(name: str, x: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.conv_transpose2d(x, weight, bias, stride=2, padding=1)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def swish_of_norm(name: str, x: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = functional.group_norm(x, NUM_GROUPS, weight, bias, eps=0.00001)
        return x * torch.sigmoid(x)

    def res_block(name: str, x: Tensor) -> Tensor:
        z1 = conv(f"{name}.conv1", swish_of_norm(f"{name}.norm1", x))
        z2 = z1 + linear(f"{name}.context", u * torch.sigmoid(u))[:, :, None, None]
        z3 = conv(f"{name}.conv2", swish_of_norm(f"{name}.norm2", z2))  # no dropping in eval mode
        same = z3.shape[1] == x.shape[1]
        return z3 + (x if same else conv(f"{name}.shortcut", x, padding=0))

    def attn(name: str, x: Tensor) -> Tensor:
        x_txt = x.flatten(2).mT
        query, key, value = linear(f"{name}.projection", x_txt).chunk(3, dim=2)
        rows = torch.softmax(query @ key.mT / math.sqrt(query.shape[2]), dim=2)
        return linear(f"{name}.output", rows @ value).mT.reshape(x.shape)

    def attended(name: str, x: Tensor) -> Tensor:
        return attn(f"{name}.attention", res_block(f"{name}.block", x))

    z = {1: conv("descend.z1", x)}
    for i in (2, 3):
        z[i] = res_block(f"descend.z{i}.block", z[i - 1])
    z[4] = conv("descend.z4", z[3], stride=2)
    for i in (5, 6):
        z[i] = res_block(f"descend.z{i}.block", z[i - 1])
    z[7] = conv("descend.z7", z[6], stride=2)
    for i in (8, 9):
        z[i] = attended(f"descend.z{i}", z[i - 1])
    z[10] = conv("descend.z10", z[9], stride=2)
    for i in (11, 12):
        z[i] = attended(f"descend.z{i}", z[i - 1])

    def beside(y: Tensor, i: int) -> Tensor:
        return torch.cat([y, z[i]], dim=1)

    y = res_block("ascend.y13.second.block", attended("ascend.y13.first", z[12]))
    for i in (12, 11):
        y = attended(f"ascend.y{i}", beside(y, i))
    y = trans_conv("ascend.y10", attended("ascend.y10_bar", beside(y, 10)))
    for i in (9, 8):
        y = attended(f"ascend.y{i}", beside(y, i))
    y = trans_conv("ascend.y7", attended("ascend.y7_bar", beside(y, 7)))
    for i in (6, 5):
        y = res_block(f"ascend.y{i}.block", beside(y, i))
    y = trans_conv("ascend.y4", res_block("ascend.y4_bar.block", beside(y, 4)))
    for i in (3, 2, 1):
        y = res_block(f"ascend.y{i}.block", beside(y, i))
    return conv("conv", swish_of_norm("norm", y))


def test_the_network_is_the_notes():
    model = randomize(UNet(SMALL)).double()
    x = torch.randn(2, 3, 32, 24, dtype=torch.float64)
    u = torch.randn(2, SMALL.context_dim, dtype=torch.float64)
    expected = transcribed(model.state_dict(), x, u)
    torch.testing.assert_close(model(x, u), expected, rtol=0, atol=1e-10)


def test_every_weight_matters_to_the_transcription():
    model = randomize(UNet(SMALL)).double()
    weights = {name: tensor.requires_grad_() for name, tensor in model.state_dict().items()}
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    u = torch.randn(1, SMALL.context_dim, dtype=torch.float64)
    gradients = torch.autograd.grad(transcribed(weights, x, u).square().sum(), weights.values())
    assert all(gradient.any() for gradient in gradients)
