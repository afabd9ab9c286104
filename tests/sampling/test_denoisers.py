"""The estimate of the image from networks of all kinds; guidance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from visarch.objectives.diffusion import cosine, diffuse, target, to_noise
from visarch.sampling import NO_LABEL, clip, denoiser, dynamic_threshold, guide, guided

PREDICTIONS = ["epsilon", "x0", "v"]
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)

T = torch.tensor([0.2, 0.7, 1.0], dtype=torch.float64)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def network_that_means(data: Tensor, prediction: str) -> Callable[..., Tensor]:
    """A network whose output stands for this x̂, whatever x_t is."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        return target(data, to_noise(data, x, cosine(t), "x0"), cosine(t), prediction)

    return network


# From output to estimate.


@every_prediction
def test_the_estimate_is_what_the_network_means(prediction: str):
    data, x = draw(2, 3, 2, 4)
    denoise = denoiser(network_that_means(data, prediction), cosine, prediction)
    torch.testing.assert_close(denoise(x, T), data)


@every_prediction
def test_a_learned_variance_comes_along(prediction: str):
    data, x = draw(2, 3, 2, 4)
    plain = network_that_means(data, prediction)
    variance = draw(3, 2, 4)
    denoise = denoiser(
        lambda x, t: torch.cat([plain(x, t), variance], dim=1), cosine, prediction, limit=clip
    )
    estimate, fraction = denoise(x, T)
    torch.testing.assert_close(estimate, clip(data))
    torch.testing.assert_close(fraction, (variance + 1) / 2)


def test_an_output_of_less_precision_is_widened():
    x = torch.randn(3, 2, 4)
    denoise = denoiser(lambda x, t: x.bfloat16(), cosine, "x0")
    assert denoise(x, T.float()).dtype == torch.float32


@pytest.mark.parametrize("limit", [clip, dynamic_threshold])
def test_limits_hold_the_estimate_in_range(limit: Callable[[Tensor], Tensor]):
    data = draw(3, 2, 40)
    data[0] *= 0.1
    limited = denoiser(network_that_means(3 * data, "v"), cosine, "v", limit=limit)(data, T)
    assert limited.abs().max() == 1
    torch.testing.assert_close(limited[0], 3 * data[0])  # what is within is left alone


def test_dynamic_thresholding_scales_each_image_by_its_own_quantile():
    data = torch.linspace(-4, 4, 81, dtype=torch.float64).view(1, 1, 81) * draw(1, 1, 1).sign()
    both = torch.cat([data, data / 2])
    scaled = dynamic_threshold(both, quantile=0.5)
    torch.testing.assert_close(scaled[0], (data[0] / 2).clamp(-1, 1))
    torch.testing.assert_close(scaled[1], (data[0] / 2).clamp(-1, 1))


# Guidance.


def test_no_weight_is_the_condition_and_minus_one_is_none():
    conditional, unconditional = draw(2, 3, 2, 4)
    assert torch.equal(guide(conditional, unconditional, 0.0), conditional)
    assert torch.equal(guide(conditional, unconditional, -1.0), unconditional)
    torch.testing.assert_close(
        guide(conditional, unconditional, 1.0), 2 * conditional - unconditional
    )
    torch.testing.assert_close(
        guide(conditional, unconditional, 3.5), 4.5 * conditional - 3.5 * unconditional
    )


@every_prediction
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_guidance_of_any_prediction_guides_the_image(prediction: str, weight: float):
    x, of_label, of_none = draw(3, 3, 2, 4)
    label = torch.tensor([4, 0, 7])

    def network(x: Tensor, t: Tensor, label: Tensor, vector: None) -> Tensor:
        asked = (label != NO_LABEL).view(-1, 1, 1)
        twice = len(x) // 3
        data = torch.where(asked, of_label.repeat(twice, 1, 1), of_none.repeat(twice, 1, 1))
        return network_that_means(data, prediction)(x, t)

    denoise = denoiser(guided(network, label, weight), cosine, prediction)
    torch.testing.assert_close(denoise(x, T), guide(of_label, of_none, weight))


class Recorder:
    """A network that keeps what it was given; its output shows the label and the vector."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def __call__(self, x: Tensor, t: Tensor, label: Tensor, vector: Tensor | None) -> Tensor:
        self.calls.append((x, t, label, vector))
        return x + label.view(-1, 1, 1)


def test_both_are_evaluated_in_one_batch():
    network, x, label = Recorder(), draw(3, 2, 4), torch.tensor([4, 0, 7])
    vector = draw(3, 5)
    out = guided(network, label, 2.0, vector)(x, T)
    ((seen, times, labels, vectors),) = network.calls
    assert torch.equal(seen, torch.cat([x, x]))
    assert torch.equal(times, torch.cat([T, T]))
    assert labels.tolist() == [4, 0, 7, -1, -1, -1]
    assert torch.equal(vectors, torch.cat([vector, vector]))
    torch.testing.assert_close(out, x + (3 * label + 2).view(-1, 1, 1))


def test_without_weight_nothing_is_doubled():
    network, x, label = Recorder(), draw(3, 2, 4), torch.tensor([4, 0, 7])
    out = guided(network, label, 0.0)(x, T)
    ((seen, _, labels, vector),) = network.calls
    assert torch.equal(seen, x)
    assert torch.equal(labels, label)
    assert vector is None
    assert torch.equal(out, x + label.view(-1, 1, 1))


def test_a_learned_variance_is_that_of_the_condition():
    x, label = draw(3, 2, 4), torch.tensor([4, 0, 7])

    def network(x: Tensor, t: Tensor, label: Tensor, vector: None) -> Tensor:
        shown = x + label.view(-1, 1, 1)
        return torch.cat([shown, 10 * shown], dim=1)

    out = guided(network, label, 2.0)(x, T)
    torch.testing.assert_close(out[:, :2], x + (3 * label + 2).view(-1, 1, 1))
    torch.testing.assert_close(out[:, 2:], 10 * (x + label.view(-1, 1, 1)))


@every_prediction
def test_an_image_guides_itself_alone(prediction: str):
    """The doubled batch mixes no images."""
    x, label = draw(3, 2, 4), torch.tensor([4, 0, 7])

    def network(x: Tensor, t: Tensor, label: Tensor, vector: None) -> Tensor:
        return (x + label.view(-1, 1, 1) * t.view(-1, 1, 1)).sin()

    whole = denoiser(guided(network, label, 1.5), cosine, prediction)(x, T)
    for k in range(3):
        one = slice(k, k + 1)
        alone = denoiser(guided(network, label[one], 1.5), cosine, prediction)(x[one], T[one])
        assert torch.equal(alone, whole[one])


def test_diffused_images_come_back():
    """The whole way round: x_t of an image, through a network that knows it."""
    data, noise = draw(2, 3, 2, 4)
    x_t = diffuse(data, noise, cosine(T))
    for prediction in PREDICTIONS:
        denoise = denoiser(network_that_means(data, prediction), cosine, prediction)
        torch.testing.assert_close(denoise(x_t, T), data)
