"""Unusual words, photos and settings end to end: plain messages, no data loss, no script injection."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eovseg
from eovseg.assets import asset_path
from eovseg.checkpoints import save_checkpoint
from eovseg.cli import main
from eovseg.model.config import variant_config

ODD_WORDS = '<script>alert("sky")</script>: stuff; 🐻, ours, 熊; a&b "quoted"; grass: stuff'


def bad_photos(folder: Path) -> dict[str, str]:
    """Writes one photo of each kind; returns the expected part of each message."""
    whole = asset_path("photos/bear.jpg").read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "text.jpg").write_text("These are words, not a photo.")
    (folder / "page.png").write_text("<html><script>alert(1)</script></html>")
    Image.new("RGB", (20_000, 30)).save(folder / "ribbon.png")
    return {
        "empty.jpg": "is empty (0 bytes)",
        "cut.jpg": "damaged or truncated",
        "text.jpg": "not a readable photo",
        "page.png": "not a readable photo",
        "ribbon.png": "20,000 x 30 pixels",
    }


def test_bad_photos_among_good_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    expected = bad_photos(folder)
    Image.new("RGB", (1, 1), (120, 160, 200)).save(folder / "dot.png")
    with Image.open(asset_path("photos/bear.jpg")) as photo:
        photo.resize((146, 160)).save(folder / "zebra.jpg")
    assert main(["segment", str(folder), "-v", ODD_WORDS, "-o", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.startswith("eovseg: ")]
    assert len(said) == len(expected) + 1, "one line for each and the total"
    for name, words in expected.items():
        assert sum(name in line and words in line for line in said) == 1, name
    assert said[-1].endswith(f"{len(expected)} of 7 photos could not be segmented.")
    assert "Traceback" not in captured.err
    found = {line["file_name"]: line for line in map(json.loads, captured.out.splitlines())}
    assert sorted(found) == ["dot.png", "zebra.jpg"], "the valid photos were segmented"
    assert {segment["label"] for line in found.values() for segment in line["segments"]} <= {
        '<script>alert("sky")</script>', "🐻", 'a&b "quoted"', "grass",
    }  # fmt: skip
    with Image.open(out / "dot-panoptic.png") as ids:
        assert ids.size == (1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows file names that are not UTF-8")
def test_a_file_name_that_is_not_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system does not allow the name")
    vocabulary = eovseg.Vocabulary.parse("sky: stuff")
    result = eovseg.Result(np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.int32), (), vocabulary, name=name)
    for path in result.save(tmp_path / "out"):
        if path.suffix == ".json":
            assert json.loads(path.read_text(encoding="utf-8"))["images"][0]["file_name"] == "caf?.png"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "The vocabulary is empty"),
        (" ;\n, ", "The vocabulary is empty"),
        ("x" * 2_000, "at most 200 characters"),
        (";".join(map(str, range(20_001))), "at most 20,000"),
        ("mistyped.txt", "cannot be read"),
    ],
)
def test_bad_words_stop_before_any_work(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "never read.jpg", "-v", words, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("eovseg: ") and said in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""


def test_the_checkpoint_of_another_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "medium.safetensors"
    save_checkpoint(path, variant_config("m"), {}, complete=True)
    arguments = ["segment", "never read.jpg", "-v", "sky", "--json", "--variant", "s", "--checkpoint", str(path)]
    assert main(arguments) == 1
    assert capsys.readouterr().err == (
        'eovseg: medium.safetensors contains EOV-Seg M, not S. Use --variant m (in Python, variant="m").\n'
    )


@pytest.mark.parametrize("command", [["segment", "never read.jpg", "-v", "sky", "--json"], ["export-onnx", "onnx"]])
def test_a_training_checkpoint_must_be_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    path = tmp_path / "checkpoint_0000007.pt"
    torch.save({"model": {"a": torch.zeros(1)}, "optimizer": {}, "step": 7, "rng": {}}, path)
    for given, what in (
        (path, f"{path.name} is a training checkpoint"),
        (tmp_path, f"{tmp_path} is the folder of a training run"),
    ):
        assert main([*command, "--checkpoint", str(given)]) == 1
        ending = f"{what}; convert it first: `eovseg export {given} out.safetensors`.\n"
        assert capsys.readouterr().err == f"eovseg: {ending}"


def test_results_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    photo = tmp_path / "small.png"
    Image.new("RGB", (64, 48)).save(photo)
    assert main(["segment", str(photo), "-v", "sky: stuff", "-o", str(tmp_path / "taken")]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("eovseg: ")]
    assert len(said) == 1 and "cannot be written" in said[0]


def test_values_that_are_not_photos(xs: eovseg.Predictor) -> None:
    for given in (b"photo.jpg", 7, None, [3]):
        with pytest.raises(eovseg.ImageError, match="A photo must be a path"):
            xs(given, "sky")  # type: ignore[call-overload]
