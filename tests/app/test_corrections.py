"""Corrections, words by example and the URL, without a browser: how the server handles each request."""

import base64
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from app.corrections import correct, event_values
from app.editor import with_reference, without_reference
from app.inputs import make_request
from app.link import note
from app.page import Page
from app.payload import stage_value
from app.recipe import read_link
from app.remembered import load, remember, value
from app.session import Session, adjust
from app.why import why_value
from eovseg.errors import EovsegError
from eovseg.settings import Settings
from eovseg.word import Word


@pytest.fixture
def session(page: Page) -> Session:
    opened = page.store.get(page.open()[0])
    assert opened is not None and opened.result is not None
    return opened


def do(session: Session, kind: object, **values: object) -> int:
    return correct(session, event_values(SimpleNamespace(kind=kind, **values)))  # type: ignore[arg-type]


def names(session: Session) -> list[str]:
    assert session.result is not None
    return session.result.names


def id_of(session: Session, name: str) -> int:
    assert session.result is not None
    return session.result.segments[names(session).index(name)].id


def test_corrections_and_undo(session: Session) -> None:
    first, revision = session.result, session.revision
    bus = id_of(session, "bus 1")
    assert do(session, "rename", segment=bus, name="tram") == bus
    assert "tram" in names(session) and session.chosen == bus and session.revision == revision + 1
    assert do(session, "merge", segment=bus, other=id_of(session, "sky")) == bus
    assert do(session, "delete", segment=id_of(session, "road")) == 0
    assert not {"sky", "road"} & set(names(session)) and session.chosen is None
    assert stage_value(session)["undo"] == 3
    files = session.save()
    assert "tram" in files[-1].read_text() and "road" not in files[-1].read_text()
    for _ in range(3):
        do(session, "undo")
    assert session.result is first and stage_value(session)["undo"] == 0
    assert "road" in session.save()[-1].read_text(), "the files contain the corrections"
    with pytest.raises(EovsegError, match="no correction to undo"):
        do(session, "undo")


def test_a_name_given_by_hand_is_told_from_that_of_the_model(session: Session) -> None:
    bus = id_of(session, "bus 1")
    assert why_value(session, bus)["model_label"] == "bus"
    do(session, "rename", segment=bus, name="tram")
    value = why_value(session, bus)
    assert (value["label"], value["model_label"]) == ("tram", "bus")


def test_a_link_with_a_word_that_is_not_loaded_fills_the_boxes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", said.append)
    key = page.store.open(None, page.start).key
    query = {"photo": "bear.jpg", "words": "our mug.word; bear", "preset": "cityscapes-19", "competes": "1"}
    request: Any = SimpleNamespace(query_params=query | {"alpha": "0.3", "task": "semantic"})
    photo, words, preset, competes, panel = page.restore(key, request)[4:]
    assert photo.endswith("bear.jpg") and words == "our mug.word; bear" and "is not loaded" in said[0]
    assert preset == "cityscapes-19" and competes["value"] is True
    assert panel["settings"] == {"task": "semantic", "alpha": 0.3}
    request.query_params |= {"preset": "none", "alpha": "much"}
    assert page.restore(key, request)[6:] == (gr.skip(),) * 3, "values that are themselves wrong are ignored"


def test_a_part_is_split_off_and_pinned(session: Session) -> None:
    both = id_of(session, "bus 1")
    do(session, "merge", segment=both, other=id_of(session, "bus 2"))
    assert session.result is not None
    x0, y0, x1, y1 = session.result.segments[names(session).index("bus")].box
    middle = (x0 + x1) // 2
    below = next(y for y in range(y1 - 1, y0, -1) if session.result.segment_map[y, middle] == both)
    new = do(session, "split", segment=both, x=middle, y=below)
    assert new != both and id_of(session, "bus 2") == new


def test_the_python_call_contains_the_corrections(page: Page, session: Session) -> None:
    do(session, "rename", segment=id_of(session, "bus 1"), name='a "tram"')
    recipe = page.recipe(session)
    assert f'result = result.rename({session.chosen}, "a \\"tram\\"")' in recipe["python"] and recipe["corrected"]
    compile(recipe["python"], "call", "exec")
    adjust(session, Settings(score_threshold=0.1))
    assert not session.before and not page.recipe(session)["corrected"], "a new result discards the corrections"


@pytest.mark.parametrize(
    "forged",
    [
        {"kind": "explode"},
        {"kind": ["rename"]},
        {"kind": "rename", "segment": "1", "name": "dog"},
        {"kind": "rename", "segment": 1, "name": None},
        {"kind": "rename", "segment": 1, "name": "x" * 100_000},
        {"kind": "merge", "segment": 1, "other": 1},
        {"kind": "split", "segment": 1, "x": 10**12, "y": True},
        {"kind": "delete", "segment": None},
    ],
)
def test_forged_requests_get_one_sentence(session: Session, forged: dict[str, Any]) -> None:
    before = session.result
    with pytest.raises(EovsegError) as error:
        do(session, **forged)
    assert len(str(error.value)) < 300 and session.result is before and not session.before


