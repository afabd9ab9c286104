"""A ResNet on tensors of your own, in a loop of your own: which half of a signal is the louder one.

Blocks and models are plain modules: any loop will do. `visarch.prepare` makes them fast in it.

    python examples/custom_data.py
"""

import sys

import torch
from torch.nn.functional import cross_entropy

import visarch


def signals(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of two channels and 64 samples, one half of it louder than the other."""
    label = torch.randint(2, (count,))
    loud = torch.arange(64) // 32 == label[:, None]
    return torch.randn(count, 2, 64) * (1 + 0.5 * loud[:, None]), label


def main(steps: int = 300) -> float:
    torch.manual_seed(0)
    config = visarch.ResNetConfig(
        in_channels=2, num_classes=2, block="residual", depths=(1, 1), widths=(16, 32), ndim=1
    )
    model = visarch.prepare(visarch.ResNet(config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    for step in range(1, steps + 1):
        x, label = signals(64)
        loss = cross_entropy(model(x), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    x, label = signals(1000)
    accuracy = (model.eval()(x).argmax(1) == label).float().mean().item()
    print(f"{accuracy:.1%} of 1,000 new signals are told rightly")
    return accuracy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
