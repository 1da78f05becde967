"""SIGKILL in the middle of a real run of the command, then `--resume`: equal to an uninterrupted run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.shapes import write_shapes
from eovseg.training import checkpointing

ROOT = Path(__file__).parents[2]
STEPS, EVERY, LATEST = 14, 4, 6  # killed after step LATEST, past the checkpoint of step EVERY
TIMEOUT = 600.0
RECIPE: dict[str, Any] = {
    "variant": "xs", "steps": STEPS, "batch": 2, "crop": 64, "warmup": 2, "log_every": 1, "checkpoint_every": EVERY,
    "vocabulary": "circle: thing; square: thing; triangle: thing; floor: stuff; wall: stuff",
    "loss": {"points": 64, "dense_pixels": 64, "pilots": 2},
}  # fmt: skip


def start(folder: Path, output: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "eovseg.training", "--config", "recipe.json", "--data", "shapes"]
    # One thread, because the summation order of several threads is not deterministic.
    command += ["--output", output, "--device", "cpu", "--threads", "1", "--workers", "0", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, errors


def log(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds_per_step"} for line in lines]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", photos=6, size=80)
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    alone, killed = start(tmp_path, "alone"), start(tmp_path, "killed")
    written = tmp_path / "killed" / "log.jsonl"
    end = time.monotonic() + TIMEOUT
    while killed.poll() is None and (not written.exists() or written.read_text().count("\n") < LATEST):
        assert time.monotonic() < end
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert LATEST <= len(written.read_text().splitlines()) < STEPS
    assert checkpointing.checkpoints(tmp_path / "killed")

    finish(start(tmp_path, "killed", "--resume"))
    finish(alone)
    assert [line["step"] for line in log(tmp_path / "alone")] == list(range(1, STEPS + 1))
    assert log(tmp_path / "killed") == log(tmp_path / "alone")
    one, two = (checkpointing.load(tmp_path / name / f"checkpoint_{STEPS:07d}.pt") for name in ("alone", "killed"))
    for kind in ("model", "ema"):
        assert all(torch.equal(value, two[kind][name]) for name, value in one[kind].items())
    assert not any(name.startswith(("text_encoder", "feature_extractor.tower")) for name in one["model"])
