"""`eovseg train` around the training itself: new, resumed, finished and interrupted runs, on a tiny network."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.shapes import write_shapes
from eovseg.cli import main
from eovseg.training import checkpointing
from eovseg.training.config import TrainConfig
from eovseg.training.loop import Trainer
from tests.training.test_loop import TinyNetwork

Train = Callable[..., int]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs the command on two drawn scenes, with steps that learn nothing; returns the exit code."""
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path / "scenes", 2, 64)
    network: Any = TinyNetwork()
    network.freeze = lambda _: None
    monkeypatch.setattr("eovseg.training.command.starting_network", lambda *_: network)
    monkeypatch.setattr(Trainer, "train_step", lambda *_: {"loss": 1.0})
    fixed = "--data scenes --device cpu --workers 0 --batch 2 --crop 64 --output run"
    return lambda *options: main(["train", *fixed.split(), *options])


def test_a_run_tells_how_it_starts_ends_and_continues(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "2", "--resume") == 0
    said = capsys.readouterr().out
    assert "run has no checkpoint yet, so the run starts from step 0 with untrained weights" in said
    last = Path("run/checkpoint_0000002.pt")
    ending = f"The last checkpoint is {last} (step 2 of 2). Make a weight file of it with: eovseg export run"
    assert f"{ending} run.safetensors\n" in said and f"; log: {Path('run/log.jsonl')}\n" in said
    assert train("--steps", "2", "--resume") == 0
    said = capsys.readouterr().out
    assert said.startswith("This run is finished; a larger --steps would extend it.") and ending in said
    before = last.read_bytes()
    assert train("--steps", "2") == 1
    refused = "run already has checkpoints up to step 2. Add --resume to continue, or choose another --output."
    assert capsys.readouterr().err == f"eovseg: {refused}\n" and last.read_bytes() == before
    assert train("--steps", "3", "--resume", "--pilots", "0") == 0
    said = capsys.readouterr().out
    assert f"These settings differ from {Path('run/recipe.json')}: steps 3 (was 2), loss.pilots 0 (was 12).\n" in said
    assert train("--resume", "--variant", "s") == 1
    assert "run has a run of variant 'xs', not 's'. Choose another --output, or" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_settings(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--steps", "2", "--warmup", "1", "--set", "alpha=0.5") == 0
    capsys.readouterr()
    assert train("--steps", "3", "--resume", "--set", "alpha=0.5") == 0
    assert f"differ from {Path('run/recipe.json')}: steps 3 (was 2).\n" in capsys.readouterr().out
    assert train("--resume") == 0
    assert capsys.readouterr().out.startswith("This run is finished")
    kept = TrainConfig.from_json(Path("run/recipe.json").read_text())
    assert (kept.steps, kept.warmup, kept.model) == (3, 1, ("alpha=0.5",))
    assert train("--resume", "--set", "alpha=0.4", "--steps", "4") == 0
    assert 'model ["alpha=0.5", "alpha=0.4"] (was ["alpha=0.5"])' in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_says_what_it_saved(
    train: Train, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("eovseg.training.command.starting_network", lambda *_: os.kill(os.getpid(), number))
        assert train() == 130
    assert capsys.readouterr().err == "eovseg: stopped before the first checkpoint, so nothing was saved.\n"
    monkeypatch.setattr(Trainer, "train_step", lambda *_: os.kill(os.getpid(), number))
    assert train() == 130
    last = Path("run/checkpoint_0000001.pt")
    told = f"eovseg: stopped; the last checkpoint is {last}. Add --resume to continue.\n"
    assert capsys.readouterr().err.endswith(told) and checkpointing.load(last)["step"] == 1


def test_words_that_the_data_lacks_are_named(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--vocabulary", "zebra; lion; circle: stuff") == 1
    said = capsys.readouterr().err
    assert "eovseg: 3 of 3 classes of the vocabulary are not in the data" in said
    assert "zebra, lion, circle. Use words of the data, which has circle, square" in said
    assert train("--vocabulary", "zebra; circle", "--steps", "1") == 0
    assert "1 of 2 classes of the vocabulary are not in the data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--threads", "0", "--threads is 0; give an integer of at least 1."),
        ("--workers", "-1", "--workers is -1; give an integer of at least 0."),
        ("--crop", "16", "crop is 16; give at least 32 pixels."),
        ("--device", "abacus", "The device 'abacus' is not available (there is no device of this name); choose auto,"),
        ("--output", "taken", "--output taken is a file; give a folder, which need not exist yet."),
    ],
)
def test_impossible_values_are_refused(
    train: Train, option: str, value: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").touch()
    assert train(option, value) == 1
    assert capsys.readouterr().err.startswith(f"eovseg: {sentence}")


def test_a_damaged_recipe_does_not_prevent_resuming(train: Train) -> None:
    Path("run").mkdir()
    Path("run/recipe.json").write_text("{")
    assert train("--steps", "1", "--resume") == 0
    assert TrainConfig.from_json(Path("run/recipe.json").read_text()).steps == 1
