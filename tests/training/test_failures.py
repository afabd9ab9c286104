"""What ends a training from outside is said in a paragraph, and nothing else is."""

import pytest
import torch
from torch import distributed

from visarch.training.failures import TrainingStopped, explained

from .toy import ToyTask, run

LACKS_PEER = [
    RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed"),
    distributed.DistBackendError("NCCL error: remote process exited"),
]


def too_large(step):
    if step == 25:
        torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [None, MemoryError(), torch.OutOfMemoryError("CUDA is full")])
def test_too_little_memory_is_said_and_the_run_goes_on(tmp_path, error):
    def at_step(step):
        if step == 25 and error:
            raise error
        too_large(step)

    with pytest.raises(TrainingStopped) as stopped:
        run(tmp_path / "run", ToyTask(at_step=at_step), steps=30)
    message = str(stopped.value)
    assert "not enough memory" in message
    assert f"visarch train --resume {tmp_path / 'run'}" in message
    assert "--batch-size" in message
    assert stopped.value.exit_code == 1
    assert run(tmp_path / "run", steps=30).step == 30


@pytest.mark.parametrize("error", LACKS_PEER, ids=["gloo", "NCCL"])
def test_a_lost_process_is_said(tmp_path, error):
    with pytest.raises(TrainingStopped, match=r"has ended.*Nothing was saved"), explained(tmp_path):
        raise error


def test_other_errors_are_left_alone(tmp_path):
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError) as raised, explained(tmp_path):
        raise error
    assert raised.value is error
