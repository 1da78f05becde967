"""The tab Many, with the fake predictor: photos and a clip, without and with a browser."""

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from app.examples import example_paths
from app.limits import MAX_CLIP_FRAMES, MAX_FILES
from app.many import file_stems, uploaded
from app.page import Page
from app.tabs import many as many_tab
from app.tabs.many import segment_uploads
from app.worker_pool import VisitorLeft
from eovseg.errors import ConfigError
from eovseg.video import VideoReader
from tests.app.gradio_calls import Caller
from tests.app.visit import Visit
from tests.video.drawn import ball_frames, write_frames

WORDS = "sky: stuff; boat: thing"
PHOTO = {"path": str(example_paths()[0])}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(many_tab.gr, "Warning", shown.append)
    return shown


@pytest.fixture
def upload(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Puts a file into the upload folder and returns the record that the page's script sends for it."""
    made = []

    def put(name: str, content: Path | None = None, size: tuple[int, int] = (60, 40)) -> dict[str, str]:
        folder = Path(get_upload_folder()) / f"many-{len(made)}"
        folder.mkdir(parents=True, exist_ok=True)
        made.append(folder)
        path = folder / name
        if content is None:
            pixels = np.random.default_rng(len(made)).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        else:
            shutil.copyfile(content, path)
        return {"path": str(path), "name": name}

    yield put
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def key(page: Page) -> str:
    """The key of a session with `WORDS`."""
    opened = page.open()[0]
    page.show(opened, PHOTO, WORDS)
    return str(opened)


def of(values: list[tuple[Any, Any, Any]]) -> list[dict[str, Any]]:
    return [value for value, *_ in values]


def test_photos_appear_one_by_one_and_are_saved_as_a_zip(page: Page, key: str, upload: Any) -> None:
    files = [upload("a.png"), upload("b.jpg", size=(50, 70)), upload("a.png", size=(30, 30))]
    values = list(segment_uploads(page, key, files))
    shown = of(values)
    assert [value["done"] for value in shown] == [0, 1, 2, 3, 3]
    assert [len(value["cards"]) for value in shown] == [0, 1, 2, 3, 3]
    assert [value["state"] for value in shown] == [*["running"] * 4, "done"]
    card = shown[-1]["cards"][1]
    assert card["name"] == "b.jpg" and {(w["word"], w["count"]) for w in card["words"]} == {("sky", 1), ("boat", 2)}
    assert {(w["word"], w["pictures"], w["segments"]) for w in shown[-1]["words"]} == {("sky", 3, 3), ("boat", 3, 6)}
    assert sum(word["share"] for word in shown[-1]["words"]) == pytest.approx(1, abs=0.01)
    _, packed, film = values[-1]
    assert (
        film is None and Path(packed).is_relative_to(get_upload_folder()) and Path(packed).name == "photos-segments.zip"
    )
    with zipfile.ZipFile(packed) as pack:
        names = pack.namelist()
        table = list(csv.DictReader(io.TextIOWrapper(pack.open("table.csv"), encoding="utf-8")))
        with Image.open(pack.open("b-overlay.png")) as overlay:
            assert overlay.size == (50, 70)
    assert len(names) == 1 + 3 * 4 and len(set(names)) == len(names), "photos of one name get different file names"
    assert [row["name"] for row in table if row["picture"] == "b.jpg"] == ["sky", "boat 1", "boat 2"]
    assert {row["files"] for row in table if row["picture"] == "a.png"} == {"a", "a-2"}


def test_a_large_photo_is_reported_as_scaled_down(page: Page, key: str, upload: Any) -> None:
    last = of(list(segment_uploads(page, key, [upload("a.png"), upload("b.png", size=(1300, 650))])))[-1]
    assert [card.get("error") for card in last["cards"]] == [None, None]
    assert last["note"] == '"b.png" was scaled down to 1,280 pixels for this page; the files have that size.'


def test_the_words_are_those_in_the_box(page: Page, key: str, upload: Any, said: list[str]) -> None:
    last = of(list(segment_uploads(page, key, [upload("a.png")], "tree: stuff; sea: stuff")))[-1]
    assert {word["word"] for word in last["words"]} == {"tree", "sea"}
    assert list(segment_uploads(page, key, [upload("a.png")], " ; ")) == [(gr.skip(), gr.skip(), gr.skip())]
    assert "The vocabulary is empty" in said[-1]


def test_file_names_are_unique() -> None:
    assert file_stems(["a.png", "A.jpg", "a-2.png", "b/c.jpg", "..jpg", "a.gif"]) == [
        "a", "A-2", "a-2-2", "c", "photo", "a-3",
    ]  # fmt: skip


def test_a_bad_photo_gets_one_sentence_and_the_others_are_segmented(
    page: Page, key: str, upload: Any, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("just text")
    last = of(list(segment_uploads(page, key, [upload("text.jpg", tmp_path / "x"), upload("b.png")])))[-1]
    assert "text.jpg" in last["cards"][0]["error"] and str(get_upload_folder()) not in json.dumps(last)
    assert last["cards"][1]["words"] and last["state"] == "done"
    assert (last["done"], last["made"]) == (2, 1) and sum(w["share"] for w in last["words"]) == pytest.approx(
        1, abs=0.01
    )


def test_only_uploaded_files_and_at_most_the_limit(
    page: Page, key: str, upload: Any, tmp_path: Path, said: list[str]
) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    link = Path(get_upload_folder()) / "link.png"
    Path(get_upload_folder()).mkdir(parents=True, exist_ok=True)
    link.symlink_to(secret)
    good = upload("a.png")
    forged: list[object] = [
        None, [], "a.png", [3], [{"path": str(secret), "name": "x"}], [{"path": str(link), "name": "x"}],
        [{"path": f"{good['path']}/../../../etc/passwd", "name": "x"}], [{"path": "a\0b", "name": "x"}],
        [{"path": good["path"]}], [good] * (MAX_FILES + 1), [good, upload("c.mp4", secret)],
    ]  # fmt: skip
    for files in forged:
        assert list(segment_uploads(page, key, files)) == [(gr.skip(), gr.skip(), gr.skip())], files
        with pytest.raises(ConfigError):
            uploaded(files)
    link.unlink()
    assert len(said) == len(forged) and all(sentence.endswith(".") for sentence in said)
    assert f"at most {MAX_FILES} photos" in said[-2] and "a single clip" in said[-1]


def test_stop_keeps_the_results_so_far(page: Page, key: str, upload: Any) -> None:
    going = segment_uploads(page, key, [upload("a.png"), upload("b.png"), upload("c.png")])
    next(going), next(going)
    session = page.store.get(key)
    assert session is not None
    session.run_number += 1
    last, packed, _ = list(going)[-1]
    assert (last["done"], last["state"], last["note"]) == (
        1,
        "done",
        "Stopped after 1 of 3 photos; the results up to then are kept.",
    )
    with zipfile.ZipFile(packed) as pack:
        assert "a-overlay.png" in pack.namelist() and "b-overlay.png" not in pack.namelist()


def test_leaving_stops_the_run_and_leaves_no_files(
    page: Page, key: str, upload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = iter([page.pool.run])  # the visitor has left before the second photo

    def left(work: Callable[[], Any]) -> Any:
        for run in ran:
            return run(work)
        raise VisitorLeft("gone")

    monkeypatch.setattr(page.pool, "run", left)
    files = [upload("a.png"), upload("b.png")]
    before = {path.name for path in Path(get_upload_folder()).iterdir()}
    going = segment_uploads(page, key, files)
    next(going), next(going)
    homes = list(Path(many_tab.tempfile.gettempdir()).glob("eovseg-many-*"))
    assert homes
    assert list(going) == []
    assert not any(home.exists() for home in homes)
    assert before == {path.name for path in Path(get_upload_folder()).iterdir()}


def test_sessions_do_not_mix(page: Page, key: str, upload: Any) -> None:
    other = str(page.open()[0])
    page.show(other, PHOTO, "tree: stuff")
    mine, theirs = segment_uploads(page, key, [upload("a.png")]), segment_uploads(page, other, [upload("b.png")])
    both = [list(pair) for pair in zip(mine, theirs, strict=True)]
    for mine_value, their_value in both:
        assert {word["word"] for word in mine_value[0]["words"]} <= {"sky", "boat"}
        assert {word["word"] for word in their_value[0]["words"]} <= {"tree"}
    assert Path(both[-1][0][1]) != Path(both[-1][1][1])


def test_a_clip(page: Page, key: str, upload: Any, tmp_path: Path) -> None:
    clip = tmp_path / "walk.mp4"
    write_frames(clip, ball_frames(3 * MAX_CLIP_FRAMES // 2))
    values = list(segment_uploads(page, key, [upload("walk.mp4", clip)]))
    last, packed, film = values[-1]
    assert last["clip"] and last["state"] == "done" and last["done"] == last["of"] <= MAX_CLIP_FRAMES
    assert 0 < len(last["cards"]) <= 24 and last["cards"][0]["name"] == "0.0 s"
    with VideoReader(film) as reader:
        assert sum(1 for _ in reader.read()) == 3 * MAX_CLIP_FRAMES // 2
    with zipfile.ZipFile(packed) as pack:
        assert {"walk-segments.mp4", "walk-tracks.jsonl", "table.csv"} == set(pack.namelist())
        assert len(pack.read("walk-tracks.jsonl").splitlines()) == last["done"]


def test_a_playlist_is_not_a_clip(page: Page, key: str, upload: Any, tmp_path: Path) -> None:
    clip = tmp_path / "walk.mp4"
    write_frames(clip, ball_frames(5))
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    last = of(list(segment_uploads(page, key, [upload("list.mp4", playlist)])))[-1]
    assert (
        last["state"] == "nothing" and "is not a readable video" in last["note"] and str(tmp_path) not in last["note"]
    )


def test_over_http_and_after_disconnecting(server: tuple[str, Page], caller: Caller) -> None:
    """With the requests of the page's script; after a visitor leaves during a run, the model is free."""
    caller.open_page()
    files = [{"path": caller.photo(40 + n, 30), "name": f"{n}.png"} for n in range(3)]
    event = caller.event("many", "start_run")
    done = caller.do(event, [None], {"files": files})
    value = done["output"]["data"][0]
    assert value["state"] == "done" and [card["name"] for card in value["cards"]] == ["0.png", "1.png", "2.png"]
    pack = caller.client.get(done["output"]["data"][1]["url"])
    assert zipfile.ZipFile(io.BytesIO(pack.content)).testzip() is None
    leaving = Caller(server[0])
    leaving.open_page()
    leaving.join(event, [None], {"files": files}).raise_for_status()  # and never reads the answer
    assert caller.segment(files[0]["path"], "sky").labels == {"sky"}


@pytest.mark.browser
def test_a_visitor_drops_photos_and_saves_the_zip(visit: Visit, tmp_path: Path) -> None:
    for name, colour in (("one.png", (200, 80, 40)), ("two.png", (40, 90, 160)), ("<b>3.png", (9, 9, 9))):
        Image.new("RGB", (160, 100), colour).save(tmp_path / name)
    visit.changes(lambda: visit.words(WORDS))
    visit.tab.click("button[role=tab] >> text=Many")
    visit.tab.fill("#words textarea", "sea: stuff")  # without pressing Segment
    visit.tab.set_input_files("#many input[type=file]", [str(path) for path in sorted(tmp_path.glob("*.png"))])
    visit.tab.wait_for_selector("#many .ready:not([hidden])")
    assert sorted(visit.tab.locator("#many .gallery b").all_inner_texts()) == ["<b>3.png", "one.png", "two.png"]
    assert "3 of 3" in visit.tab.inner_text("#many tbody") and "sea" in visit.tab.inner_text("#many tbody")
    assert not visit.tab.locator("#many .going").is_visible()
    with visit.tab.expect_download() as waiting:
        visit.tab.click("#many .save")
    assert waiting.value.suggested_filename == "photos-segments.zip"
    with zipfile.ZipFile(waiting.value.path()) as pack:
        assert "one-overlay.png" in pack.namelist() and len(pack.namelist()) == 13
    # Another run replaces the first.
    visit.tab.set_input_files("#many input[type=file]", str(tmp_path / "two.png"))
    visit.tab.wait_for_function("document.querySelectorAll('#many .gallery li').length === 1")
    visit.tab.wait_for_selector("#many .ready:not([hidden])")
    assert visit.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
