import copy
import errno
import json
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from visarch.errors import UserError
from visarch.training import atomic
from visarch.training.checkpoint import (
    FORMAT,
    load_checkpoint,
    load_module,
    load_optimizer,
    module_tensors,
    optimizer_tensors,
    read_state,
    save_checkpoint,
)

from .toy import toy_model

STATE = {"step": 3, "loss": 0.1, "versions": {"visarch": "9.9"}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "last.safetensors"


@contextmanager
def files_no_larger_than(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def trained(kind, model, steps=3):
    groups = model.parameters()
    if kind == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.1, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.rand(4, 1, 4, 4)).square().mean().backward()
        optimizer.step()
    return optimizer


def test_equal_states_make_equal_files_and_come_back(path, tmp_path):
    tensors = module_tensors(toy_model(), "model.") | {"ema.x": torch.rand(2).bfloat16()}
    contents = set()
    for _ in range(5):
        save_checkpoint(path, tensors, STATE)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    loaded = load_checkpoint(path)
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)
    assert loaded.state == {"format": FORMAT, **STATE} == read_state(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_model_and_optimizer_go_on_exactly(kind, memory_format, path):
    model = toy_model(dropout=0.0).to(memory_format=memory_format)
    optimizer = trained(kind, model)
    tensors = module_tensors(model, "model.") | optimizer_tensors(optimizer, model)
    save_checkpoint(path, tensors, STATE)

    other = toy_model(dropout=0.0).to(memory_format=memory_format)
    its_optimizer = trained(kind, other, steps=1)
    loaded = load_checkpoint(path)
    load_module(other, loaded, "model.", path)
    load_optimizer(its_optimizer, other, loaded, path)
    for parameter, twin in zip(model.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state[parameter].items():
            if value is not None:
                assert torch.equal(its_optimizer.state[twin][name], value)
                assert its_optimizer.state[twin][name].stride() == value.stride()

    x = torch.rand(4, 1, 4, 4)
    for net, steps in ((model, optimizer), (other, its_optimizer)):
        steps.zero_grad()
        net(x).square().mean().backward()
        steps.step()
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_the_file_does_not_depend_on_the_layout_in_memory(kind, path):
    contents = set()
    for layout in (torch.contiguous_format, torch.channels_last):
        model = toy_model(dropout=0.0).to(memory_format=layout)
        optimizer = trained(kind, model, steps=0)
        for parameter in model.parameters():
            parameter.grad = torch.empty_like(parameter).copy_(torch.full(parameter.shape, 0.5))
        optimizer.step()
        tensors = module_tensors(model, "model.") | optimizer_tensors(optimizer, model)
        save_checkpoint(path, tensors, STATE)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_shared_weights_are_stored_once_and_constants_not_at_all():
    model = nn.Module()
    model.first, model.second = nn.Linear(2, 2), nn.Linear(2, 2)
    model.second.weight = model.first.weight
    model.register_buffer("constant", torch.ones(2), persistent=False)
    assert set(module_tensors(model, "")) == {"first.weight", "first.bias", "second.bias"}


@given(st.floats(0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.getbasetemp() / "last.safetensors"
    save_checkpoint(path, module_tensors(toy_model(), "model."), STATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value)
    assert "another --out" in str(error.value)


def test_where_there_is_a_good_one_beside_it_it_is_named(path):
    save_checkpoint(path.with_name("best.safetensors"), {}, STATE)
    path.write_bytes(b"\x08")
    with pytest.raises(UserError, match=r"go on from best.safetensors beside it"):
        read_state(path)


def test_a_foreign_file_and_a_newer_format_are_refused(path):
    for header in (None, {"visarch": "no json"}, {"visarch": "[]"}, {"visarch": "{}"}):
        save_file({"x": torch.zeros(1)}, path, metadata=header)
        with pytest.raises(UserError, match="not a checkpoint of visarch"):
            load_checkpoint(path)
    newer = json.dumps(STATE | {"format": FORMAT + 1})
    save_file({"x": torch.zeros(1)}, path, metadata={"visarch": newer})
    with pytest.raises(UserError, match=r"written by visarch 9\.9 in format 3.*Update visarch"):
        load_checkpoint(path)


@given(st.data())
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "last.safetensors"
    save_checkpoint(path, module_tensors(toy_model(), "model."), STATE)
    tensors, state = load_checkpoint(path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        loaded = load_checkpoint(path)
    except UserError:
        return
    assert loaded.state == state
    assert all(torch.equal(loaded.tensors[name], tensors[name]) for name in tensors)


def test_a_file_of_the_first_format_had_no_checksum(path):
    first = json.dumps(STATE | {"format": 1})
    save_file({"x": torch.ones(1)}, path, metadata={"visarch": first})
    assert load_checkpoint(path).state == STATE | {"format": 1}
    second = json.dumps(STATE | {"format": 2})
    save_file({"x": torch.ones(1)}, path, metadata={"visarch": second})
    with pytest.raises(UserError, match="damaged: it holds other numbers than were written"):
        load_checkpoint(path)


def test_another_model_is_refused_by_name_shape_and_type_and_not_touched(path):
    model, other = toy_model(width=4), toy_model(width=5)
    save_checkpoint(path, module_tensors(model, "model."), STATE)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(UserError) as error:
        load_module(other, load_checkpoint(path), "model.", path)
    assert "model.conv.weight is float32 (4, 1, 3, 3), not float32 (5, 1, 3, 3)" in str(error.value)
    assert "and 3 more" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())

    for changed in (model.half(), nn.Sequential(model)):
        with pytest.raises(UserError, match="belongs to another model"):
            load_module(changed, load_checkpoint(path), "model.", path)


def test_a_full_disk_leaves_the_old_file(path, tmp_path):
    save_checkpoint(path, {"x": torch.zeros(10)}, STATE)
    before = path.read_bytes()
    with (
        files_no_larger_than(4096),
        pytest.raises(UserError, match=r"could not be written.*is intact.*same command"),
    ):
        save_checkpoint(path, {"x": torch.zeros(100_000)}, STATE)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("moment", ["_sync", "os.replace"])
def test_a_failure_at_any_moment_leaves_the_old_file(path, tmp_path, monkeypatch, moment):
    save_checkpoint(path, {"x": torch.zeros(10)}, STATE)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(f"{atomic.__name__}.{moment}", fail)
    with pytest.raises(UserError, match="Input/output error"):
        save_checkpoint(path, {"x": torch.ones(10)}, STATE)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_checkpoint_is_as_readable_as_its_folder(path, tmp_path):
    tmp_path.chmod(0o755)
    save_checkpoint(path, {}, STATE)
    assert path.stat().st_mode & 0o777 == 0o644


def test_leftovers_of_a_crash_are_removed_and_nothing_else(path, tmp_path):
    save_checkpoint(path, {}, STATE)
    (tmp_path / ".last.safetensors.partial").write_bytes(b"half")
    (tmp_path / ".tmpAbC").write_bytes(b"half")
    (tmp_path / ".model.partial").mkdir()
    atomic.remove_leftovers(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_two_processes_that_write_a_file_at_once_each_write_all_of_it(tmp_path):
    """Both have begun before either is done."""
    code = """
import sys, time
from pathlib import Path
from visarch.training.atomic import replace_file
path, letter = Path(sys.argv[1]), sys.argv[2]

def write(side):
    side.write_text(letter * 10)
    (path.parent / letter).touch()
    while not all((path.parent / other).exists() for other in "ab"):
        time.sleep(0.01)
    side.open("a").write(letter * 10)

replace_file(path, write)
"""
    commands = [[sys.executable, "-c", code, tmp_path / "file", letter] for letter in "ab"]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert (tmp_path / "file").read_text() in ("a" * 20, "b" * 20)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b", "file"]


def test_an_interrupt_leaves_nothing_beside_a_file(tmp_path):
    def write(side):
        side.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.replace_file(tmp_path / "file", write)
    assert not list(tmp_path.iterdir())
