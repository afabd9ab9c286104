from pathlib import Path

import pytest
import torch
from torch import nn

from visarch.blocks.normalization import BatchNorm, GroupNorm
from visarch.performance import choices
from visarch.performance.choices import (
    arrange,
    arrange_weights,
    compilation,
    memory_format,
    precision,
    threads,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def network(ndim: int, norm: nn.Module) -> nn.Module:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
    return nn.Sequential(convolution(2, 4, 3), norm, nn.Linear(5, 5))


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch):
    """Pretend that the processor has some units, and the GPU bf16 or not."""

    def pretend(*units: str, gpu: bool = False) -> None:
        capabilities = {"architecture": "x86_64"} | dict.fromkeys(units, True)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: gpu)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")

    return pretend


@pytest.mark.parametrize(
    ("units", "low_precision", "expected", "words"),
    [
        (("amx_tile", "amx_bf16", "avx512_bf16"), True, "bf16", "AMX and AVX-512 BF16"),
        (("avx512_bf16",), True, "bf16", "AVX-512 BF16"),
        (("avx512_f", "avx2", "amx_tile", "amx_int8"), True, "fp32", "no units for bf16"),
        (("amx_bf16",), False, "fp32", "full precision"),
        ((), True, "fp32", "no units"),
    ],
)
def test_a_processor_with_units_for_it_takes_bf16_where_the_task_may(
    processor, units, low_precision, expected, words
):
    processor(*units)
    choice = precision(CPU, low_precision=low_precision)
    assert choice.value == expected
    assert words in choice.reason


def test_a_gpu_takes_bf16_if_it_has_it_and_never_fp16(processor):
    processor(gpu=True)
    assert precision(GPU, low_precision=False).value == "bf16"
    processor(gpu=False)
    assert precision(GPU, low_precision=True).value == "fp32"
    assert precision(torch.device("mps"), low_precision=True).value == "fp32"


def test_this_processor_is_asked_in_earnest():
    assert precision(CPU, low_precision=True).value in ("fp32", "bf16")


@pytest.mark.parametrize(
    ("ndim", "norm", "device", "number_format", "expected"),
    [
        (2, BatchNorm(4), CPU, "bf16", torch.channels_last),
        (3, BatchNorm(4), CPU, "bf16", torch.channels_last_3d),
        (1, BatchNorm(4), CPU, "bf16", torch.contiguous_format),
        (2, BatchNorm(4), CPU, "fp32", torch.contiguous_format),
        (2, GroupNorm(4, num_groups=2), CPU, "bf16", torch.contiguous_format),
        (2, nn.GroupNorm(2, 4), CPU, "bf16", torch.contiguous_format),
        (2, GroupNorm(4, num_groups=2), GPU, "bf16", torch.channels_last),
        (3, BatchNorm(4), GPU, "fp32", torch.channels_last_3d),
        (1, BatchNorm(4), GPU, "bf16", torch.contiguous_format),
        (2, BatchNorm(4), torch.device("mps"), "fp32", torch.contiguous_format),
    ],
)
def test_the_memory_format_suits_network_and_device(ndim, norm, device, number_format, expected):
    choice = memory_format(network(ndim, norm), device, number_format)
    assert choice.value == expected
    assert choice.reason


def test_images_are_laid_out_and_other_tensors_left_alone():
    images = torch.rand(2, 3, 4, 5)
    laid_out = arrange(images, torch.channels_last)
    assert torch.equal(laid_out, images)
    assert laid_out.is_contiguous(memory_format=torch.channels_last)
    for same in (
        arrange(images, torch.contiguous_format),
        arrange(images, torch.channels_last_3d),
    ):
        assert same is images
    signals = torch.rand(2, 3, 4)
    assert arrange(signals, torch.channels_last) is signals


def test_weights_on_a_cpu_stay_as_the_fused_optimizers_take_them_fastest():
    model = network(2, BatchNorm(4))
    arrange_weights(model, torch.channels_last)
    assert all(parameter.is_contiguous() for parameter in model.parameters())
    elsewhere = model.to("meta")
    arrange_weights(elsewhere, torch.channels_last)
    assert elsewhere[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_what_was_chosen_comes_with_its_reason():
    value, reason = choices.Choice("bf16", "asked for")
    assert (value, reason) == ("bf16", "asked for")


class TestCompilation:
    @pytest.fixture(autouse=True)
    def tools(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
        """What is installed: Triton, and a C compiler."""
        there = {"triton": True, "gcc": True}
        monkeypatch.delenv("CC", raising=False)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: there.get(name) or None)
        monkeypatch.setattr("shutil.which", lambda name: there.get(name) or None)
        return there

    @pytest.mark.parametrize(
        ("steps", "seconds", "value"),
        [
            (4_999, None, False),
            (5_000, None, True),
            (None, 599.0, False),
            (None, 600.0, True),
            (None, None, False),
        ],
    )
    def test_a_gpu_compiles_what_runs_for_long(self, steps, seconds, value):
        found = compilation(GPU, steps=steps, seconds=seconds)
        assert found.value == value
        assert ("long enough" if value else "5,000 steps or 10 minutes") in found.reason

    @pytest.mark.parametrize(
        ("missing", "words"), [("triton", "Triton is not"), ("gcc", "C compiler")]
    )
    def test_not_without_its_tools(self, tools: dict[str, bool], missing: str, words: str):
        tools[missing] = False
        found = compilation(GPU, steps=10**6, seconds=None)
        assert not found.value
        assert words in found.reason

    @pytest.mark.parametrize("kind", ["cpu", "mps"])
    def test_elsewhere_it_takes_a_wish(self, kind: str):
        found = compilation(torch.device(kind), steps=10**6, seconds=None)
        assert not found.value
        assert kind in found.reason


class TestThreads:
    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """What the control group says; eight cores, and nothing in the environment."""
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
        monkeypatch.setattr(choices, "_CPU_LIMIT", tmp_path / "cpu.max")
        return tmp_path / "cpu.max"

    @pytest.mark.parametrize("says", [None, "max 100000\n", "800000 100000\n", "garbage"])
    def test_one_for_each_core(self, limit: Path, says: str | None):
        if says is not None:
            limit.write_text(says)
        assert threads() == (8, "one for each core")

    @pytest.mark.parametrize(("quota", "number"), [(250_000, 2), (50_000, 1)])
    def test_no_more_than_a_container_may_keep_busy(self, limit: Path, quota: int, number: int):
        limit.write_text(f"{quota} 100000\n")
        found = threads()
        assert found.value == number
        assert f"{quota / 100_000:g} of 8 cores" in found.reason

    def test_the_environment_has_the_last_word(self, limit: Path, monkeypatch: pytest.MonkeyPatch):
        limit.write_text("100000 100000\n")
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        assert threads() == (8, "OMP_NUM_THREADS says so")
