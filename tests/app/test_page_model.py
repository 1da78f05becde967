"""The page's callbacks with the shipped XS: which steps run, why a class, and calls that make the same picture."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import eovseg
from app.advice import changes_value
from app.examples import EXAMPLES
from app.inputs import make_request
from app.page import Page
from app.recipe import command_line, link_query, python_call, read_link
from app.session import Session
from eovseg.assets import asset_path
from eovseg.cli import main
from eovseg.composer import shown_score

pytestmark = pytest.mark.slow
WORDS = "bus; car; sky; tree; road, street"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small photo, so that runs are fast, in the working directory, so that its name is its path."""
    path = tmp_path_factory.mktemp("photos") / "my bus's photo.png"
    with Image.open(asset_path("photos/bus-street.jpg")) as image:
        image.resize((192, 128)).save(path)
    return path


@pytest.fixture(scope="module")
def predictor(xs: eovseg.Predictor) -> eovseg.Predictor:
    return xs


@pytest.fixture(scope="module")
def page(predictor: eovseg.Predictor) -> Page:
    return Page(predictor)


@pytest.fixture
def ask(page: Page, photo: Path) -> Callable[..., Session]:
    """The session of a new visitor after a request with words, a preset and settings."""

    def request(words: str = WORDS, preset: str = "", competes: bool = False, **settings: Any) -> Session:
        key = page.open()[0]
        page.show(key, {"path": str(photo)}, words, preset, competes, {"settings": settings})
        session = page.store.get(key)
        assert session is not None
        return session

    return request


def test_settings_do_not_run_the_network(
    page: Page, predictor: eovseg.Predictor, ask: Callable[..., Session], photo: Path
) -> None:
    session = ask()
    inputs = ({"path": str(photo)}, WORDS, "", False)
    ran = predictor.image_halves, predictor.word_halves, predictor.words.encoded_words
    base = session.result
    assert base is not None
    changes: list[dict[str, Any]] = [
        {"alpha": 1.0}, {"beta": 0.0}, {"ensemble": "arithmetic"}, {"score_threshold": 0.6},
        {"overlap_threshold": 1.0}, {"void_threshold": 0.2}, {"task": "semantic"}, {"task": "instance"},
        {"edges": True},
    ]  # fmt: skip
    differing = 0
    for settings in changes:
        stage = page.adjust(session.key, *inputs, {"settings": settings})[1]
        assert stage["timing"].startswith("photo cached · 5 classes cached")
        assert session.result is not None
        scores = [segment.score for segment in session.result.segments]
        differing += scores != [segment.score for segment in base.segments]
    page.restyle(session.key, gr.EventData(None, {"value": 0.2}))
    page.adjust(session.key, *inputs, {"settings": {}})
    assert (predictor.image_halves, predictor.word_halves, predictor.words.encoded_words) == ran
    assert differing >= 5, "the settings take effect"
    assert session.result is not None and np.array_equal(session.result.segment_map, base.segment_map)


def test_an_added_word_runs_the_word_half_and_encodes_one_word(
    page: Page, predictor: eovseg.Predictor, ask: Callable[..., Session], photo: Path
) -> None:
    session = ask()
    images, words, encoded = predictor.image_halves, predictor.word_halves, predictor.words.encoded_words
    page.show(session.key, {"path": str(photo)}, WORDS + "; hovercraft", "", False, {})
    assert (predictor.image_halves, predictor.word_halves) == (images, words + 1)
    assert predictor.words.encoded_words <= encoded + 1, "zero if an earlier run left it in the disk cache"


def test_why_shows_the_class_and_its_probabilities(
    page: Page, predictor: eovseg.Predictor, ask: Callable[..., Session]
) -> None:
    session = ask(alpha=0.3)
    assert session.result is not None and session.result.segments
    for index, segment in enumerate(session.result.segments):
        value = page.explain(session.key, gr.EventData(None, {"segment": segment.id}))
        assert session.chosen == segment.id
        best = value["words"][0]
        assert (value["name"], best["word"]) == (session.result.names[index], segment.label)
        assert best["inside"] == pytest.approx(segment.in_vocabulary, abs=1e-3)
        assert best["outside"] == pytest.approx(segment.out_of_vocabulary, abs=1e-3)
        assert shown_score(best["score"], predictor.config.calibration) == pytest.approx(segment.score, abs=1e-3)
        assert value["calibrated"] == pytest.approx(segment.score, abs=1e-3), "the score that the tooltip shows"
        assert best["weight"] in (0.0, 0.3, 0.8) and value["area"] == segment.area
        assert len(value["routers"]) == 3 and all(0 < v < 1 for layer in value["routers"] for v in layer.values())
        assert value["void"] + sum(word["score"] for word in value["words"]) <= 1.001
    assert page.explain(session.key, gr.EventData(None, {"segment": 0})) == {} and session.chosen is None


