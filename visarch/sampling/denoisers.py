"""From a network to what a sampler asks for: the estimate x̂ of the image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from visarch.objectives.diffusion import Prediction, Schedule, to_data, variance_fraction
from visarch.sampling.samplers import Denoise

Network = Callable[[Tensor, Tensor], Tensor]
"""x_t (b, c, …) and times (b,) to ε, x or v (b, c, …), or to that and a variance (b, 2 c, …)."""

NO_LABEL = -1
"""The id that stands for no class."""


def denoiser(
    network: Network,
    schedule: Schedule,
    prediction: Prediction,
    *,
    limit: Callable[[Tensor], Tensor] | None = None,
) -> Denoise:
    """x̂ as a network sees it, and the fraction of its variance if it has twice the channels.

    Args:
        network: predicts from x_t and t.
        schedule: λ(t) that it was trained with.
        prediction: what its output means.
        limit: what keeps x̂ in the range of images: :func:`clip`, :func:`dynamic_threshold`, none.
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        predicted, variance = network(x, t).to(x.dtype).tensor_split([x.shape[1]], dim=1)
        data = to_data(predicted, x, schedule(t), prediction)
        if limit is not None:
            data = limit(data)
        return (data, variance_fraction(variance)) if variance.shape[1] else data

    return denoise


def clip(data: Tensor) -> Tensor:
    """x̂ with what lies outside −1 … 1 set to the bound (Ho et al. 2020)."""
    return data.clamp(-1, 1)


def dynamic_threshold(data: Tensor, quantile: float = 0.995) -> Tensor:
    """clip(x̂/s), s being the quantile of an image's |x̂| where it exceeds 1: clipped, but not flat.

    Source: Saharia et al. 2022 (Imagen), section 2.3.
    """
    scale = torch.quantile(data.abs().flatten(1), quantile, dim=1).clamp(min=1)
    return clip(data / scale.view(-1, *(1,) * (data.ndim - 1)))


def guide(conditional: Tensor, unconditional: Tensor, weight: float | Tensor) -> Tensor:
    """(1 + w) · conditional − w · unconditional.

    w = 0 is the conditional output exactly, w = −1 the unconditional one; w > 0 goes beyond the
    condition. (Others call 1 + w the guidance scale.) Outputs may mean ε, x or v: each is the same
    combination of the others, since x_t is the same in both.

    Source: Ho & Salimans 2022, equation 6.
    """
    return torch.lerp(unconditional, conditional, 1 + weight)


def guided(
    network: Callable[..., Tensor],
    label: Tensor,
    weight: float | Tensor,
    vector: Tensor | None = None,
) -> Network:
    """A network with classifier-free guidance towards labels, both evaluated in one double batch.

    A learned variance is that of the conditional output.

    Args:
        network: ``network(x, t, label, vector)``, trained with some labels left out.
        label: ids (b,) of the classes asked for.
        weight: w of :func:`guide`; for 0, if it is no tensor, nothing is doubled.
        vector: context vectors (b, v), the same with and without the label.
    """

    if not isinstance(weight, Tensor) and weight == 0:
        return lambda x, t: network(x, t, label, vector)
    labels = torch.cat([label, torch.full_like(label, NO_LABEL)])
    vectors = None if vector is None else torch.cat([vector, vector])

    def output(x: Tensor, t: Tensor) -> Tensor:
        both = network(torch.cat([x, x]), torch.cat([t, t]), labels, vectors)
        conditional, unconditional = both[: len(x)], both[len(x) :]
        predicted = guide(conditional[:, : x.shape[1]], unconditional[:, : x.shape[1]], weight)
        return torch.cat([predicted, conditional[:, x.shape[1] :]], dim=1)

    return output
