"""The figures: regular grids with captions, file names that do not collide, and invalid options rejected first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis import figures_matplotlib as draw
from analysis import figures_plotly as screen
from analysis.__main__ import main
from analysis.cluster_sheet import (
    Layer,
    all_layers,
    at_tap,
    caption,
    cluster_columns,
    layer_numbers,
    layer_times,
    paper_layers,
)
from analysis.clustering import boundary_f_score, mutual_information
from analysis.picture_grid import TALLEST, cell_width, wrapped
from analysis.sheets import cluster_count, draw_sheets, main_query, sheet_names
from analysis.similarity import SimilarityMaps, WordScore
from analysis.sources import vit_source
from eovseg.errors import ConfigError, EovsegError
from eovseg.predictor import Predictor
from eovseg.stages import Decoded
from tests.analysis.conftest import texts
from tests.analysis.test_features import timm_vit

IMAGE = np.full((40, 60, 3), 90, np.uint8)
MAPS = SimilarityMaps(
    ("bus", "<sky>"),
    np.linspace(-1, 2, 48).reshape(2, 4, 6),
    np.linspace(0, 3, 48).reshape(2, 4, 6),
    "cosine",
    (0.16, 0.18),
)


def test_similarity_maps_share_one_scale_and_after_has_its_own_beside() -> None:
    figure = draw.similarity_figure(IMAGE, MAPS, [(0.25, 0.5), (float("nan"), float("nan"))])
    maps = [axis.images[0] for axis in figure.axes if axis.images and axis.images[0].get_array().ndim == 2]
    assert [one.get_clim() for one in maps[:2]] == [(-1, 3)] * 2 == [one.get_clim() for one in maps[3:5]]
    for index, one in ((0, maps[2]), (1, maps[5])):
        assert one.get_clim() == (MAPS.after[index].min(), MAPS.after[index].max())
    found = texts(figure)
    assert {"before VAS\nsame scale", "after VAS\nown scale", "“bus”", "50.0% on its segments"} <= set(found)
    assert not any("nan" in text for text in found)
    assert any("0.16 to 0.18" in text and "%:" in text for text in found), "the range of the weights is stated"
    assert not any("%" in text for text in texts(draw.similarity_figure(IMAGE, MAPS)))


def test_weights_of_several_lists_share_one_colour_bar() -> None:
    weights = {"one word": np.full((4, 6), 0.3), "a list with <$many$> words": np.linspace(0.1, 0.6, 24).reshape(4, 6)}
    figure = draw.weight_figure(IMAGE, weights)
    figure.draw_without_rendering()
    photo, *maps, bar = figure.axes
    assert photo.images[0].get_array().shape == IMAGE.shape
    assert [axis.images[0].get_clim() for axis in maps] == [(0.1, 0.6)] * 2
    assert bar.get_xlim() == (0.1, 0.6)
    assert bar.get_xlabel() == "same scale for all maps: weight of a pixel, 0.10 to 0.60"
    assert {"photo", "one word"} <= {text.strip() for text in texts(figure)}
    assert draw.weight_figure(IMAGE, {"one": weights["one word"]}).axes[-1].get_xlabel().startswith("weight of a pixel")


def test_screens_share_a_scale_and_show_the_weights() -> None:
    figure = screen.similarity_screen(MAPS, 1, stride=1)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == MAPS.limits
    assert [trace.coloraxis for trace in figure.data] == ["coloraxis", "coloraxis", "coloraxis2"]
    assert np.array_equal(figure.data[2].z, figure.data[1].z) and not np.array_equal(figure.data[0].z, figure.data[1].z)
    assert "&lt;sky&gt;" in figure.layout.title.text and "0.16 to 0.18" in figure.layout.title.text
    shares = {"<b>": 0.75, "sky": 0.2496, "dog": 0.0004}
    scores = [WordScore(word, 1.0, 2.0, share) for word, share in shares.items()]
    picture, point, bars = screen.competition_screen(scores, IMAGE, 5, 7).data
    assert picture.source.startswith("data:image/jpeg") and (point.x, point.y) == ((5,), (7,))
    assert list(bars.y) == ["&lt;b&gt;", "sky", "dog"] and list(bars.x) == list(shares.values())
    assert list(bars.text) == ["75.0%", "25.0%", "&lt; 0.1%"]


def test_clusters_keep_the_photos_shape_and_notes() -> None:
    figure = draw.clustering_figure(
        [IMAGE], {"stage 1": [np.array([[0, 1], [2, 2]])]}, {"stage 1": "AMI 0.50"}, "what it means", ["bus"]
    )
    assert figure.axes[1].get_xlim() == (0, 60) and figure.axes[1].get_ylim() == (40, 0)
    assert {"stage 1\nAMI 0.50", "bus", "what it means"} <= set(texts(figure))


def test_cells_are_even_whatever_the_photos_shapes() -> None:
    """Cells have equal widths and gaps, and rows are as high as their photo, up to a limit."""
    photos = [IMAGE, np.zeros((60, 40, 3), np.uint8), np.zeros((90, 10, 3), np.uint8)]
    figure = draw.clustering_figure(photos, {f"stage {n}": photos for n in range(4)}, rows=["a", "b", "c"])
    size = np.array(figure.get_size_inches())
    boxes = np.array([axis.get_position(original=True).bounds for axis in figure.axes]).reshape(3, 5, 4)
    widths, heights = boxes[..., 2] * size[0], boxes[..., 3] * size[1]
    assert np.ptp(widths) == pytest.approx(0, abs=1e-9) and np.ptp(heights, axis=1).max() < 1e-9
    assert heights[:, 0] / widths[:, 0] == pytest.approx([40 / 60, TALLEST, TALLEST])
    gaps = np.diff(boxes[..., 0], axis=1) * size[0] - widths[:, :-1]
    assert np.ptp(gaps) == pytest.approx(0, abs=1e-9)
    between = boxes[:-1, 0, 1] - boxes[1:, 0, 1] - boxes[1:, 0, 3]
    assert np.ptp(between) == pytest.approx(0, abs=1e-9) and size[0] < 10


@pytest.mark.parametrize(("layers", "bands"), [(5, 1), (6, 2), (7, 2), (9, 3), (12, 3)])
def test_layers_beyond_the_page_width_continue_below(layers: int, bands: int) -> None:
    columns = {f"block {number}": [np.array([[number]])] * 2 for number in range(layers)}
    figure = draw.clustering_figure([IMAGE, IMAGE], columns)
    pictures = [axis for axis in figure.axes if axis.images]
    assert len(pictures) == len(figure.axes) == 2 * layers + 2 * bands and figure.get_figwidth() < 10
    assert set(columns) <= {text.strip() for text in texts(figure)}
    assert sum(text.strip() == "photo" for text in texts(figure)) == bands
    alone = draw.clustering_figure([IMAGE], {title: maps[:1] for title, maps in columns.items()})
    assert len(alone.axes) == layers + 1, "a single photo is not repeated"


def test_whole_vits_from_a_hub_show_the_papers_blocks(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.cluster_sheet.hub_source", lambda name: vit_source(name, timm_vit(depth=12)))
    layers = all_layers(predictor, ["CLIP ViT-B/16", "SAM ViT-B/16"])
    assert len(layers) == 24 and layers[12].name == "SAM ViT-B/16 · block 1"
    assert [layer.layer for layer in paper_layers(layers)] == ["block 1", "block 6", "block 12"] * 2


def test_no_layer_at_all_shows_the_photos(predictor: Predictor) -> None:
    assert cluster_columns([IMAGE], [], 3) == {}
    assert [text for text in texts(draw.clustering_figure([IMAGE], {})) if text.strip()] == ["photo"]


def test_titles_are_wrapped_to_their_column() -> None:
    assert wrapped("a long title of a picture\nblock 1", 1.5) == "a long title of a\npicture\nblock 1"
    assert cell_width(1) > cell_width(6) > cell_width(12)


def test_layers_and_taps_have_their_own_titles(predictor: Predictor) -> None:
    layers = all_layers(predictor)
    assert [layer.name for layer in layers][3:] == ["XS image encoder · stage 4", "XS spatial ViT · block 1"]
    assert paper_layers(layers) == layers
    inside = at_tap(layers, "after attention")
    assert inside[-1].title == "XS spatial ViT\nblock 1\nafter attention" and inside[0] == layers[0]
    deep = vit_source("deep", timm_vit(depth=12), long_side=64)
    blocks = [Layer(deep, name) for name in deep.layers]
    assert len(blocks) == 12 and [layer.layer for layer in paper_layers(blocks)] == ["block 1", "block 6", "block 12"]


def test_a_source_runs_once_per_photo_for_several_blocks(photo: np.ndarray) -> None:
    vit = timm_vit()
    passes: list[int] = []
    vit.blocks[0].register_forward_pre_hook(lambda *_: passes.append(1))  # type: ignore[index]
    source = vit_source("tiny", vit, long_side=96)
    layers = at_tap([Layer(source, "block 1"), Layer(source, "block 3")], "after attention")
    columns = cluster_columns([photo, photo], layers, 2)
    assert len(passes) == 2 and list(columns) == [f"tiny\nblock {n}\nafter attention" for n in (1, 3)]


def test_joint_clusters_keep_their_meaning_across_photos(predictor: Predictor, photo: np.ndarray) -> None:
    layers = all_layers(predictor)
    columns = cluster_columns([photo, photo], layers[:2], 3)
    for labels in columns.values():
        assert np.array_equal(labels[0], labels[1])  # the same photo was given twice
    alone = cluster_columns([photo], layers[:2], 3, joint=False)
    first = cluster_columns([photo], layers[:1], 3, joint=False)
    assert np.array_equal(alone[layers[0].title][0], first[layers[0].title][0])


def test_more_clusters_than_patches_get_one_sentence(predictor: Predictor, photo: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"k=1000 is more than the 160 patches of XS image encoder · stage 4; give 2"):
        cluster_columns([photo], all_layers(predictor), 1000)


def test_numbers_of_a_layer() -> None:
    """Photos without labelled segments do not count; the time is that measured for the layer."""
    labels, truth = np.array([[0, 0, 1, 1]] * 8), np.array([[1, 2, 2, 2]] * 8)
    found = layer_numbers({"a\nb": [labels, labels]}, [truth, np.zeros_like(truth)], {"a\nb": 12.4})["a\nb"]
    assert found.mutual_information == pytest.approx(mutual_information(labels, truth))
    assert found.boundary_f_score == boundary_f_score(labels, truth)
    assert found.note == f"12 ms\nAMI {found.mutual_information:.2f} · F {found.boundary_f_score:.2f}"
    unknown = layer_numbers({"a\nb": [labels]}, [np.zeros_like(truth)], {"a\nb": 12.4})["a\nb"]
    assert np.isnan(unknown.mutual_information) and unknown.note == "12 ms"
    assert "colours repeat" in caption(13, "x", "y") and "colours repeat" not in caption(12, "x", "y")


def test_every_layer_is_timed(predictor: Predictor, photo: np.ndarray) -> None:
    layers = at_tap(all_layers(predictor), "before attention")
    milliseconds, machine = layer_times(layers, photo, 1)
    assert list(milliseconds) == [layer.title for layer in layers] and "thread" in machine
    assert min(milliseconds.values()) > 0
    assert (np.diff(list(milliseconds.values())[:4]) > 0).all(), "stages of an encoder, one after the other"


@pytest.mark.parametrize(
    ("photos", "names"),
    [
        (["a/bus.jpg", "b/gull.jpg"], ["bus", "gull"]),
        (["a/bus.jpg", "b/bus.jpg", "b/gull.jpg"], ["a-bus", "b-bus", "gull"]),
        (["a/bus.jpg", "b/BUS.png"], ["a-bus", "b-BUS"]),
        (["x/a/bus.jpg", "y/a/bus.jpg", "a/bus.png"], ["a-bus", "a-bus-2", "a-bus-3"]),
        (["a/bus.jpg", "b/bus.jpg", "c/a-bus.jpg"], ["a-bus-2", "b-bus", "a-bus"]),
        (["a/bus.jpg", "a/bus.jpg"], ["a-bus", "a-bus-2"]),
    ],
)
def test_photos_with_the_same_name_get_separate_sheets(photos: list[str], names: list[str]) -> None:
    assert sheet_names([Path(photo) for photo in photos]) == names


@pytest.mark.parametrize("k", [0, 1, -3, "six", "", "2.5", 2.5, True, None, "9" * 5_000])
def test_invalid_numbers_of_clusters_are_refused(k: object) -> None:
    with pytest.raises(ConfigError, match="give a whole number of at least 2"):
        cluster_count(k)
    assert cluster_count("7") == cluster_count(7) == 7


def drawn(folder: Path, photo: np.ndarray, name: str = "drawn.png") -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(photo).save(folder / name)
    return folder / name


def test_all_sheets_are_written_as_vectors(
    predictor: Predictor, photo: np.ndarray, decoded: Decoded, tmp_path: Path
) -> None:
    assert 0 <= main_query(predictor, decoded) < predictor.config.queries
    photos = [drawn(tmp_path / "a", photo), drawn(tmp_path / "b", photo[:, :60])]
    out = tmp_path / "out"
    written = draw_sheets(predictor, photos, "bus: thing; sky: stuff", out, probe=["sky"], k="3", formats=("svg",))
    each = {f"{sheet}-{name}" for sheet in ("fig5-vas", "fig6-tdee", "layers") for name in ("a-drawn", "b-drawn")}
    assert {path.stem for path in written} >= each | {"fig3-fig9-clusters", "fig10-fig11-panoptic"}
    assert len(set(written)) == len(written) and all(path.is_file() for path in written)
    assert all(path.read_text(encoding="utf-8").lstrip().startswith("<?xml") for path in written)
    clusters = (out / "fig3-fig9-clusters.svg").read_text(encoding="utf-8")
    assert clusters.count(" ms<") == 5 and "thread" in clusters, "every layer is timed, and the machine is named"
    assert "a-drawn" in clusters and "b-drawn" in clusters, "rows are labelled"
    assert "before VAS" in (out / "fig5-vas-a-drawn.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, "at least 2"),
        ({"k": "six"}, "at least 2"),
        ({"k": 5000}, "more than the 160 patches of XS image encoder · stage 4"),
        ({"words": " ; "}, "word"),
        ({"probe": ["sky", " "]}, "word"),
        ({"probe": ["sky, road"]}, "more than one word"),
        ({"hub": ["AlexNet"]}, "Unknown model 'AlexNet'"),
        ({"formats": ["bmp"]}, "choose from pdf, png, svg"),
        ({"formats": []}, "choose from pdf, png, svg"),
        ({"photos": []}, "at least one photo"),
        ({"photos": ["drawn.png", "missing.jpg"]}, "missing.jpg"),
    ],
)
def test_bad_options_are_refused_before_anything_is_drawn(
    predictor: Predictor, photo: np.ndarray, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    drawn(tmp_path, photo)
    given: dict[str, object] = {"words": "sky: stuff", "photos": ["drawn.png"], "formats": ["png"], **options}
    photos = [tmp_path / str(name) for name in given.pop("photos")]  # type: ignore[attr-defined]
    with pytest.raises(EovsegError, match=message) as raised:
        draw_sheets(predictor, photos, given.pop("words"), tmp_path / "out", **given)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_a_file_instead_of_the_folder_gets_one_sentence(
    predictor: Predictor, photo: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match="give another --out"):
        draw_sheets(predictor, [drawn(tmp_path, photo)], "sky", tmp_path / "taken")


def test_the_command_prints_its_files_and_reports_errors_in_one_sentence(
    predictor: Predictor,
    photo: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)
    photos = [str(drawn(tmp_path / folder, photo)) for folder in ("a", "b")]
    out = tmp_path / "out"
    command = ["figures", "--photo", *photos, "--words", "sky: stuff", "--format", "png", "--out", str(out)]
    for bad in ("0", "1", "six", "100000"):
        assert main([*command, "--clusters", bad]) == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and "2" in said.err and not out.exists()
    assert main([*command, "--clusters", "2"]) == 0
    said = capsys.readouterr()
    assert sorted(said.out.split()) == sorted(map(str, out.iterdir()))
    assert f'The figures of "{photos[1]}" are named "b-drawn".' in said.err


def test_command_reports_a_missing_checkpoint_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["figures", "--photo", "no.jpg", "--checkpoint", str(tmp_path / "no.pth"), "--out", str(tmp_path)])
    assert code == 1 and "no.pth" in capsys.readouterr().err
