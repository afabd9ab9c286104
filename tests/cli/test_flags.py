"""The flags that every verb has: one JSON document on stdout, or nothing at all."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from visarch.cli import VERBS, main
from visarch.terminal import Manner

from ..foreign.peers import PeerResNet, trained

SHORT = "--steps 2 --batch-size 4 --warmup-steps 1 --device cpu --data {data}"
COMMANDS = {
    "train vae": f"train vae {SHORT} --latent-dim 4 --channels 8 --depth 1 --out {{folder}}/run",
    "train classifier": f"train classifier {SHORT} --preset small --dry-run",
    "train diffusion": f"train diffusion {SHORT} --widths 8 16 --num-groups 4 --dry-run",
    "train --resume": "train --resume {digits}",
    "evaluate": "evaluate {shades}",
    "report": "report {digits} {shades} --out {folder}",
    "predict": "predict {shades}",
    "sample": "sample {digits} -n 2 --out {folder}",
    "reconstruct": "reconstruct {digits} -n 2 --out {folder}",
    "interpolate": "interpolate {digits} 0 1 --steps 2 --out {folder}",
    "embed": "embed {digits} --out {folder}",
    "check": "check digits",
    "describe": "describe {digits} --svg {folder}/network.svg",
    "verify": "verify --cases 1 --only attention",
    "export": "export {shades} --format torch --out {folder}/exported",
    "import": "import {folder}/resnet.safetensors --from timm --out {folder}/imported",
    "push": "push {digits} somebody/digits --dry-run",
    "completion": "completion bash",
    "bench": "bench --list",
}
"""A command of every verb that ends by itself, short enough to try."""


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def files_named(record: Any) -> list[str]:
    """Every file that a document says was written."""
    if not isinstance(record, dict):
        return []
    return [*record.get("files", []), *(record[k] for k in ("report", "page") if k in record)]


@pytest.fixture
def typed(digits, shades, tmp_path: Path, capsys):
    def run(name: str, flags: str) -> tuple[str, str]:
        if name == "import":
            weights = trained(PeerResNet(18, classes=3, width=8)).state_dict()
            save_file(dict(weights), tmp_path / "resnet.safetensors")
        command = COMMANDS[name].format(
            digits=digits.path, shades=shades.path, data=shades.data, folder=tmp_path
        )
        capsys.readouterr()
        assert main(f"{command} {flags}".split()) == 0
        return capsys.readouterr()

    return run


def test_every_verb_is_tried():
    assert {*COMMANDS, "web"} == set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_no_verb_has_them_itself(name: str):
    module, _, class_name = VERBS[name].target.partition(":")
    own = {field.name for field in fields(getattr(import_module(module), class_name))}
    assert not own & {field.name for field in fields(Manner)}


@pytest.mark.parametrize("name", COMMANDS)
def test_json_is_one_document_and_names_what_was_written(name: str, typed):
    output, _ = typed(name, "--json")
    record = json.loads(output, parse_constant=refuse)
    assert record
    assert all(Path(file).exists() for file in files_named(record))


@pytest.mark.parametrize("name", COMMANDS)
def test_quiet_says_nothing(name: str, typed):
    assert typed(name, "--quiet") == ("", "")


@pytest.mark.parametrize("name", ["evaluate", "check", "describe", "sample", "train vae"])
def test_what_is_said_without_a_terminal_has_no_control_characters(name: str, typed):
    controls = {chr(code) for code in range(32)} - {"\n"}
    for text in typed(name, ""):
        assert not controls & set(text)


@pytest.mark.parametrize("flags", ["--json", "--quiet", "--json --quiet"])
def test_a_mistake_is_answered_all_the_same(flags: str, refused):
    assert "/nonexistent" in refused(f"check /nonexistent {flags}")
    assert "--sampler" in refused(f"evaluate run --sampler fast {flags}")


def test_problems_of_the_data_are_in_the_document_and_in_the_exit_code(colors, capsys):
    assert main(["check", colors.data, "--json"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert any("broken.png" in json.dumps(problem) for problem in record["problems"])


def test_training_tells_where_its_run_lies_and_what_came_out(typed, tmp_path: Path):
    output, messages = typed("train vae", "--json")
    record = json.loads(output)
    assert record["run"] == str(tmp_path / "run")
    assert (record["finished"], record["step"], record["total_steps"]) == (True, 2, 2)
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert record["metrics"] == measured
    assert "Run folder:" in messages


def test_a_dry_run_tells_what_it_found(typed):
    record = json.loads(typed("train classifier", "--json")[0])
    assert record["settings"]["preset"] == "small"
    assert record["parameters"] > 0 < record["seconds_per_step"]
