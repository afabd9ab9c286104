"""What we are measured beside: other packages' networks, with our weights copied into them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from torch import Tensor, nn

from visarch.errors import UserError

_ALONE = {"labml-nn": "0.5.1", "pythae": "0.1.2"}
"""What is installed without what it says it needs, of which the part that is read needs little."""


def require(packages: Sequence[str]) -> None:
    """That these packages are installed.

    Raises:
        UserError: some are not; it says how to install them.
    """
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    commands = ["pip install 'visarch[bench]'"] if set(missing) - _ALONE.keys() else []
    alone = [f"{name}=={_ALONE[name]}" for name in missing if name in _ALONE]
    if alone:
        commands.append(f"pip install --no-deps {' '.join(alone)}")
    raise UserError(
        f"This is measured beside {' and '.join(missing)}, which "
        f"{'are' if len(missing) > 1 else 'is'} not installed: {' && '.join(commands)}"
    )


def adopt(peer: nn.Module, weights: Mapping[str, Tensor], unused: str | None = None) -> nn.Module:
    """The peer with copies of these weights, all of them, for all of its own but those unused.

    Args:
        peer: the network.
        weights: by the peer's names.
        unused: what its tensors are called that its forward pass never looks at.
    """
    missing, unexpected = peer.load_state_dict(weights, strict=False)
    left = [name for name in missing if unused is None or unused not in name]
    assert not left, f"no weights for {left}"
    assert not unexpected, f"no place for {unexpected}"
    return peer.eval()


def renamed(weights: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Weights whose names have each of these parts replaced, in this order."""
    found = {}
    for name, tensor in weights.items():
        for old, new in names:
            name = name.replace(old, new)
        found[name] = tensor
    return found


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
