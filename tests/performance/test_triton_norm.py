"""The kernels of triton_norm: what they compute, and that they compile for GPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton comes with torch for GPUs")

CASES = Path(__file__).with_name("norm_cases.py")


def test_the_kernels_compute_what_is_defined():
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(CASES)],
        env=os.environ | interpreted,
        cwd=CASES.parents[2],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_benchmark_says_in_one_line_that_there_is_no_gpu():
    script = CASES.parents[2] / "benchmarks" / "gpu.py"
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == "There is no CUDA GPU here, and this measures nothing else.\n"


ADDRESSES = {"weight", "bias", "seed", "means", "inverses", "of_weight", "of_bias"}
NUMBERS = {"epsilon": "fp32", "factor": "fp32"} | dict.fromkeys(
    ("pixels", "channels", "row_stride", "threshold"), "i32"
)


@pytest.mark.parametrize(("side", "capability"), [(32, 80), (40, 90)], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_the_kernels_compile_for_gpus(
    name: str, side: int, capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """With context and dropout, in bf16: types, layouts and registers are right, GPU or not."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from visarch.performance import triton_kernels
    from visarch.performance.triton_norm import tile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, name)
    cut = tile(side * side, 2, 32)
    assert cut.whole is (side == 32)
    constants = {
        "column_stride": 1,
        "D": 2,
        "K": cut.num_groups,
        "ROWS": cut.rows,
        "COLUMNS": cut.columns,
        "WHOLE": cut.whole,
    }
    kinds = {name: "*i64" if name == "seed" else "*fp32" for name in ADDRESSES}
    kinds |= NUMBERS | dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "*bf16") for name in kernel.arg_names}
    source = ASTSource(
        kernel, signature, {(kernel.arg_names.index(name),): v for name, v in constants.items()}
    )
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": cut.num_warps})
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared < 48 * 1024
