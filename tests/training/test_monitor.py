"""Monitoring: TensorBoard files, pictures of fixed photos, and no effect on the run."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing import event_accumulator

from eovseg.data.labelled_folder import Photo
from eovseg.training import monitor as watching
from eovseg.training.data_choice import MeasuredPhotos
from eovseg.training.monitor import Monitor, ShownPhoto, shown_photos, validation
from eovseg.vocabulary import Vocabulary
from tests.training.test_loop import CONFIG, comparable, trainer

WORDS = Vocabulary.parse("cat: thing; sky: stuff")
PHOTO = ShownPhoto("training-a", np.full((8, 12, 3), 40, np.uint8))


class FakeWeights:
    """A fake `PredictorsInTraining`: its predictor paints the photo in the colour of its network."""

    def predictor(self, network: Any) -> Any:
        def predict(image: np.ndarray, vocabulary: Vocabulary) -> Any:
            assert vocabulary == WORDS
            torch.rand(10)
            np.random.rand(10)  # noqa: NPY002
            return SimpleNamespace(overlay=lambda: Image.new("RGB", image.shape[1::-1], network))

        return predict


def watcher(output: Path) -> Monitor:
    return Monitor(output, [PHOTO], WORDS, FakeWeights())  # type: ignore[arg-type]


def events(output: Path) -> Any:
    found = event_accumulator.EventAccumulator(str(output / "tensorboard"))
    found.Reload()
    return found


def test_every_number_of_the_log_and_every_picture_is_written(tmp_path: Path) -> None:
    monitor = watcher(tmp_path)
    monitor.scalars(5, {"step": 5, "lr": 0.25, "loss": 3.0, "layer0_mask": 1.5, "gradient_norm": 7.0, "skipped": 0})
    monitor.scalars(5, {"step": 5, "evaluation": {"PQ": 12.5, "mIoU": 30.0}})
    monitor.pictures(5, "red")  # type: ignore[arg-type]
    monitor.close()
    found = events(tmp_path)
    values = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert values == {
        "run/lr": [(5, 0.25)],
        "run/gradient_norm": [(5, 7.0)],
        "run/skipped": [(5, 0.0)],
        "losses/loss": [(5, 3.0)],
        "losses/layer0_mask": [(5, 1.5)],
        "evaluation/PQ": [(5, 12.5)],
        "evaluation/mIoU": [(5, 30.0)],
    }
    assert found.Tags()["images"] == ["pictures/training-a"]
    (image,) = found.Images("pictures/training-a")
    assert (image.step, image.width, image.height) == (5, 12, 8)
    with Image.open(tmp_path / "pictures" / "training-a-0000005.png") as picture:
        assert picture.size == (12, 8) and picture.getpixel((3, 3)) == (255, 0, 0)


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    for first, last, value in ((1, 6, 1.0), (4, 8, 2.0)):
        monitor = watcher(tmp_path)
        for step in range(first, last + 1):
            monitor.scalars(step, {"step": step, "loss": value})
        monitor.close()
    found = [(event.step, event.value) for event in events(tmp_path).Scalars("losses/loss")]
    assert found == [(step, 1.0 if step < 4 else 2.0) for step in range(1, 9)]


def test_without_tensorboard_pictures_are_written_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monitor = watcher(tmp_path)
    monitor.scalars(1, {"step": 1, "loss": 1.0})
    monitor.pictures(1, "blue")  # type: ignore[arg-type]
    monitor.close()
    assert capsys.readouterr().err.count("pip install tensorboard") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_tensorboard_is_imported_by_the_first_number_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setattr(watching, "_open_writer", lambda _folder, step: opened.append(step) or False)
    monitor = watcher(tmp_path)
    assert opened == []
    monitor.scalars(3, {"step": 3, "loss": 1.0})
    monitor.scalars(4, {"step": 4, "loss": 1.0})
    assert opened == [3]


class Listener:
    """A fake monitor that draws random numbers."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.pictured: list[tuple[int, torch.Tensor, bool]] = []
        self.closed = 0

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        assert step == values["step"]
        self.lines.append(values)

    def pictures(self, step: int, network: Any) -> None:
        torch.rand(100)
        np.random.rand(100)  # noqa: NPY002
        self.pictured.append((step, network.masks.weight.clone(), network.training))

    def close(self) -> None:
        self.closed += 1


def test_monitoring_does_not_change_the_run(tmp_path: Path) -> None:
    config, listener = replace(CONFIG, pictures_every=3), Listener()
    plain = trainer(tmp_path / "plain", config)
    plain.run()
    seen = trainer(tmp_path / "seen", config, monitor=listener)
    seen.run()
    assert comparable(tmp_path / "seen") == comparable(tmp_path / "plain")
    weights = seen.network.trained_state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.network.trained_state_dict().items())
    assert [line["step"] for line in listener.lines] == [1, 2, 3, 4, 5, 6]
    assert [(step, training) for step, _, training in listener.pictured] == [(3, False), (6, False)]
    assert seen.average is not None  # pictures use the averaged weights
    assert torch.equal(listener.pictured[1][1], seen.average.weights["masks.weight"])
    assert listener.closed == 1


class FakeFolder:
    photos = tuple(Photo(i, f"some/p {i}.jpg", 900, 600, (), "") for i in range(7))

    def load_image(self, photo: Photo) -> np.ndarray:
        return np.full((photo.height, photo.width, 3), photo.image_id, np.uint8)


def test_shown_photos_are_few_small_and_spread() -> None:
    folder: Any = FakeFolder()
    shown = shown_photos("validation", folder, folder.photos, count=3)
    assert [photo.name for photo in shown] == ["validation-p 0", "validation-p 2", "validation-p 4"]
    assert all(photo.image.shape == (427, 640, 3) for photo in shown)
    assert [int(photo.image[0, 0, 0]) for photo in shown] == [0, 2, 4]
    assert len(shown_photos("training", folder, folder.photos[:1], count=3)) == 1
    alike = [Photo(i, name, 900, 600, (), "") for i, name in enumerate(("a.jpg", "a.png", "b/c.jpg", "d/c.jpg"))]
    assert len({photo.name for photo in shown_photos("training", folder, alike, count=4)}) == 4


def test_validation_omits_undefined_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def evaluate(*arguments: Any, **_options: Any) -> Any:
        asked.extend(arguments)
        return SimpleNamespace(summary=lambda: {"PQ": 12.34567, "PQ unseen": math.nan})

    monkeypatch.setattr(watching, "evaluate", evaluate)
    folder: Any = FakeFolder()
    present: Any = FakeWeights()
    numbers = validation(MeasuredPhotos(folder, folder.photos, WORDS), present)
    assert numbers(3, "network") == {"PQ": 12.346}  # type: ignore[arg-type]
    assert asked[1:] == [folder, folder.photos, WORDS]
