"""The memory figure: a line per part over words and over pixels, and a description of those that are not flat."""

from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.memory import PARTS, Curve, memory_figure, read_curves

HEADER = "width,height,words,hardware,threads," + ",".join(f"{part} (MB)" for part in PARTS)
POINTS = (
    (640, 480, 20, (70, 140, 10, 95, 90)),
    (640, 480, 10_000, (72, 141, 400, 80, 75)),
    (640, 480, 50, (77, 144, 6, 100, 80)),
    (2_000, 1_500, 50, (73, 145, 10, 300, 540)),
    (4_000, 3_000, 50, (95, 143, 7, 200, 2_300)),
)
ROOT = Path(__file__).parent.parent.parent


def write(path: Path, points: tuple[tuple[int, int, int, tuple[int, ...]], ...] = POINTS) -> Path:
    lines = [f"{w},{h},{n},Some CPU,2,{','.join(map(str, values))}" for w, h, n, values in points]
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_every_part_has_a_line_over_words_and_over_pixels(tmp_path: Path) -> None:
    words, pixels, machine = read_curves(write(tmp_path / "memory.csv"))
    assert [curve.part for curve in words] == [curve.part for curve in pixels] == list(PARTS)
    assert words[2] == Curve("words", (20.0, 50.0, 10_000.0), (10.0, 6.0, 400.0))  # points are sorted
    assert pixels[4] == Curve("instance", (0.3072, 3.0, 12.0), (80.0, 540.0, 2_300.0))
    figure = memory_figure(words, pixels, machine)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == list(PARTS.values())
    assert right.lines[4].get_xydata().tolist() == [[0.3072, 80], [3, 540], [12, 2_300]]
    assert "words" in left.get_xlabel() and "megapixels" in right.get_xlabel()
    assert left.get_ylabel() == right.get_ylabel() == "peak memory above the loaded model (MB)"
    text = str(figure.get_supxlabel())
    assert "Over words, word half: 10 MB at 20, 400 MB at 10,000 words; 39 kB per word." in text
    assert "Over megapixels, panoptic result: 100 MB at 0.31; peak 300 MB at 3; 200 MB at 12 megapixels." in text
    assert "Over megapixels, instance result: 80 MB at 0.31, 2,300 MB at 12 megapixels; 190 MB per megapixel." in text
    assert "the others: flat within 25 MB." in text and "Some CPU, 2 threads" in text
    assert "image half:" not in text


def test_flat_lines_have_no_description() -> None:
    assert Curve("image", (20, 10_000), (70.0, 94.0)).description("word") is None
    assert Curve("image", (20, 10_000), (96.0, 70.0)).description("word") is not None


def test_the_command_draws_the_committed_measurements(tmp_path: Path) -> None:
    out = tmp_path / "new" / "memory.svg"
    assert main(["memory", str(ROOT / "assets/benchmarks/memory.csv"), "--out", str(out)]) == 0
    assert "peak memory above the loaded model (MB)" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("width,height\n1,2\n", "lacks the column 'words'"),
        (HEADER + "\n", "has no row"),
        (HEADER + "\n640,480,50,Some CPU,2,1,2,3,4,5\n", "fewer than two points"),
        (HEADER + "\n640,480,fifty,Some CPU,2,1,2,3,4,5\n", "cannot be drawn"),
    ],
)
def test_files_that_cannot_be_drawn_get_one_sentence(
    content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "memory.csv"
    if content is not None:
        path.write_text(content)
    assert main(["memory", str(path), "--out", str(tmp_path / "memory.png")]) == 1
    error = capsys.readouterr().err
    assert told in error and "python -m eovseg.benchmark.memory" in error and error.count("\n") == 1


def test_an_unknown_suffix_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", str(write(tmp_path / "memory.csv")), "--out", str(tmp_path / "memory.doc")]) == 1
    assert ".png, .svg or .pdf" in capsys.readouterr().err
