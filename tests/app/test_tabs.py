"""The tabs show the same numbers as `analysis`: the real XS on a small version of an example photo."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from analysis.ablation import compare_results, segment_queries, without_fusion
from analysis.cluster_cells import cluster_cells
from analysis.clustering import boundary_f_score, mutual_information
from analysis.layers import query_path
from analysis.similarity import concentration, similarity_maps, word_competition, word_mask
from analysis.sources import HUB_MODELS
from app.page import Page
from app.session import Request, Session, run
from app.tabs import clustering, decoder, pieces, speed, tdee, vas, wiring
from eovseg.assets import asset_path
from eovseg.errors import ConfigError, VocabularyError
from eovseg.predictor import Predictor
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary
from tests.app.fake_predictor import FakePredictor

WORDS = "bus; car; person, people; tree; sky; road, street; building; grass"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def predictor(xs: Predictor) -> Predictor:
    return xs


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(FakePredictor())


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first example at 240 x 160 pixels, because the time to compose a result grows with its pixels."""
    path = tmp_path_factory.mktemp("photo") / "bus.png"
    with Image.open(asset_path("photos/bus-street.jpg")) as image:
        image.resize((240, 160)).save(path)
    return str(path)


@pytest.fixture(scope="module")
def session(predictor: Predictor, photo: str) -> Session:
    return run(Session(), predictor, photo, Request(Vocabulary.parse(WORDS)))


