"""What a tracker is sent, read back with TensorBoard's own reader."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate import Accelerator
from PIL import Image

from visarch.training.runfolder import RunFolder
from visarch.training.tracking import track_pictures

from .toy import ToyTask, run

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def events(path: Path) -> Any:
    """All that TensorBoard finds in a run folder."""
    found = event_accumulator.EventAccumulator(
        str(path / "tensorboard"), size_guidance={"images": 0, "scalars": 0}
    )
    found.Reload()
    return found


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tracked") / "run"
    run(path, track="tensorboard", steps=60)
    return path


def test_curves_are_those_of_the_metrics_file(tracked: Path):
    folder = RunFolder(tracked)
    rows = folder.read_metrics()
    folder.close()
    found = events(tracked)
    assert set(found.Tags()["scalars"]) == set(rows[0] | rows[-1]) - {"step"}
    for tag in ("loss", "learning_rate", "validation/error"):
        told = {event.step: event.value for event in found.Scalars(tag)}
        kept = {int(row["step"]): float(row[tag]) for row in rows if row.get(tag)}
        assert told == pytest.approx(kept)
        assert len(kept) > 1


def test_pictures_are_those_of_the_samples_folder(tracked: Path):
    told = {event.step: event.encoded_image_string for event in events(tracked).Images("sample")}
    kept = {int(path.name.split("-")[1]): path for path in (tracked / "samples").iterdir()}
    assert told.keys() == kept.keys() == {50, 60}
    for step, encoded in told.items():
        with Image.open(io.BytesIO(encoded)) as one, Image.open(kept[step]) as other:
            assert one.convert("RGB").tobytes() == other.convert("RGB").tobytes()


def test_settings_are_those_of_the_config_file(tracked: Path):
    (event,) = events(tracked).Tensors("settings/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert text.startswith("```yaml\n")
    told = yaml.safe_load(text.removeprefix("```yaml\n").removesuffix("```"))
    assert told == yaml.safe_load((tracked / "config.yaml").read_text())


def test_steps_that_are_done_again_are_told_once(tmp_path: Path):
    """A run that breaks after step 33 goes on from its checkpoint of step 20."""

    def fail(step: int) -> None:
        if step == 33:
            raise RuntimeError("the power is out")

    path = tmp_path / "run"
    with pytest.raises(RuntimeError, match="power"):
        run(path, ToyTask(at_step=fail), track="tensorboard", steps=42)
    run(path, track="tensorboard", steps=42)
    assert [event.step for event in events(path).Scalars("loss")] == [7, 14, 21, 28, 35, 42]


def test_a_finished_run_begins_nothing_anew(tracked: Path):
    files = sorted((tracked / "tensorboard").iterdir())
    run(tracked, track="tensorboard", steps=60)
    assert sorted((tracked / "tensorboard").iterdir()) == files


def test_without_a_tracker_nothing_is_written(tmp_path: Path):
    run(tmp_path / "run", steps=2)
    assert not list(tmp_path.rglob("*tfevents*"))


def test_another_tracker_gets_lists_of_pictures():
    class Tracker:
        name = "wandb"
        logged: list[Any] = []  # noqa: RUF012

        def log_images(self, values: dict, step: int) -> None:
            self.logged.append((values, step))

    accelerator = Accelerator(cpu=True)
    accelerator.trackers = [Tracker()]
    track_pictures(accelerator, {"gray": Image.new("L", (3, 2), 7)}, 5)
    ((values, step),) = Tracker.logged
    assert step == 5
    assert values["gray"][0].shape == (2, 3, 3)
