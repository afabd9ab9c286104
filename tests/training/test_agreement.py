"""Processes agree on images and checkpoint before anything is done."""

import os
from types import SimpleNamespace

import pytest
from accelerate import PartialState
from torch import distributed

from visarch.errors import UserError
from visarch.training.agreement import check_same_step, open_together
from visarch.training.config import TrainConfig
from visarch.training.devices import processes

from .several import meet, together
from .toy import toy_data


def agree(folder):
    """What each of two processes is told, in turn, of the same and of other data and steps."""
    meet(folder / "meeting")
    state = processes(TrainConfig(data="toy", device="cpu"))
    rank = state.process_index
    assert open_together(state, toy_data).fingerprint() == toy_data().fingerprint()
    with pytest.raises(UserError, match="toy holds other images for process 1 of this training"):
        open_together(state, lambda: toy_data(seed=rank))

    def broken():
        if rank == 1:
            raise UserError("there is no toy.npz")
        return toy_data()

    with pytest.raises(UserError) as error:
        open_together(state, broken)
    lead = "Process 1 of this training cannot open the data: " if rank == 0 else ""
    assert str(error.value) == lead + "there is no toy.npz"

    check_same_step(folder, 7)
    with pytest.raises(UserError, match=r"the same checkpoint in .*those of steps 0, 1"):
        check_same_step(folder, rank)
    distributed.destroy_process_group()


def test_two_processes_agree_or_are_both_told(start, tmp_path):
    together(start, agree, tmp_path)


def test_one_process_agrees_with_itself(tmp_path):
    assert "RANK" not in os.environ
    state = processes(TrainConfig(data="toy", device="cpu"))
    assert isinstance(state, PartialState)
    data = SimpleNamespace()  # which nobody asks for a fingerprint
    assert open_together(state, lambda: data) is data
    check_same_step(tmp_path, 3)