def test_a_segment_becomes_a_word_by_example(page: Page, session: Session) -> None:
    word = remember(session, id_of(session, "bus 1"), " our  bus ")
    assert (word.name, word.reference, len(word.examples)) == ("our bus", "our bus.word", 1)
    assert len(remember(session, id_of(session, "bus 2"), "OUR BUS").examples) == 2, "the word has one more example"
    (listed,) = value(session)["words"]
    assert listed["reference"].casefold() == "our bus.word" and listed["examples"] == 2
    assert Word.from_bytes(base64.b64decode(listed["file"])) == next(iter(session.words.values()))
    request = make_request("our bus.word; sky", None, False, None, session.words)
    assert request.words.labels[1] == "sky" and list(request.words.examples) == [0]
    assert page.table("our bus.word: stuff; sky", session.key)["rows"][0]["names"] == ["our bus.word"]
    other = page.store.get(page.open()[0])
    assert other is not None and not other.words, "other sessions do not have the word"
    with pytest.raises(EovsegError, match="is not loaded"):
        make_request("our bus.word; sky", None, False, None, other.words)


def test_word_files_can_be_saved_and_loaded(session: Session) -> None:
    remember(session, id_of(session, "bus 1"), "our bus")
    content = value(session)["words"][0]["file"]
    session.words.clear()
    assert load(session, "C:/fakepath/renamed.word", content).reference == "our bus.word"
    assert list(session.words) == ["our bus.word"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("mug.txt", "", "choose a file that ends"),
        (None, "", "choose a file that ends"),
        ("mug.word", None, "larger than 4 MB"),
        ("mug.word", "A" * 6_000_000, "larger than 4 MB"),
        ("mug.word", "§", "was damaged during the upload"),
        ("<b>.word", base64.b64encode(b"something").decode(), "not a .word file"),
    ],
)
def test_bad_files_get_one_sentence(session: Session, name: object, data: object, said: str) -> None:
    with pytest.raises(EovsegError, match=said):
        load(session, name, data)
    assert not session.words


def test_invalid_words_by_example_are_refused(session: Session) -> None:
    bus = id_of(session, "bus 1")
    for segment, name, said in (
        (bus, "", "a name"),
        (bus, None, "a name"),
        (999, "x", "click the segment"),
        (bus, "a;b", "comma"),
    ):
        with pytest.raises(EovsegError, match=said):
            remember(session, segment, name)
    for number in range(30):
        remember(session, bus, f"word {number}")
    with pytest.raises(EovsegError, match="At most 30"):
        remember(session, bus, "one more")
    assert len(remember(session, bus, "word 3").examples) == 2


def test_words_in_the_text() -> None:
    assert with_reference("dog; sky: stuff; ", "mug.word") == "dog; sky: stuff; mug.word"
    assert with_reference("dog; Mug.word: stuff", "mug.word") == "dog; Mug.word: stuff"
    assert with_reference("", "mug.word") == "mug.word"
    assert without_reference("dog; mug.word: thing; sky", "mug.word") == "dog; sky"
    assert without_reference("dog, mug.word; sky", "mug.word") == "dog; sky"
    assert without_reference("dog; my mug.word; sky", "mug.word") == "dog; my mug.word; sky"
    assert without_reference("mug.word", "mug.word") == ""


def test_a_url_selects_tab_and_segment() -> None:
    linked = read_link({"words": "dog", "photo": "bear.jpg", "tab": "VAS", "segment": "12"})
    assert linked is not None and (linked.tab, linked.segment) == ("vas", 12)
    for tab, segment in (("<b>", "1e9"), ("x" * 50, "-1"), ("", "123456789"), ("../x", "٣")):
        linked = read_link({"words": "dog", "tab": tab, "segment": segment})
        assert linked is not None and (linked.tab, linked.segment) == ("segment", 0)
    assert read_link({"tab": "vas", "segment": "1"}) is None


def test_queries_are_escaped() -> None:
    linked = read_link({"words": '"><b>', "tab": "vas"})
    assert note('words="><b>', linked) == (
        '<span hidden class="link" data-query="words=&quot;&gt;&lt;b&gt;" data-tab="vas"></span>'
    )


def test_the_linked_segment_is_pinned(page: Page) -> None:
    key = page.open()[0]
    request = SimpleNamespace(query_params={"words": "bear; grass", "photo": "bear.jpg", "tab": "tdee", "segment": "2"})
    answer = page.restore(key, request)  # type: ignore[arg-type]
    assert answer[1]["pin"] == 2 and 'data-tab="tdee"' in answer[2]