@pytest.fixture(scope="module")
def layers(predictor: Predictor, session: Session) -> Iterator[clustering.Layers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.tabs.clustering.hub_weights", lambda _: None)
        yield clustering.all_layers(predictor, session.decoded.state.image, {})


def text_of(piece: str) -> str:
    """The visible text of a piece of HTML."""
    return html.unescape(re.sub(r"<[^>]*>", " ", piece))


# VAS


def test_vas_numbers_are_those_of_the_analysis(session: Session) -> None:
    view = vas.word_view(session, "bus")
    maps = similarity_maps(session.predictor, session.decoded, ["bus"])
    inside = word_mask(session.result, "bus")
    assert inside.any(), "the example has a bus"
    assert view.focus.before == concentration(maps.before[0], inside)
    assert view.focus.after == concentration(maps.after[0], inside)
    assert view.focus.area == pytest.approx(inside.mean())
    assert maps.after[0][view.peak[1], view.peak[0]] == maps.after[0].max()
    said = text_of(vas.focus_html(view.focus))
    for share in (view.focus.before, view.focus.after, view.focus.area):
        assert pieces.percent(share) in said


def test_both_pictures_have_the_same_scale(session: Session) -> None:
    view = vas.word_view(session, "sky")
    value = vas.stage(session, view)
    assert value["size"] == [240, 160] and value["point"] == view.peak
    low, high = view.maps.limits
    assert (value["scale"]["low"], value["scale"]["high"]) == (f"{low:.2f}", f"{high:.2f}")
    before, after = vas.heat_pictures(session, view)
    assert before.shape == after.shape == (160, 240, 3) and (before != after).any()


def test_competition_is_that_of_the_analysis(session: Session) -> None:
    expected = word_competition(session.predictor, session.decoded, 100, 80, vas.TOP)
    assert vas.competition(session, 100, 80) == expected
    said = text_of(vas.competition_html(session, 100, 80))
    assert "x 100, y 80" in said and expected[0].word in said and pieces.percent(expected[0].share) in said
    assert vas.segment_at(session, -5, 900) == vas.segment_at(session, 0, 159)


def test_a_word_outside_the_vocabulary_has_no_share(session: Session) -> None:
    view = vas.word_view(session, "zebra")
    assert np.isnan(view.focus.before) and "No segment has the word “zebra”" in text_of(vas.focus_html(view.focus))


@pytest.mark.parametrize(("gain", "verb"), [(0.1, "concentrates"), (-0.1, "spreads"), (0.001, "changes little")])
def test_meaning_says_the_direction(session: Session, gain: float, verb: str) -> None:
    focus = replace(vas.word_view(session, "bus").focus, before=0.3, after=0.3 + gain)
    assert verb in vas.meaning(focus)


@pytest.mark.parametrize("typed", ["", " ; ", "bus; car", "x" * 300])
def test_exactly_one_word_is_accepted(typed: str) -> None:
    with pytest.raises((ConfigError, VocabularyError)):
        vas.one_word(typed)


def test_the_word_list_begins_with_the_segments(session: Session) -> None:
    listed = vas.listed_words(session)
    assert set(listed) == set(session.decoded.vocabulary.words)
    largest = max(session.result.segments, key=lambda s: s.area)  # type: ignore[union-attr]
    assert listed[0] == largest.label


def test_the_tab_opens_with_the_word_that_changes_most(session: Session) -> None:
    words = {segment.label for segment in session.shown.segments}
    views = {word: vas.word_view(session, word).focus for word in words}
    assert vas.most_changed(session) == max(words, key=lambda word: abs(views[word].after - views[word].before))


# TDEE


def test_switched_off_is_the_model_without_fusion(page: Page, session: Session) -> None:
    found = tdee.compare(page, session, "off")
    without = without_fusion(session.predictor)
    off = without.compose(without.decode(session.image_state, session.decoded.vocabulary))
    assert (found.without.segment_map == off.segment_map).all()
    assert (found.with_.segment_map == session.result.segment_map).all()  # type: ignore[union-attr]
    assert list(found.changes) == compare_results(off, session.result)  # type: ignore[arg-type]
    rows = tdee.stage(found)["rows"]
    assert len(rows) == len(found.changed)
    assert all(0 <= v <= 1 for row in rows for v in row["box"] or ()), "stuff has no box"
    said = tdee.summary(found)
    assert said.startswith((f"{len(found.changed)} of {len(found.changes)}", tdee.NO_CHANGE))
    assert "same weights without TDEE" in text_of(tdee.summary_html(found))


def test_the_settings_apply_to_both_sides(page: Page, session: Session, predictor: Predictor, photo: str) -> None:
    request = Request(Vocabulary.parse(WORDS), None, Settings(task="semantic"))
    other = run(Session(), predictor, photo, request)
    found = tdee.compare(page, other, "off")
    assert found.without.task == found.with_.task == "semantic"


def test_trained_without_is_offered_only_if_its_weights_exist(
    page: Page, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tabs.tdee.ablation_file", lambda _: None)
    assert "eovseg-xs-vas.safetensors and eovseg-xs-vas-tdee.safetensors" in tdee.missing_sentence()
    with pytest.raises(ConfigError, match="which are missing"):
        tdee.compare(page, session, "trained")
    with pytest.raises(ConfigError, match="choose one of off, trained"):
        tdee.compare(page, session, "maybe")


def test_trained_without_shows_two_other_models(
    session: Session, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, off = Page(FakePredictor()), without_fusion(predictor)
    shipped = asset_path("weights/eovseg-xs.safetensors")
    monkeypatch.setattr("app.tabs.tdee.ablation_file", lambda name: shipped.with_name(name))
    monkeypatch.setattr("app.tabs.tdee.ablation", lambda file, _: off if file.name == "vas" else predictor)
    assert tdee.missing_sentence() == ""
    found = tdee.compare(page, session, "trained")
    assert (found.without.segment_map == tdee.compare(page, session, "off").without.segment_map).all()
    assert (found.with_.segment_map == session.result.segment_map).all()  # type: ignore[union-attr]
    assert "neither is the model of the Segment tab" in text_of(tdee.summary_html(found))


def test_the_shipped_ablations_load_and_differ_in_tdee(page: Page, session: Session) -> None:
    assert tdee.missing_sentence() == "", "the weights ship in assets"
    found = tdee.compare(page, session, "trained")
    models = [tdee.ablation(file, "cpu") for file in map(tdee.ablation_file, tdee.ABLATIONS) if file is not None]
    assert [model.config.fusion for model in models] == ["none", "TDEE"] and all(model.config.vas for model in models)
    off = tdee.compare(page, session, "off")
    assert (found.with_.segment_map != off.with_.segment_map).any(), "it is not the model of the page"


def test_routers_have_a_row_for_each_segment(session: Session) -> None:
    rows = tdee.routers(session)
    names = session.result.names  # type: ignore[union-attr]
    assert len(rows) == 3 * len(names)
    plot = tdee.routers_html(session)
    assert all(name in text_of(plot) for name in names) and plot.count("--at:") == len(rows)


# Clustering


def test_cells_agree_with_the_analysis(session: Session, layers: clustering.Layers) -> None:
    found = clustering.cells(session, layers, 5)
    segment_map = session.result.segment_map  # type: ignore[union-attr]
    expected = cluster_cells(layers.here, 5, segment_map)
    assert [c.layer for c in found] == ["stage 1", "stage 2", "stage 3", "stage 4", "block 1"]
    for cell, other in zip(found, expected, strict=True):
        assert (cell.labels == other.labels).all() and cell.labels.max() < 5
        assert cell.mutual_information == pytest.approx(mutual_information(cell.labels, segment_map))
        assert cell.boundary_f_score == pytest.approx(boundary_f_score(cell.labels, segment_map))
        assert cell.milliseconds > 0
    grid = clustering.grid_html(session, layers, 5, "clusters")
    assert grid.count("<li ") == 5 and f"AMI {found[0].mutual_information:.2f}" in text_of(grid)
    assert grid != clustering.grid_html(session, layers, 5, "components")


def test_missing_models_are_grey_with_a_sentence(session: Session, layers: clustering.Layers) -> None:
    assert [one.name for one in layers.missing] == list(HUB_MODELS)
    grid = clustering.grid_html(session, layers, 2, "clusters")
    assert grid.count("model absent") == 3 and "--features sam=FILE" in text_of(grid)


@pytest.mark.parametrize("k", [1, 13, 2.5, "many", True, None])
def test_k_has_limits(session: Session, layers: clustering.Layers, k: Any) -> None:
    with pytest.raises(ConfigError, match="k="):
        clustering.cells(session, layers, k)


def test_a_model_with_a_damaged_file_is_grey(session: Session, predictor: Predictor, tmp_path: Path) -> None:
    file = tmp_path / "dino.safetensors"
    file.write_bytes(b"no weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.tabs.clustering.hub_weights", lambda _: None)
        patch.setattr("app.tabs.clustering.HUB_MODELS", {k: replace(m, timm_name=TINY) for k, m in HUB_MODELS.items()})
        patch.setattr("analysis.sources.HUB_MODELS", {k: replace(m, timm_name=TINY) for k, m in HUB_MODELS.items()})
        found = clustering.all_layers(predictor, session.decoded.state.image, {"DINOv2 ViT-B/14": file})
    assert "does not hold the weights of DINOv2" in found.missing[0].sentence


TINY = "vit_tiny_patch16_224"


def test_weight_files_by_short_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"x")
    assert clustering.feature_files([f"SAM={file}"]) == {"SAM ViT-B/16": file}
    for wrong in ("sam", f"alexnet={file}", f"sam={file}x"):
        with pytest.raises(ConfigError):
            clustering.feature_files([wrong])


# Decoder


def test_the_strip_shows_the_path_of_the_kernel(session: Session) -> None:
    choices = decoder.followed(session)
    name, number = next(iter(choices.items()))
    query = segment_queries(session.result)[number]  # type: ignore[arg-type]
    expected = query_path(session.predictor, session.decoded, query, decoder.TOP)
    path = decoder.path_of(session, number)
    assert path.query == query and (path.masks == expected.masks).all() and path.classes == expected.classes
    strip = decoder.strip_html(session, number)
    said = text_of(strip)
    assert strip.count("<figure") == 4 and f"drew {name}" in said and "100 % IoU" in said
    best = expected.classes[-1][0]
    assert best.label in said and pieces.percent(best.probability) in said
    assert len(decoder.frames(session, path)) == 4


def test_an_unknown_segment_gets_a_sentence(session: Session) -> None:
    with pytest.raises(ConfigError, match="There is no segment 999"):
        decoder.strip_html(session, 999)


# Speed


def test_parts_cover_all_three_steps(session: Session) -> None:
    counts = (session.predictor.image_halves, session.predictor.word_halves)
    times = speed.measured(session, 1)
    assert {part.step for part in times.parts} == {"photo", "words", "result"}
    assert times.words == len(session.decoded.vocabulary.words)
    assert counts == (session.predictor.image_halves, session.predictor.word_halves)
    said = text_of(speed.times_html(times))
    for part in times.parts:
        assert part.name in said and pieces.milliseconds(part.milliseconds) in said
    assert times.machine in said


# Typed text


def test_typed_words_are_escaped(page: Page, predictor: Predictor, photo: str) -> None:
    words = Vocabulary.parse(f"{EVIL}: stuff; sky: stuff; road: stuff; {EVIL} bus")
    session = run(Session(), predictor, photo, Request(words))
    names = decoder.followed(session)
    made = [
        vas.focus_html(vas.word_view(session, EVIL).focus),
        vas.competition_html(session, 120, 80),
        tdee.summary_html(tdee.compare(page, session, "off")),
        tdee.routers_html(session),
        decoder.strip_html(session, next(iter(names.values()))),
    ]
    assert EVIL in text_of("".join(made)), "the word is shown"
    assert "<img src=x" not in "".join(made)


def test_pieces_are_escaped_and_clipped() -> None:
    bars = pieces.bars([pieces.Bar(EVIL, 7.0, EVIL, EVIL), pieces.Bar("x", float("nan"), "–")], EVIL)
    assert "<img" not in bars and "--share: 1.0000" in bars and "--share: 0.0000" in bars
    assert "<img" not in pieces.tracks([(EVIL, [0.2], EVIL)], (EVIL, "", ""), EVIL, EVIL)
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", pieces.picture("data:,", EVIL, EVIL))


@pytest.mark.parametrize(
    ("share", "text"), [(0.5, "50 %"), (0.0512, "5.1 %"), (0.0, "0 %"), (1.0, "100 %"), (float("nan"), "–")]
)
def test_percent(share: float, text: str) -> None:
    assert pieces.percent(share) == text


@pytest.mark.parametrize(("value", "text"), [(0.02, "< 0.1 ms"), (3.21, "3.2 ms"), (32.1, "32 ms"), (1234.0, "1.2 s")])
def test_milliseconds(value: float, text: str) -> None:
    assert pieces.milliseconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.03704, "0.037"), (1.52, "1.5"), (12.3, "12"), (123.4, "120")])
