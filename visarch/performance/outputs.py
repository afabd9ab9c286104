"""What a model gives, tensor by tensor."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from visarch.models.vae import GaussianPosterior


def map_tensors(change: Callable[[Tensor], Tensor], outputs: Any) -> Any:
    """The same tuples, dictionaries and posteriors, of changed tensors."""

    def changed(leaf: Any) -> Any:
        if isinstance(leaf, GaussianPosterior):
            return GaussianPosterior(change(leaf.mean), change(leaf.scale))
        return change(leaf) if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(changed, outputs)
