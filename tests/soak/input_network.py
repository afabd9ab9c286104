"""Every verb as a process of its own where there is no network at all; what came of it.

python tests/soak/input_network.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile.commands import commands, inside, make_runs


def main() -> int:
    """Run them; the exit code says whether one needed the network."""
    alone = ["unshare", "--net", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"]).returncode:
        print("This system does not let us take the network away from a process.")
        return 0
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    failures = 0
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        for name, command in commands(make_runs(Path(folder))).items():
            line = [*alone, sys.executable, "-m", "visarch", *command]
            ended = subprocess.run(line, env=environment, capture_output=True, text=True)
            failures += ended.returncode != 0
            print(f"{name}: exit code {ended.returncode}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
