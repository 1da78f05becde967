"""The figure of a benchmark's CSV: every measured row is in it, with its ratio."""

from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.benchmark import read_rows, speed_figure

COLUMNS = (
    "variant,backend,dtype,words,side,hardware,threads,not run,plain whole (s),fast image (s),fast words (s),"
    "fast result (s),fast whole (s),ratio whole"
)
CSV = f"""{COLUMNS}
s,torch,float32,150,640,Some CPU,2,,4.0,1.0,0.5,0.5,2.0,2.0
l,openvino,float32,150,480,Some CPU,2,,9.0,1.0,1.0,1.0,3.0,3.1
l,torch,float32,150,480,Some GPU,2,no CUDA device,,,,,,
"""


def test_every_measured_row_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.csv"
    path.write_text(CSV)
    (axes,) = speed_figure(read_rows(path)).axes
    assert [bar.get_width() for bar in axes.patches] == [4.0, 1.0, 0.5, 0.5, 9.0, 1.0, 1.0, 1.0]
    assert [text.get_text() for text in axes.texts] == ["2.0×", "3.1×"]
    assert axes.get_yticklabels()[0].get_text() == "S torch float32\n150 words, 853×640"
    assert "Some CPU" in axes.get_title("left") and "GPU" not in axes.get_title("left")
    assert main(["benchmark", str(path), "--out", str(tmp_path / "speed.png")]) == 0
    assert (tmp_path / "speed.png").stat().st_size > 5_000


@pytest.mark.parametrize("text", [None, COLUMNS + "\n"])
def test_nothing_measured_is_one_sentence(text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "speed.csv"
    if text is not None:
        path.write_text(text)
    assert main(["benchmark", str(path), "--out", str(tmp_path / "speed.png")]) == 1
    assert "eovseg benchmark" in capsys.readouterr().err
