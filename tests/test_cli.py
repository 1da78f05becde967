"""`eovseg segment`, `convert` and errors, as typed in a shell."""

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import eovseg
from eovseg.assets import asset_path
from eovseg.cli import main

WORDS = "bear; grass: stuff; road: stuff"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "b.png", "more/a.jpg"):
        with Image.open(asset_path("photos/bear.jpg")) as image:
            image.resize((146, 160)).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, xs: eovseg.Predictor) -> None:
    """Commands take the predictor that the tests share."""
    monkeypatch.setattr("eovseg.loading.load", lambda *_, **__: xs)


def test_segments_folders_globs_and_files(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(photos), str(photos / "more" / "*.jpg"), "-v", WORDS, "-o", str(out), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    files = [Path(name) for line in lines for name in line["files"]]
    assert len(set(files)) == 3 * 4
    assert all(path.is_file() for path in files)
    assert {segment["label"] for line in lines for segment in line["segments"]} <= {"bear", "grass", "road"}


@pytest.mark.usefixtures("loaded")
def test_one_bad_file_does_not_stop_the_rest(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    assert main(["segment", str(photos), "-v", WORDS, "-o", str(out)]) == 1
    captured = capsys.readouterr()
    assert "broken.jpg" in captured.err
    assert "1 of 3 photos could not be segmented." in captured.err
    assert "Traceback" not in captured.err
    said = captured.out.splitlines()
    assert len(said) == 2 and said[0].startswith(f"{photos / 'a.jpg'}: ")
    written = json.loads((out / "a-segments.json").read_text())
    names = {row["id"]: row["name"] for row in written["categories"]}
    for row in written["annotations"]:
        share = 100 * row["area"] / (146 * 160)
        assert f"{names[row['category_id']]}: {f'{share:.0f}' if share >= 1 else '< 1'} %" in said[0]
    assert said[0].endswith(f"written to {out / 'a-overlay.png'} and 3 more files")
    assert (out / "a-overlay.png").is_file() and (out / "b-panoptic.json").is_file()


@pytest.mark.usefixtures("loaded")
def test_pictures_with_a_subject(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, photo = tmp_path / "out", photos / "b.png"
    asked = ["segment", str(photo), "-v", WORDS, "-o", str(out), "--write", "cutouts, grey", "--write", "segments"]
    assert main([*asked, "--subject", "grass"]) == 0
    assert sorted(path.name for path in out.glob("b-*")) == ["b-cutouts.zip", "b-grey.png", "b-segments.json"]
    labels = [line["label"] for line in json.loads((out / "index.jsonl").read_text())["segments"]]
    with zipfile.ZipFile(out / "b-cutouts.zip") as packed:
        assert len(packed.namelist()) == len(labels) > 0
    with Image.open(out / "b-grey.png") as grass:
        first = grass.tobytes()
    assert main([*asked, "--subject", "bear"]) == 0, "with another subject the photo is not skipped"
    with Image.open(out / "b-grey.png") as bear:
        assert bear.tobytes() != first
    with pytest.raises(SystemExit):
        main([*asked, "--write", "cutouts,mosaic"])
    assert "'mosaic' is not one of overlay," in capsys.readouterr().err


@pytest.mark.usefixtures("loaded")
def test_vocabulary_from_a_file_and_tasks(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tmp_path / "words.txt"
    words.write_text("bear\ngrass: stuff\n")
    for task in ("semantic", "instance"):
        assert main(["segment", str(photos / "b.png"), "-v", str(words), "--json", "--task", task]) == 0
        line = json.loads(capsys.readouterr().out)
        assert line["task"] == task


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["segment", "nothing.jpg", "-v", WORDS, "--json"], "nothing.jpg"),
        (["segment", "no*match.jpg", "-v", WORDS, "--json"], "no*match.jpg"),
        (["segment", "x.jpg", "-v", " ; ", "--json"], "word"),
        (["segment", "x.jpg", "-v", WORDS], "-o"),
        (["segment", "x.jpg", "--json"], "No words were given: use -v to say what"),
        (["doctor", "x.jpg"], "No words were given: use -v to say what"),
        (["segment", "x.jpg", "-v", WORDS, "--json", "--subject", "cat"], "choose from bear, grass, road."),
        (["segment", "x.jpg", "-v", WORDS, "--json", "--checkpoint", "none.pth"], "none.pth"),
        (["convert", "none.pth", "out.safetensors"], "none.pth"),
    ],
)
def test_errors_are_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("eovseg: ") and "Traceback" not in error
