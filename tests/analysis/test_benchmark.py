"""The benchmark figure: measured rows are drawn with their ratio, others are listed with the reason."""

from itertools import product
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.benchmark import not_measured, read_rows, speed_figure

COLUMNS = (
    "variant,backend,dtype,words,side,device,hardware,threads,not run,failed,plain whole (s),fast image (s),"
    "fast words (s),fast result (s),fast whole (s),ratio whole"
)
CSV = f"""{COLUMNS}
l,openvino,float32,150,480,cpu,Some CPU,2,,,9.0,1.0,1.0,1.0,3.0,3.1
s,torch,float32,1,640,cpu,Some CPU,2,,,4.0,1.0,0.5,0.5,2.0,2.0
l,torch,float32,5000,480,cuda,Some GPU,2,no CUDA device,,,,,,,
"""


def test_every_measured_row_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "speed.csv"
    path.write_text(CSV)
    figure = speed_figure(read_rows(path))
    small, large = figure.axes
    assert (small.get_title("left"), large.get_title("left")) == ("S", "L")
    assert [bar.get_width() for bar in small.patches] == [4.0, 1.0, 0.5, 0.5]
    assert [bar.get_width() for bar in large.patches] == [9.0, 1.0, 1.0, 1.0]
    assert [text.get_text() for text in large.texts] == ["150 words, 640×480", "3.1×"]
    assert small.texts[0].get_text() == "1 word, 853×640"
    assert small.get_yticklabels()[0].get_text() == "torch float32"
    note = " ".join(str(figure.get_supxlabel()).split())
    assert note == (
        "Measured on Some CPU, 2 threads. "
        "Not run, no CUDA device: 1 case of L; torch float32 cuda; 5,000 words; 640×480."
    )
    assert main(["benchmark", str(path), "--out", str(tmp_path / "speed.png")]) == 0
    assert (tmp_path / "speed.png").stat().st_size > 5_000


def many_rows() -> list[dict[str, str]]:
    rows = []
    choices = product("sl", ("openvino", "torch"), ("bfloat16", "float32"), ("5000", "20"), ("640", "384"))
    for variant, backend, dtype, words, side in choices:
        row = dict.fromkeys(COLUMNS.split(","), "")
        row |= {"variant": variant, "backend": backend, "dtype": dtype, "words": words, "side": side, "device": "cpu"}
        row |= {"hardware": "Some CPU", "threads": "1"}
        if dtype == "float32":
            row |= dict.fromkeys(COLUMNS.split(",")[-6:], "1.5")
        else:
            row["not run"] = "no bfloat16"
        rows.append(row)
    return rows


def test_many_rows_are_grouped_and_do_not_overlap() -> None:
    rows = many_rows()
    figure = speed_figure(rows)
    assert [axes.get_title("left") for axes in figure.axes] == ["S", "L"]
    figure.draw_without_rendering()
    for axes in figure.axes:
        groups = [text.get_text() for text in axes.texts if "words" in text.get_text()]
        assert groups == ["20 words, 512×384", "5,000 words, 512×384", "20 words, 853×640", "5,000 words, 853×640"]
        engines = [label.get_text() for label in axes.get_yticklabels()]
        assert engines == ["torch float32", "openvino float32"] * 4
        boxes = [text.get_window_extent() for text in (*axes.get_yticklabels(), *axes.texts)]
        assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    assert not_measured(rows) == [
        "Not run, no bfloat16: 16 cases of S, L; torch bfloat16, openvino bfloat16; 20 words, 5,000 words; "
        "512×384, 853×640."
    ]


def test_machines_have_panels_of_their_own() -> None:
    rows = [row for row in many_rows() if row["variant"] == "s" and row["ratio whole"]]
    rows[0]["hardware"] = "Some GPU"
    figure = speed_figure(rows)
    assert [axes.get_title("left") for axes in figure.axes] == ["S on Some CPU, 1 thread", "S on Some GPU, 1 thread"]
    assert "Measured" not in str(figure.get_supxlabel())


def test_a_failed_row_is_reported(tmp_path: Path) -> None:
    rows = many_rows()
    rows[0] |= {"not run": "", "failed": "out of memory"}
    assert any(note.startswith("Failed, out of memory: 1 case of S; ") for note in not_measured(rows))


@pytest.mark.parametrize("text", [None, COLUMNS + "\n", "variant\nxs\n"])
def test_an_empty_benchmark_gets_one_sentence(
    text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speed.csv"
    if text is not None:
        path.write_text(text)
    assert main(["benchmark", str(path), "--out", str(tmp_path / "speed.png")]) == 1
    assert "eovseg benchmark" in capsys.readouterr().err
