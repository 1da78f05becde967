"""Figures say what they show, import nothing before they are asked for, and come as vectors."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import figures_matplotlib as draw
from analysis import figures_plotly as screen
from analysis.__main__ import main
from analysis.ensemble import ClassVote
from analysis.outlines import BUS_STREET, outline_map
from analysis.sheets import cluster_columns, cluster_layers, draw_sheets, main_query
from analysis.similarity import SimilarityMaps, WordScore
from analysis.style import CATEGORIES, cluster_rgb, segment_rgb
from eovseg.errors import ConfigError
from eovseg.predictor import Decoded, Predictor
from tests.analysis.conftest import texts

ROOT = Path(__file__).parent.parent.parent
MAPS = SimilarityMaps(
    ("bus", "sky"), np.linspace(-1, 2, 48).reshape(2, 4, 6), np.linspace(0, 3, 48).reshape(2, 4, 6), "cosine"
)
IMAGE = np.full((4, 6, 3), 90, np.uint8)


def test_computing_modules_load_no_plots() -> None:
    drawing = {"benchmark", "picture_grid", "pictures", "sheets"}
    stems = {path.stem for path in (ROOT / "analysis").glob("*.py") if not path.stem.startswith("figures_")}
    modules = sorted(stems - drawing)
    names = ", ".join("analysis" if stem == "__init__" else f"analysis.{stem}" for stem in modules)
    code = f"import sys, {names}; print(*sorted({{'gradio', 'matplotlib', 'plotly'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, analysis; print(*sorted({'torch', 'sklearn', 'matplotlib', 'plotly'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_similarity_maps_share_one_scale() -> None:
    figure = draw.similarity_figure(IMAGE, MAPS, [(0.25, 0.5), (float("nan"), float("nan"))])
    limits = {axis.images[0].get_clim() for axis in figure.axes if axis.images and axis.images[0].get_array().ndim == 2}
    assert (-1.0, 3.0) in limits and len(limits) == 1
    found = texts(figure)
    assert {"photo", "before VAS", "after VAS", "“bus”", "cosine in VAS's space"} <= set(found)
    assert "50% inside the word's segments" in found and not any("nan" in text for text in found)


def test_clusters_keep_the_photos_shape_and_notes() -> None:
    figure = draw.clustering_figure([IMAGE], {"stage 1": [np.array([[0, 1], [2, 2]])]}, {"stage 1": "AMI 0.50"})
    assert figure.axes[1].get_xlim() == (0, 6) and figure.axes[1].get_ylim() == (4, 0)
    assert "stage 1\nAMI 0.50" in texts(figure)


def test_paper_and_own_numbers_are_told_apart() -> None:
    found = texts(draw.comparison_figure(["XS", "S"], [9.9, 75.0], [float("nan"), 71.0], "parameters in millions"))
    assert {"here", "the paper's", "parameters in millions", "71"} <= set(found) and "nan" not in found


def test_curves_skip_missing_records() -> None:
    figure = draw.curve_figure(
        [{"step": 1, "loss": 3.0}, {"step": 2, "evaluation": 0}, {"step": 3, "loss": 1.0}], ["loss"]
    )
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[1, 3], [3, 1]]


def test_colours() -> None:
    first = tuple(bytes.fromhex(CATEGORIES[0][1:]))
    assert tuple(cluster_rgb(np.array([[0]]))[0, 0]) == tuple(segment_rgb(np.array([[1]]))[0, 0]) == first
    assert tuple(segment_rgb(np.array([[0]]))[0, 0]) == (236, 236, 236)
    assert len(set(CATEGORIES)) == len(CATEGORIES)


def test_screens_share_scale_and_names() -> None:
    figure = screen.similarity_screen(MAPS, 1, stride=1)
    assert (
        figure.layout.coloraxis.cmin,
        figure.layout.coloraxis.cmax,
    ) == MAPS.limits and "sky" in figure.layout.title.text
    bars = screen.competition_screen([WordScore("bus", 1.0, 2.0, 0.75), WordScore("sky", 0.0, 0.1, 0.25)])
    assert list(bars.data[0].y) == ["bus", "sky"] and list(bars.data[0].x) == [0.75, 0.25]
    votes = screen.votes_screen([ClassVote("bus", False, 0.5, 0.25, 0.4)])
    assert [bar.name.split()[0] for bar in votes.data] == ["in-vocabulary", "out-of-vocabulary", "ensemble"]
    assert list(votes.data[0].x) == ["bus (unseen)"] and "too small" not in votes.layout.title.text
    alone = screen.votes_screen([ClassVote("bus", True, 0.5, 0.25, 0.5, weighed=False)])
    assert "too small for the frozen tower" in alone.layout.title.text


def test_joint_clusters_keep_their_meaning_across_photos(predictor: Predictor, photo: np.ndarray) -> None:
    layers = cluster_layers(predictor)
    assert [layer.title for layer in layers][-1] == "XS spatial ViT\nblock 1"
    columns = cluster_columns([photo, photo], layers[:2], 3)
    for labels in columns.values():
        assert np.array_equal(labels[0], labels[1])  # the same photo twice
    alone = cluster_columns([photo], layers[:2], 3, joint=False)
    assert np.array_equal(
        alone[layers[0].title][0], cluster_columns([photo], layers[:1], 3, joint=False)[layers[0].title][0]
    )


def test_all_sheets_are_written_as_vectors(
    predictor: Predictor, photo: np.ndarray, decoded: Decoded, tmp_path: Path
) -> None:
    from PIL import Image

    Image.fromarray(photo).save(tmp_path / "drawn.png")
    assert 0 <= main_query(predictor, decoded) < predictor.config.queries
    written = draw_sheets(
        predictor,
        [tmp_path / "drawn.png"],
        "bus: thing; sky: stuff",
        tmp_path / "out",
        probe=["sky"],
        k=3,
        formats=("svg",),
    )
    names = {path.stem for path in written}
    assert {
        "routers",
        "fig5-vas-drawn",
        "fig6-tdee-drawn",
        "layers-drawn",
        "fig3-fig9-clusters",
        "fig10-fig11-panoptic",
    } <= names
    assert all(path.read_text(encoding="utf-8").lstrip().startswith("<?xml") for path in written)
    clusters = (tmp_path / "out" / "fig3-fig9-clusters.svg").read_text(encoding="utf-8")
    assert clusters.count("ms here") == 5 and "thread" in clusters, "every layer is timed, and the machine is named"
    assert "before VAS" in (tmp_path / "out" / "fig5-vas-drawn.svg").read_text(encoding="utf-8")


def test_command_reports_bad_input_as_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        [
            "figures",
            "--photo",
            str(tmp_path / "missing.jpg"),
            "--checkpoint",
            str(tmp_path / "no.pth"),
            "--out",
            str(tmp_path),
        ]
    )
    assert code == 1
    assert "no.pth" in capsys.readouterr().err


def test_a_file_in_the_way_is_a_sentence(predictor: Predictor, photo: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="give another --out"):
        draw_sheets(predictor, [], "sky", tmp_path / "taken")


def test_outlines_name_every_id() -> None:
    ids, names = outline_map(BUS_STREET, (427, 640))
    assert ids.shape == (427, 640) and set(np.unique(ids).tolist()) - {0} == set(names)
    assert list(names.values()) == ["sky", "road", "tree", "building", "bus"]
    assert ids[250, 300] == 5 and ids[5, 300] == 1 and ids[420, 300] == 2
