import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from visarch.errors import UserError
from visarch.training.batches import Batches, _may_stay
from visarch.training.loop import train

from .toy import ToyBatch, ToySplit, ToyTask, run, settings, toy_data, toy_model

CPU = torch.device("cpu")


class OnDemand(ToySplit):
    """Decodes when it is asked, and notes in which thread and in which order."""

    def __init__(self, split: ToySplit, bad: int | None = None) -> None:
        super().__init__(split.name, split.images, split.names, in_memory=False)
        self.bad = bad
        self.asked: list[Tensor] = []
        self.threads: set[int] = set()
        self.begun = threading.Semaphore(0)

    def read(self, indices: Tensor) -> ToyBatch:
        self.asked.append(indices)
        self.threads.add(threading.get_ident())
        self.begun.release()
        if self.bad in indices.tolist():
            raise UserError(f"{self.names[self.bad]} is damaged")
        return super().read(indices)


def choose(step: int) -> Tensor:
    return torch.arange(3) + step


def batches(split: ToySplit, memory_format: torch.memory_format = torch.contiguous_format):
    return Batches(split, CPU, memory_format)


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "read-ahead" in thread.name]


@pytest.fixture
def split() -> ToySplit:
    return toy_data().splits["train"]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert not readers()


def test_the_batches_are_those_that_were_asked_for(split):
    ahead, at_once = batches(OnDemand(split)), batches(split)
    for step in (0, 1, 2, 2, 1, 7, 8):  # a diagnosis goes back; a resumed run begins late
        for reader in (ahead, at_once):
            batch = reader.step(step, choose, last=step == 8)
            assert torch.equal(batch.indices, choose(step))
            assert torch.equal(batch.images, split.images[choose(step)])
    ahead.close()
    at_once.close()


def test_the_next_one_is_read_while_a_step_computes(split):
    lazy = OnDemand(split)
    reader = batches(lazy)
    reader.step(0, choose, last=False)
    for _ in range(2):  # the one asked for, and the next
        assert lazy.begun.acquire(timeout=60)
    assert [indices.tolist() for indices in lazy.asked] == [[0, 1, 2], [1, 2, 3]]
    assert threading.get_ident() not in lazy.threads
    reader.step(1, choose, last=True)
    reader.close()
    assert len(lazy.asked) == 2  # none after the last


def test_what_is_in_memory_needs_no_thread(split):
    reader = batches(split)
    reader.step(0, choose, last=False)
    assert not readers()
    reader.close()


def test_an_error_is_raised_when_its_batch_is_asked_for(split):
    reader = batches(OnDemand(split, bad=4))
    reader.step(0, choose, last=False)
    reader.step(1, choose, last=False)
    with pytest.raises(UserError, match=r"train-4\.png is damaged"):
        reader.step(2, choose, last=False)
    reader.close()


def test_several_lots_one_after_the_other(split):
    lots = [torch.tensor([1, 2]), torch.tensor([5]), torch.tensor([0, 3, 4])]
    for chosen in (split, OnDemand(split)):
        reader = batches(chosen)
        found = [batch.indices.tolist() for batch in reader.each(iter(lots))]
        assert found == [lot.tolist() for lot in lots]
        assert list(reader.each(iter([]))) == []
        reader.close()


def test_images_lie_in_the_memory_format_of_the_network(split):
    pictures = replace(split, images=torch.rand(37, 3, 4, 4))
    for chosen in (pictures, OnDemand(pictures)):
        reader = batches(chosen, torch.channels_last)
        images = reader.step(0, choose, last=True).images
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images, pictures.images[:3])
        reader.close()


def test_a_run_on_demand_is_the_run_from_memory(tmp_path):
    data = toy_data()
    run(tmp_path / "memory", steps=20)
    data.splits = {name: OnDemand(split) for name, split in data.splits.items()}
    train(ToyTask(), toy_model(), data, settings(tmp_path / "demand", steps=20), quiet=True)
    for name in ("checkpoints/last.safetensors", "model/model.safetensors"):
        ours, theirs = tmp_path / "memory" / name, tmp_path / "demand" / name
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_run_that_ends_in_an_error_leaves_no_thread(tmp_path, error):
    def fail(step: int) -> None:
        if step == 3:
            raise error

    data = toy_data()
    data.splits["train"] = OnDemand(data.splits["train"])
    with pytest.raises(error):
        train(ToyTask(at_step=fail), toy_model(), data, settings(tmp_path / "run"), quiet=True)


def test_a_damaged_file_ends_the_run_with_its_message(tmp_path):
    data = toy_data()
    data.splits["train"] = OnDemand(data.splits["train"], bad=5)
    with pytest.raises(UserError, match=r"train-5\.png is damaged"):
        train(ToyTask(), toy_model(), data, settings(tmp_path / "run"), quiet=True)


@pytest.mark.parametrize(("free", "stays"), [(10**9, True), (10**3, False)])
def test_few_images_stay_on_the_gpu(split, monkeypatch, free, stays):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    assert _may_stay(split, torch.device("cuda")) == stays
    assert not _may_stay(split, CPU)
