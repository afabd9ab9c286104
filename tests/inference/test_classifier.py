"""What a trained classifier is used for, as functions of a model."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from visarch import ResNet, ResNetConfig
from visarch.data import Split, to_unit
from visarch.inference.classifier import embed, logits, measure
from visarch.performance.inference import InferenceResNet

SHAPES = {"signals": (2, 12), "images": (3, 8, 6), "volumes": (1, 4, 5, 4)}
CLASSES = 4


def make_model(shape: tuple[int, ...]) -> ResNet:
    torch.manual_seed(1)
    config = ResNetConfig(
        shape[0],
        CLASSES,
        "residual",
        depths=(1, 1),
        widths=(4, 6),
        dropout=0.5,
        ndim=len(shape) - 1,
    )
    return ResNet(config).eval()


def make_split(shape: tuple[int, ...], count: int = 7) -> Split:
    """8-bit samples of noise, with labels."""
    images = torch.randint(256, (count, *shape), dtype=torch.uint8)
    names = [f"noise[{number}]" for number in range(count)]
    return Split("noise", images, torch.randint(CLASSES, (count,)), names)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_each_image_gets_the_models_answer_in_order(shape: tuple[int, ...]):
    model, split = make_model(shape), make_split(shape, 300)
    with torch.no_grad():
        x = to_unit(split.images, 256)
        torch.testing.assert_close(logits(model, split, 256), model(x))
        torch.testing.assert_close(embed(model, split, 256), model.features(x))
        both = (model(x) + model(x.flip(-1))) / 2
    torch.testing.assert_close(logits(model, split, 256, mirrored=True), both)


def test_progress_counts_images():
    told = []
    split = make_split((3, 8, 6), 300)
    logits(make_model((3, 8, 6)), split, 256, progress=lambda *done: told.append(done))
    assert told == [(250, 300), (300, 300)]


def test_large_images_come_in_smaller_batches():
    seen = []
    model = make_model((1, 2**20))
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    logits(model, make_split((1, 2**19), 5), 256)
    logits(model, make_split((1, 2**21), 2), 256)
    assert seen == [2, 2, 1, 1, 1]


def test_many_images_go_through_a_fast_copy():
    seen, model = [], make_model((3, 8, 6))
    model.register_forward_pre_hook(lambda network, _: seen.append(type(network)))
    for count in (250, 251):
        logits(model, make_split((3, 8, 6), count), 256)
    assert seen == [ResNet, InferenceResNet, InferenceResNet]


def test_a_mirror_image_gets_the_same_mirrored_answer():
    model, split = make_model((3, 8, 6)), make_split((3, 8, 6))
    flipped = Split("flipped", split.images.flip(-1), split.labels, split.names)
    answers = [logits(model, one, 256, mirrored=True) for one in (split, flipped)]
    torch.testing.assert_close(*answers)
    assert not torch.allclose(logits(model, split, 256), logits(model, flipped, 256))


def test_measuring():
    model, split = make_model((3, 8, 6)), make_split((3, 8, 6), 40)
    assert split.labels is not None
    measured = measure(model, split, 256)
    answers = logits(model, split, 256)
    assert torch.equal(measured.labels, split.labels)
    assert torch.equal(measured.predictions, answers.argmax(1))
    expected = functional.cross_entropy(answers, split.labels)
    assert dict(measured)["NLL"] == pytest.approx(float(expected), rel=1e-5)
    mirrored = logits(model, split, 256, mirrored=True)
    predictions = measure(model, split, 256, mirrored=True).predictions
    assert torch.equal(predictions, mirrored.argmax(1))


def test_without_labels_nothing_can_be_measured():
    split = make_split((3, 8, 6))
    split.labels = None
    with pytest.raises(ValueError, match="noise has no labels"):
        measure(make_model((3, 8, 6)), split, 256)
