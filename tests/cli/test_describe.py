"""``visarch describe``: its table, its JSON, its drawing, and its answers to mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from visarch.cli import main
from visarch.models.resnet import ResNet, ResNetConfig
from visarch.models.unet import Denoiser, UNetConfig
from visarch.models.vae import GaussianVAE, VAEConfig


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints, and that it ends well."""
    assert main(["describe", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    return json.loads(run(capsys, *arguments, "--json"))


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said to a mistake: one paragraph on stderr, code 2."""
    assert main(["describe", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.strip().count("\n") == 0
    return captured.err


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that was trained on 24 × 40 images, with a small classifier in it."""
    config = ResNetConfig(in_channels=1, num_classes=3, depths=(1, 1), widths=(4, 8))
    folder = tmp_path / "0001-classifier-shapes"
    ResNet(config).save_pretrained(folder / "model")
    preparation = {"preparation": {"shape": [1, 24, 40], "levels": 256}}
    (folder / "data.json").write_text(json.dumps(preparation))
    return folder


class TestTable:
    def test_unet(self, capsys):
        lines = run(capsys, "unet").splitlines()
        assert lines[0].strip() == "U-Net on 3×32×32"
        rows = {line.split()[0]: line for line in lines if line.split()}
        assert "ResBlockU → Attn → ResBlockU" in rows["y₁₃"]
        assert "1024×4×4" in rows["y₁₃"]
        assert "34,879,488" in rows["y₁₂"]
        assert "all" in rows["ȳ₁₀"]
        assert "29×29" in rows["z₆"]
        assert "168,803,523" in rows["total"]
        assert "3.99 G" in rows["total"]
        assert "675 MB" in rows["total"]

    @pytest.mark.parametrize("columns", ["20", "80"])
    def test_nothing_is_cut_where_there_is_no_terminal(self, columns, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", columns)
        output = run(capsys, "unet", "--image-size", "64")
        assert "…" not in output
        starts = {line.split()[0] for line in output.splitlines() if line.strip()}
        assert {"z₁", "z₁₂", "y₁₃", "ȳ₁₀", "y", "total"} <= starts
        assert "y₁₃ ⊕ z₁₂ → ResBlockU → Attn" in output

    def test_on_a_narrow_terminal_it_wraps(self, capsys, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "80")
        output = run(capsys, "vae")
        assert "\x1b[1m" in output
        assert "encoder f_mean" in output

    def test_what_sees_nothing_of_the_image_says_so(self, capsys):
        lines = run(capsys, "denoiser").splitlines()
        assert next(line for line in lines if line.startswith(" u ")).split()[-1] == "none"
        assert "all of z" in run(capsys, "vae")


class TestNetworks:
    def test_resnet50(self, capsys):
        description = told(capsys, "resnet50")
        assert description["parameters"] == 23_500_352
        assert description["macs"] == 1_297_809_408
        assert description["weight_bytes"] > 4 * 23_500_352
        assert description["steps"][2] == {
            "name": "z2",
            "symbol": "z₂",
            "operation": "4 × ResBlockRes S=2",
            "inputs": ["z1"],
            "shape": [512, 16, 16],
            "parameters": 1_219_584,
            "macs": 335_544_320,
            "receptive_field": 23,
        }

    @pytest.mark.parametrize(
        ("arguments", "shape"),
        [
            ("resnet18", [3, 32, 32]),
            ("resnet34 --image-size 224 --channels 1", [1, 224, 224]),
            ("resnet101 --image-size 17 31", [3, 17, 31]),
            ("resnet152 --ndim 1", [3, 32]),
            ("unet --image-size 8 9 10", [3, 8, 9, 10]),
            ("unet --ndim 3 --image-size 8", [3, 8, 8, 8]),
            ("denoiser --channels 4 --num-classes 10", [4, 32, 32]),
            ("vae", [1, 28, 28]),
            ("vae --ndim 1", [1, 28]),
            ("vae --channels 3 --image-size 20 33", [3, 20, 33]),
            ("vae --ndim 3 --image-size 9", [1, 9, 9, 9]),
        ],
    )
    def test_flags_reach_the_network(self, arguments, shape, capsys):
        assert told(capsys, *arguments.split())["input_shape"] == shape

    def test_classes(self, capsys):
        assert told(capsys, "resnet18", "--num-classes", "7")["steps"][-1]["shape"] == [7]
        assert told(capsys, "denoiser", "--num-classes", "7")["steps"][0]["inputs"] == [
            "t",
            "label",
        ]


class TestKept:
    def test_a_run_is_described_for_its_own_images(self, run_folder, capsys):
        description = told(capsys, str(run_folder))
        assert description["input_shape"] == [1, 24, 40]
        assert [step["name"] for step in description["steps"]] == ["z", "z1", "z2", "y", "classes"]
        assert told(capsys, str(run_folder), "--image-size", "48")["input_shape"] == [1, 48, 48]

    def test_a_model_folder(self, run_folder, capsys):
        assert told(capsys, str(run_folder / "model"))["input_shape"] == [1, 32, 32]

    def test_a_denoiser_and_a_vae(self, tmp_path, capsys):
        unet = UNetConfig(widths=(8, 8), attends=(False, True), num_groups=4, context_dim=16)
        Denoiser(unet, num_classes=2).save_pretrained(tmp_path / "denoiser")
        GaussianVAE(VAEConfig(image_shape=(1, 8, 8), channels=4)).save_pretrained(tmp_path / "vae")
        assert told(capsys, str(tmp_path / "denoiser"))["steps"][0]["name"] == "u"
        assert told(capsys, str(tmp_path / "vae"))["input_shape"] == [1, 8, 8]
        assert "made for images of 8×8" in complaint(
            capsys, str(tmp_path / "vae"), "--image-size", "9"
        )

    @pytest.mark.parametrize("flag", ["--channels", "--ndim", "--num-classes"])
    def test_what_a_model_is_made_of_is_not_up_to_the_flags(self, flag, run_folder, capsys):
        assert f"{flag} 3 is for networks named" in complaint(capsys, str(run_folder), flag, "3")


class TestDrawing:
    def test_it_is_written_beside_the_table(self, tmp_path, capsys):
        file = tmp_path / "new" / "resnet.svg"
        output = run(capsys, "resnet50", "--svg", str(file))
        assert "23,500,352" in output
        assert output.endswith(f"\nDrawing: {file}\n")
        assert ElementTree.parse(file).getroot().tag.endswith("svg")

    def test_and_beside_the_json(self, tmp_path, capsys):
        told(capsys, "vae", "--svg", str(tmp_path / "vae.svg"))
        assert (tmp_path / "vae.svg").is_file()

    def test_another_suffix_is_refused_before_any_work(self, tmp_path, capsys):
        message = complaint(capsys, "unet", "--svg", str(tmp_path / "unet.png"))
        assert f"{tmp_path / 'unet.svg'} would do" in message
        assert not list(tmp_path.iterdir())


class TestMistakes:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [("resnt50", "resnet50"), ("u-net", "unet"), ("VAE", "vae"), ("denoise", "denoiser")],
    )
    def test_a_misspelt_network_is_answered_with_the_nearest(self, name, nearest, capsys):
        message = complaint(capsys, name)
        assert repr(name) in message
        assert nearest in message

    @pytest.mark.parametrize(
        ("arguments", "answer"),
        [
            ("unet --image-size 0", "a side is at least 1"),
            ("vae --image-size 0", "must be at least 1"),
            ("unet --image-size", "--image-size needs a value: a whole number"),
            ("unet --image-size 1 2 3 4", "--image-size has 4 numbers"),
            ("vae --ndim 3 --image-size 8 9", "2 sides and --ndim is 3"),
            ("resnet18 --channels 0", "--channels is 0; it must be at least 1"),
            ("resnet18 --num-classes -1", "--num-classes is -1; it must be at least 1"),
            ("unet --num-classes 3", "has no classes"),
            ("vae --num-classes 3", "has no classes"),
            ("unet --image-sise 3", "Nearest: --image-size"),
        ],
    )
    def test_values_that_do_not_fit(self, arguments, answer, capsys):
        assert answer in complaint(capsys, *arguments.split())

    def test_a_folder_without_a_model(self, tmp_path, capsys):
        assert "neither a run folder nor a model folder" in complaint(capsys, str(tmp_path))