def test_changes_of_a_corrected_segment(ask: Callable[..., Session]) -> None:
    """A corrected segment, or a part of it, is the network's segment that it comes from."""
    session = ask()
    assert session.result is not None
    result = session.result
    place = next(
        i for i, segment in enumerate(result.segments) if ndimage.label(result.mask(i), np.ones((3, 3)))[1] > 1
    )
    segment, (y, x) = result.segments[place], np.argwhere(result.mask(place))[0].tolist()
    before = changes_value(session, segment.id)
    session.result = result.rename(segment.id, "ferry").split(segment.id, x, y)
    for id in (segment.id, session.result.segments[place + 1].id):
        assert changes_value(session, id) == before | {"segment": id} and before["label"] == segment.label
    assert changes_value(session, 99) == {}


def test_why_for_the_background(page: Page, ask: Callable[..., Session]) -> None:
    session = ask("bus", "coco-panoptic-133", True)
    assert session.result is not None
    other = session.result.segments[-1]
    assert other.label == "other" and {segment.label for segment in session.result.segments} <= {"bus", "other"}
    value = page.explain(session.key, gr.EventData(None, {"segment": other.id}))
    assert value["other"] and sum(part["share"] for part in value["parts"]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("words", "preset", "competes", "settings"),
    [
        ('bus; it\'s, "quoted"; sky', "", False, {"alpha": 0.7, "ensemble": "arithmetic", "void_threshold": 0.95}),
        ("bus", "cityscapes-19", False, {"task": "semantic"}),
        ("bus; sky", "cityscapes-19", True, {"overlap_threshold": 0.3, "edges": True}),
        ("", "cityscapes-19", False, {"task": "instance", "score_threshold": 0.1}),
    ],
)
def test_the_calls_make_the_same_picture(
    ask: Callable[..., Session], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    words: str, preset: str, competes: bool, settings: dict[str, Any],
) -> None:  # fmt: skip
    session = ask(words, preset, competes, **settings)
    assert session.result is not None and session.request is not None
    shown = session.save()
    monkeypatch.chdir(tmp_path)
    (tmp_path / photo.name).write_bytes(photo.read_bytes())
    made: dict[str, Any] = {}
    exec(compile(python_call(session.request, photo.name, "xs"), "call", "exec"), made)
    assert np.array_equal(made["result"].segment_map, session.result.segment_map)
    assert made["result"].segments == session.result.segments
    command = shlex.split(command_line(session.request, photo.name, "xs"))
    assert command[:3] == ["python", "-m", "eovseg"]
    for file in Path("out").iterdir():
        file.unlink()
    assert main(command[3:]) == 0
    for file in shown[:2]:
        with Image.open(file) as ours, Image.open(Path("out") / file.name) as theirs:
            assert np.array_equal(np.asarray(ours), np.asarray(theirs)), file.name


def test_a_link_makes_the_same_request() -> None:
    request = make_request("bus; sky", "cityscapes-19", True, {"alpha": 0.25, "task": "semantic"})
    query = dict(pair.split("=", 1) for pair in link_query(request, "bear.jpg", "xs").split("&"))
    link = read_link({name: value.replace("%3B+", "; ") for name, value in query.items()})
    assert link is not None and (link.photo, link.model) == ("bear.jpg", None)
    again = make_request(link.words, link.preset, link.competes, link.settings)
    assert (again.vocabulary, again.settings) == (request.vocabulary, request.settings)
    photo = read_link({"photo": "savanna.jpg"})
    assert photo is not None and (photo.photo, photo.words) == ("savanna.jpg", EXAMPLES["savanna.jpg"])
    strange = read_link({"words": "x", "photo": "../../etc/passwd"})
    assert strange is not None and strange.photo == "bus-street.jpg"


def test_a_session_without_a_result_is_not_an_error(page: Page) -> None:
    session = page.store.open(None)
    assert page.explain(session.key, gr.EventData(None, {"segment": 1})) == gr.skip()
