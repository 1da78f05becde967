"""Figures are labelled, load plotting libraries only when needed, and can be saved as vector graphics."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import figures_matplotlib as draw
from analysis import figures_plotly as screen
from analysis.ensemble import ClassVote
from analysis.parts import PartTime, PartTimes
from analysis.style import CATEGORIES, cluster_rgb
from tests.analysis.conftest import texts

ROOT = Path(__file__).parent.parent.parent
IMAGE = np.full((4, 6, 3), 90, np.uint8)


def test_computing_modules_load_no_plots() -> None:
    drawing = {"benchmark", "memory", "picture_grid", "pictures", "sheets"}
    stems = {path.stem for path in (ROOT / "analysis").glob("*.py") if not path.stem.startswith("figures_")}
    modules = sorted(stems - drawing)
    names = ", ".join("analysis" if stem == "__init__" else f"analysis.{stem}" for stem in modules)
    code = f"import sys, {names}; print(*sorted({{'gradio', 'matplotlib', 'plotly'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_paper_and_own_numbers_are_distinguished() -> None:
    found = texts(draw.comparison_figure(["XS", "S"], [9.9, 75.0], [float("nan"), 71.0], "parameters in millions"))
    assert {"here", "the paper's", "parameters in millions", "71"} <= set(found) and "nan" not in found


def test_curves_skip_missing_records() -> None:
    figure = draw.curve_figure(
        [{"step": 1, "loss": 3.0}, {"step": 2, "evaluation": 0}, {"step": 3, "loss": 1.0}], {"loss": "all losses"}
    )
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 3], [3, 1]]


def test_a_single_point_is_a_dot_and_no_points_are_reported() -> None:
    one = draw.curve_figure([{"step": 1, "loss": 3.0}], {"loss": "all losses", "other": "none"})
    (line,) = one.axes[0].lines
    assert line.get_marker() == "o" and line.get_label() == "all losses"
    two = draw.curve_figure([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}], {"loss": "all losses"})
    assert two.axes[0].lines[0].get_marker() == ""
    assert "nothing recorded yet" in texts(draw.curve_figure([], {"loss": "all losses"}))


def test_every_part_of_every_model_is_a_piece_of_its_bar() -> None:
    parts = (PartTime("image encoder", "photo", 1500.0), PartTime("VAS", "words", 20.0))
    layers = tuple(PartTime(f"decoder layer {number}", "words", 160.0) for number in (1, 2, 3))
    small = PartTimes(parts[:1], 1.0, 4, (64, 96), 1, "here")
    figure = draw.parts_figure({"XS": small, "L": PartTimes(parts + layers, 1.0, 4, (64, 96), 1, "here")})
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([1.5, 1.5, 0.02, 0.48])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["image encoder", "VAS", "decoder layers"]
    assert {"100%", "1.5 s", "75%", "24%", "2 s"} <= set(texts(figure)) and "1%" not in texts(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["XS", "L"]


def test_colours() -> None:
    first = tuple(bytes.fromhex(CATEGORIES[0][1:]))
    assert tuple(cluster_rgb(np.array([[0]]))[0, 0]) == first
    assert len(set(CATEGORIES)) == len(CATEGORIES)


def test_votes_name_both_classifiers() -> None:
    votes = screen.votes_screen([ClassVote("bus", False, 0.5, 0.25, 0.4)])
    assert [bar.name.split()[0] for bar in votes.data] == ["in-vocabulary", "out-of-vocabulary", "ensemble"]
    assert list(votes.data[0].x) == ["bus (unseen)"] and "too small" not in votes.layout.title.text
    alone = screen.votes_screen([ClassVote("bus", True, 0.5, 0.25, 0.5, weighed=False)])
    assert "too small for the image encoder" in alone.layout.title.text
