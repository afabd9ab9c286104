"""What a GPU makes of this package, beside its peers there: kernels, training steps, sampling.

    python benchmarks/gpu.py [kernels] [unet] [resnet] [sampling]

checks the kernels against their definition in float64 and measures all four, or those that are
named; it prints what it finds and keeps it in ``benchmarks/results/gpu-*.json``. Most of the time
goes into compiling the peers. It takes a CUDA GPU of 40 GB, Triton, and the packages
``transformers`` and ``labml-nn``.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
SECONDS = 20.0
"""How long each race is timed."""


def parts(device: torch.device) -> dict[str, Callable[[], dict[str, Any]]]:
    """What there is to measure, by name."""
    from gpu_kernels import kernels
    from gpu_races import measured, resnet_races, sampling_races, unet_races

    races = {"unet": unet_races, "resnet": resnet_races, "sampling": sampling_races}
    return {
        "kernels": partial(kernels, device),
        **{
            name: partial(measured, f"gpu-{name}", make(device), device, SECONDS)
            for name, make in races.items()
        },
    }


def main() -> int:
    if not torch.cuda.is_available():
        print("There is no CUDA GPU here, and this measures nothing else.", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    known = parts(torch.device("cuda"))
    chosen = sys.argv[1:] or list(known)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        names = ", ".join(known)
        print(f"{', '.join(unknown)}: what is measured here is {names}.", file=sys.stderr)
        return 2
    for name in chosen:
        file = RESULTS / f"gpu-{name}.json"
        file.write_text(json.dumps(known[name](), indent=1) + "\n", encoding="utf-8")
        print(f"kept in {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
