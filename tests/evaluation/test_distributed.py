"""Evaluation in two processes gives one process's report: real, untrained XS on drawn photos with every extra."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.shapes import SHAPE_WORDS, write_shapes
from eovseg import distributed, loading
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation.__main__ import main
from eovseg.evaluation.evaluate import Evaluator, evaluate
from eovseg.evaluation.sweep import sweep
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.settings import Settings
from tests.distributed_group import in_two_processes, one_thread


def untrained() -> Predictor:
    torch.manual_seed(0)
    config = variant_config("xs").with_changes(queries=8, short_side=64, overlap_threshold=0.0, void_threshold=1.0)
    network = EOVSeg(config)
    return Predictor(network, ["circle", "wall"], device=torch.device("cpu"), text_weights="untrained")


def numbers(root: Path) -> dict[str, Any]:
    """Reports on five photos and on one (fewer than processes), and the rows of a sweep."""
    predictor, folder = untrained(), PanopticFolder(root)
    five = evaluate(predictor, folder, folder.photos, SHAPE_WORDS, extras=["true masks", "absent words", "mask recall"])
    one = evaluate(predictor, folder, folder.photos[:1], SHAPE_WORDS)
    evaluator = Evaluator(folder, SHAPE_WORDS, predictor.seen(SHAPE_WORDS), ["panoptic"])
    start = Settings.of(predictor.config)
    photos = evaluator.decode(predictor, distributed.local_part(folder.photos))
    rows = sweep(predictor, photos, evaluator.vocabulary, [start, replace(start, alpha=0.9, beta=0.1)])
    return {"five": five.to_json(), "one": one.to_json(), "sweep": [row.record() for row in rows]}


def assert_equal(found: Any, expected: Any, place: str = "") -> None:
    """Equal up to rounding, because sums have another order."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_equal(found[key], value, f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            assert_equal(found[index], value, f"{place}/{index}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9, nan_ok=True), place
    else:
        assert found == expected, place


def test_two_processes_give_the_report_of_one(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", photos=5, size=64)
    with one_thread():
        expected = numbers(root)
    assert expected["five"]["photos"] == 5
    assert expected["five"]["semantic"]["miou"] > 0
    assert expected["five"]["absence"] is not None
    assert expected["five"]["masks"]["all"]["segments"] > 5
    for found in in_two_processes(numbers, root):
        assert_equal(found, expected)


def by_command(root: Path, out: Path) -> list[str]:
    """The output of the command in each process."""
    loading.load = lambda *_: untrained()  # type: ignore[assignment]
    words = "circle: thing; square: thing; triangle: thing; floor: stuff; wall: stuff"
    texts = []
    for options in (["--out", str(out)], ["--out", str(out), "--sweep", "ensemble"], ["--limit", "0"]):
        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as errors:
            code = main([str(root), "--vocabulary", words, *options])
        texts.append(f"{code} {printed.getvalue()}{errors.getvalue()}")
    return texts


def on_a_bad_photo(root: Path) -> tuple[int, str]:
    loading.load = lambda *_: untrained()  # type: ignore[assignment]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main([str(root), "--vocabulary", "circle; square; triangle; floor: stuff; wall: stuff"])
        distributed.stop()  # as at exit
    return code, errors.getvalue()


def test_a_bad_photo_of_one_process_ends_each_with_a_sentence(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", photos=2, size=64)
    photo = sorted((root / "images").iterdir())[0]
    photo.write_bytes(photo.read_bytes()[:200])
    first, second = in_two_processes(on_a_bad_photo, root)
    assert first[0] == second[0] == 1
    assert f"{photo.name} is damaged" in first[1] and "Process 2 of 2 has lost the connection" in second[1]
    assert first[1].count("\n") == second[1].count("\n") == 1


def test_only_the_main_process_prints_and_writes(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", photos=3, size=64)
    first, second = in_two_processes(by_command, root, tmp_path / "out")
    assert first[0].startswith("0 XS on shapes: 3 photos, 5 classes")
    assert "PQ things" in first[1]
    assert second[:2] == ["0 ", "0 "]
    assert first[2] == second[2] == "1 --limit must be at least 1, not 0.\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"report.json", "summary.csv", "sweep.csv"}