def test_two_digits(value: float, text: str) -> None:
    assert pieces.two_digits(value) == text


# Endpoints


def test_answers_are_plain_json_with_files(page: Page, session: Session, layers: Any, tmp_path: Path) -> None:
    first = next(iter(decoder.followed(session).values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.tabs.clustering.kept_layers", lambda *_: layers)
        answers = {
            "vas": vas.answer(session, folder(tmp_path, "vas"), "sky", 10, 20),
            "tdee": tdee.answer(page, session, folder(tmp_path, "tdee"), "off"),
            "clustering": clustering.answer(page, session, folder(tmp_path, "clustering"), 3.0, "clusters"),
            "decoder": decoder.answer(session, folder(tmp_path, "decoder"), first),
        }
    for name, answer in answers.items():
        json.dumps(answer, allow_nan=False)
        for file in (tmp_path / name).glob("*.png"):
            with Image.open(file) as written:
                written.verify()
    assert answers["vas"]["pixel"]["x"] == 10 and answers["vas"]["word"] == "sky"
    maps = np.load(tmp_path / "vas" / "maps.npz")
    assert maps["before"].shape == maps["after"].shape == maps["weight"].shape == (160, 240)
    assert len(answers["clustering"]["cells"]) == 5 and answers["clustering"]["missing"]
    assert [stage["stage"] for stage in answers["decoder"]["stages"]] == [0, 1, 2, 3]
    assert len(list((tmp_path / "decoder").iterdir())) == 4


def folder(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


def test_an_endpoint_answers_and_leaves_no_files(page: Page, predictor: Predictor, photo: str) -> None:
    page.models._loaded["real"] = predictor
    kept: list[Session] = []

    def work(session: Session, folder: Path) -> dict[str, Any]:
        kept.append(session)
        (folder / "note.txt").write_text("here")
        return {"words": len(session.decoded.vocabulary)}

    numbers, files = wiring.answer_endpoint(page, {"path": photo}, "sky; bus", None, "real", work)
    assert numbers == {"words": 2} and [Path(file).read_text() for file in files] == ["here"]
    assert len(page.store) == 0 and not kept[0].files


@pytest.mark.parametrize(
    ("photo_given", "words", "message"),
    [(None, "sky", "Give a photo"), ({"path": "no such.jpg"}, "sky", "not found"), ("real", " ; ", "empty")],
)
def test_bad_calls_get_a_sentence(page: Page, photo: str, photo_given: Any, words: str, message: str) -> None:
    given = {"path": photo} if photo_given == "real" else photo_given
    with pytest.raises(gr.Error, match=message):
        wiring.answer_endpoint(page, given, words, None, None, lambda *_: {})


@pytest.mark.parametrize("value", ["3", None, float("nan"), float("inf"), 2.5, True, 99, -1])
def test_whole_numbers(value: Any) -> None:
    with pytest.raises(ConfigError, match="x="):
        wiring.whole_number("x", value, 0, 10)
    assert wiring.whole_number("x", 3.0, 0, 10) == 3
