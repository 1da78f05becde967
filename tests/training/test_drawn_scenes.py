"""End to end: train on eight drawn scenes with the command, export, evaluate and segment, with consistent results."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from analysis.shapes import SHAPE_WORDS, write_shapes
from eovseg.cli import main
from eovseg.data.panoptic_folder import PanopticFolder

STEPS = 120
TRAIN = (
    f"--steps {STEPS} --warmup 10 --batch 8 --crop 96 --short-side 96 --augmentation none --evaluate-every {STEPS} "
    f"--pictures-every {STEPS} --workers 0 --device cpu --threads 1"  # one thread for a fixed summation order
)


@pytest.mark.slow
def test_a_small_model_overfits_eight_drawn_scenes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenes = write_shapes(tmp_path / "scenes", 8, 96)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        assert main(["train", "--data", "scenes", "--validate", "scenes", "--output", "run", *TRAIN.split()]) == 0
    finally:
        torch.set_rng_state(state)
        torch.set_num_threads(threads)
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    (during,) = [line["evaluation"] for line in log if "evaluation" in line]
    assert log[0]["loss"] > 3 * log[-2]["loss"]
    assert during["PQ"] > 80
    assert len(list(Path("run/pictures").iterdir())) == 4 and list(Path("run/tensorboard").iterdir())

    assert main(["export", "run", "shapes.safetensors"]) == 0
    command = "evaluate scenes --dataset panoptic-folder --checkpoint shapes.safetensors --device cpu --out report"
    assert main(command.split()) == 0
    report = json.loads(Path("report/report.json").read_text())
    assert report["summary"]["PQ"] > 80
    # The weight file is in half precision but represents the same model.
    for measure in ("PQ", "SQ", "RQ", "mIoU", "AP"):
        assert report["summary"][measure] == pytest.approx(during[measure], abs=2.0), measure

    capsys.readouterr()
    words = SHAPE_WORDS.to_text()
    command = "segment scenes/images/shapes-001.png --checkpoint shapes.safetensors --device cpu --json -v"
    assert main([*command.split(), words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["unlabelled_fraction"] < 0.1
    folder = PanopticFolder(scenes)
    photo = folder.photos[0]
    true = Counter(folder.categories[segment.category_id].name for segment in photo.segments)
    found = Counter(segment["label"] for segment in answer["segments"])
    assert (true - found).total() <= 1 and (found - true).total() <= 1  # at most one segment missing or spurious
    areas = {segment["label"]: segment["area"] for segment in answer["segments"]}
    for segment in photo.segments:
        name = folder.categories[segment.category_id].name
        if name in ("floor", "wall"):
            assert areas[name] == pytest.approx(segment.area, rel=0.15)
