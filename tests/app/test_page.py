"""The page's callbacks, without a browser."""

import functools
import json
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app import layout as layout_module
from app import page as page_module
from app.__main__ import main
from app.examples import EXAMPLES, example_paths, preset_title
from app.inputs import make_request
from app.layout import build, launch_options
from app.models import Models
from app.page import DOWNLOADS, Page, notes_html
from app.recipe import client_call, curl_call
from app.session import Request, Session
from app.tabs import TITLES, Tab
from app.worker_pool import RequestTimeout, WorkerPool
from eovseg.assets import asset_path
from eovseg.errors import VocabularyError
from eovseg.formats import FORMATS
from eovseg.presets import preset_names
from eovseg.vocabulary import Vocabulary
from tests import unavailable
from tests.app.fake_predictor import FakePredictor

PhotoWriter = Callable[..., str]
SKIP = gr.skip()


@pytest.fixture
def warnings_shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(page_module.gr, "Warning", lambda message, **_: shown.append(message))
    return shown


def upload(path: str) -> dict[str, Any]:
    """The record that Gradio passes for an uploaded photo."""
    return {"path": path, "url": None, "orig_name": Path(path).name}


def test_a_new_tab_starts_with_a_result(page: Page, predictor: FakePredictor) -> None:
    assert predictor.composed == 1, "computed once, when the server starts"
    key, value, *_ = page.open()
    labels = {entry["label"] for entry in value["segments"]}
    assert labels == set(Vocabulary.parse(next(iter(EXAMPLES.values()))).labels)
    assert page.open()[0] != key
    assert predictor.composed == 1


def test_words_presets_and_both(page: Page, photo_file: PhotoWriter) -> None:
    key = page.open()[0]
    shown = page.show(key, upload(photo_file()), "sky: stuff; unicorn: stuff", "")
    assert shown[0] == key
    assert [entry["label"] for entry in shown[1]["segments"]] == ["sky", "unicorn"]
    cityscapes = Vocabulary.preset("cityscapes-19")
    assert make_request(" ", "cityscapes-19", False, None).vocabulary == cityscapes
    both = make_request("unicorn", "cityscapes-19", False, None).vocabulary
    assert both.labels[-1] == "unicorn" and len(both) == 20
    against = make_request("unicorn; Road, street", "cityscapes-19", True, {})
    assert against.vocabulary.labels[:2] == ("unicorn", "Road") and "road" not in against.vocabulary.labels
    assert against.words.labels == ("unicorn", "Road") and len(against.vocabulary) == 20


def test_an_emptied_photo_box_asks_for_a_photo(
    page: Page, predictor: FakePredictor, photo_file: PhotoWriter, warnings_shown: list[str]
) -> None:
    key = page.open()[0]
    page.show(key, upload(photo_file()), "sky", "")
    composed = predictor.composed
    for emptied in (None, {"path": None}, upload(photo_file())):  # Gradio still sends the removed photo
        assert page.show_photo(key, emptied, "sky; road", "")[1:] == (SKIP, SKIP, SKIP)
    assert page.show(key, None, "sky; road", "")[1:] == (SKIP, SKIP, SKIP)
    assert predictor.composed == composed
    assert warnings_shown == ["Choose a photo first: upload one, or click an example."]


@pytest.mark.parametrize(
    ("words", "preset", "said"),
    [
        ("", "", "vocabulary is empty"),
        (" ; ,\n", "", "vocabulary is empty"),
        ("<script>" * 300, "", "at most 200 characters"),
        ("; ".join(f"word{i}" for i in range(20_001)), "", "at most 20,000"),
        ("sky", "no-such-list", "There is no preset"),
    ],
)
def test_bad_words_get_one_sentence(page: Page, warnings_shown: list[str], words: str, preset: str, said: str) -> None:
    key = page.open()[0]
    before = page.store.open(key).result
    assert page.show(key, upload(str(example_paths()[0])), words, preset)[1:] == (SKIP, SKIP, SKIP)
    assert len(warnings_shown) == 1 and said in warnings_shown[0]
    assert "<" not in warnings_shown[0], "typed text is escaped"
    assert page.store.open(key).result is before


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.jpg", b""), ("text.jpg", b"just text"), ("cut.jpg", None), ("drawing.svg", b"<svg/>")],
)
def test_bad_photos_get_one_sentence(
    page: Page, warnings_shown: list[str], tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / name
    file.write_bytes(example_paths()[0].read_bytes()[:2000] if content is None else content)
    key = page.open()[0]
    before = page.store.open(key).result
    assert page.show(key, upload(str(file)), "sky", "")[1:] == (SKIP, SKIP, SKIP)
    assert len(warnings_shown) == 1 and name in warnings_shown[0]
    assert page.store.open(key).result is before


def test_ten_thousand_words_are_accepted(page: Page, photo_file: PhotoWriter) -> None:
    words = "; ".join(f"word {i}: stuff" for i in range(10_000))
    assert page.show(None, upload(photo_file()), words, "")[1]["segments"]


def test_a_failing_model_keeps_the_result_and_is_logged(
    page: Page, predictor: FakePredictor, warnings_shown: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    key = page.open()[0]
    predictor.failure = RuntimeError("secret detail")
    assert page.show(key, upload(str(example_paths()[0])), "dog", "")[1:] == (SKIP, SKIP, SKIP)
    assert len(warnings_shown) == 1 and "secret" not in warnings_shown[0]
    assert "secret detail" in caplog.text


def test_notes_are_escaped_and_limited() -> None:
    odd = Vocabulary.parse("; ".join(["<b>a</b>", "<b>a</b>", *(f"w{i}; w{i}" for i in range(9))]))
    text = notes_html(Request(odd), (4000, 3000))
    assert "<b>" not in text and "&lt;b&gt;" in text
    assert "4,000 x 3,000" in text and text.count("<p>") == 5
    assert notes_html(Request(Vocabulary.parse("a; b")), None, "XS") == ""
    told = notes_html(Request(Vocabulary.parse("chien; 猫, cat; <b>é</b>")), None, "XS")
    assert "XS reads English" in told and "猫" in told and "chien" not in told and "<b>" not in told


def test_opacity_reaches_the_download(page: Page) -> None:
    key = page.open()[0]
    files = [Path(page.download(key, kind)) for kind in DOWNLOADS]
    assert [file.suffix for file in files] == [".png", ".png", ".json", ".json", ".csv"]
    plain = files[0].read_bytes()
    recipe = page.restyle(key, gr.EventData(None, {"value": 5}))
    assert Path(page.download(key, "overlay")).read_bytes() != plain
    assert page.store.open(key).opacity == 1.0, "values out of range are clipped"
    assert "overlay(opacity=1)" in recipe["python"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_zip_for_a_tool_contains_the_photo_and_its_files(page: Page, kind: str, tmp_path: Path) -> None:
    key = page.open()[0]
    with zipfile.ZipFile(page.download_format(key, kind)) as packed:
        packed.extractall(tmp_path)
    result = page.store.open(key).result
    assert result is not None
    (photo,) = tmp_path.rglob("*.jpg")
    with Image.open(photo) as picture:
        assert picture.size == result.segment_map.shape[::-1]
    written = next(path for path in tmp_path.rglob("*") if path.match(FORMATS[kind].path))
    content = written.read_text(encoding="utf-8")
    if kind == "yolo":
        assert (tmp_path / "yolo/images" / photo.name) == photo and (tmp_path / "yolo/data.yaml").exists()
        assert written.stem == photo.stem
    elif kind == "labelme":
        assert (written.parent / json.loads(content)["imagePath"]).resolve() == photo.resolve()
    else:
        assert photo.name in content
    assert written.with_suffix(".xml").exists() == (kind in ("cvat", "label-studio"))


def test_an_unknown_tool_gets_a_sentence(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", said.append)
    key = page.open()[0]
    assert [page.download_format(key, kind) for kind in ("../voc", None, ["yolo"])] == [SKIP] * 3
    assert said == ["Choose the tool first: " + ", ".join(form.title for form in FORMATS.values()) + "."] * 3


def test_an_expired_session_keeps_the_downloads_of_its_tab(page: Page) -> None:
    key = page.open()[0]
    page.store.drop(key)
    assert page.download(key, "overlay") == page.restyle(key, gr.EventData(None, {"value": 0.2})) == SKIP
    assert page.explain(key, gr.EventData(None, {"segment": 1})) == page.shown_again(key) == SKIP
    assert len(page.store) == 0, "the request does not create a session"


def test_every_example_has_its_photo_and_usable_words(page: Page) -> None:
    assert sorted(EXAMPLES) == sorted(path.name for path in asset_path("photos").glob("*.jpg"))
    for index, words in enumerate(EXAMPLES.values()):
        photo, chosen, preset = page.choose(gr.EventData(None, {"index": index}))
        assert Path(photo) == example_paths()[index] and chosen == words and preset == ""
        assert Vocabulary.parse(words).notes == ()


@pytest.mark.parametrize("typed", ["zebra", EXAMPLES["gull.jpg"] + "; zebra", "", " ; ", EXAMPLES["gull.jpg"]])
def test_an_example_keeps_words_that_were_typed(page: Page, monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", said.append)
    photo, words, preset = page.choose(gr.EventData(None, {"index": 4}), None, typed)
    kept = "zebra" in typed
    assert Path(photo).name == "bear.jpg" and len(said) == kept
    assert (words, preset) == ((SKIP, SKIP) if kept else (EXAMPLES["bear.jpg"], ""))


def test_preset_titles_are_readable_and_unique() -> None:
    assert preset_title("ade20k-150") == "ADE20K · 150 classes"
    assert preset_title("everyday") == "Everyday"
    assert preset_title("coco-panoptic-133") == "COCO Panoptic · 133 classes"
    assert len({preset_title(name) for name in preset_names()}) == len(preset_names())
    with pytest.raises(VocabularyError):
        make_request("sky", "../secrets", False, None)


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    client = Client(address, verbose=False)
    yield client
    client.close()


def test_the_endpoint_segments(client: Client, photo_file: PhotoWriter) -> None:
    found, files = client.predict(handle_file(photo_file()), "sky: stuff; car", "", api_name="/segment")
    assert [segment["name"] for segment in found["segments"]] == ["sky", "car 1", "car 2"]
    assert (found["width"], found["height"], found["file_name"]) == (60, 40, "photo.png")
    names = [Path(file).name for file in files]
    assert len(names) == 5
    document = json.loads(Path(next(file for file in files if file.endswith("panoptic.json"))).read_text())
    assert {category["name"] for category in document["categories"]} == {"sky", "car"}


def test_the_calls_of_the_api_that_the_page_shows(
    address: str, client: Client, photo_file: PhotoWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo_file(name="it's mine.png")
    monkeypatch.chdir(tmp_path)
    request = make_request(
        "sky: stuff; qu\"oted; it's: thing", "cityscapes-19", True, {"task": "semantic", "alpha": 0.25}
    )
    labels = {"sky", 'qu"oted', "it's", "other"}
    made: dict[str, Any] = {}
    # A busy machine takes longer than the client's default timeout of five seconds.
    patient = functools.partial(Client, httpx_kwargs={"timeout": 60})
    monkeypatch.setattr("gradio_client.Client", patient)
    call = client_call(request, "it's mine.png").replace("{address}", address.rstrip("/"))
    exec(compile(call, "call", "exec"), made)
    assert {segment["label"] for segment in made["segments"]["segments"]} == labels
    assert made["segments"]["settings"] == {"task": "semantic", "alpha": 0.25}
    if shutil.which("curl") is None:
        unavailable.skip("curl is not installed, so the call cannot be tested")
    script = curl_call(request, "it's mine.png").replace("{address}", address.rstrip("/"))
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "event: complete" in said, said
    found = json.loads(said.split("data: ")[-1])[0]
    assert {segment["label"] for segment in found["segments"]} == labels
    assert found["settings"] == made["segments"]["settings"]


def test_the_endpoint_takes_settings(client: Client, photo_file: PhotoWriter) -> None:
    photo = handle_file(photo_file())
    settings = {"task": "semantic", "alpha": 0.5, "ensemble": "arithmetic", "void_threshold": 0.9}
    given = {**settings, "edges": "true"}
    found, _ = client.predict(photo, "sky: stuff", preset="cityscapes-19", **given, api_name="/segment")
    assert found["settings"] == {**settings, "edges": True}
    found, _ = client.predict(photo, "sky: stuff", preset="cityscapes-19", preset_competes=True, api_name="/segment")
    assert [segment["label"] for segment in found["segments"]] == ["sky", "other"]
    wrong: list[dict[str, Any]] = [
        {"alpha": 2},
        {"task": "depth"},
        {"beta": "much"},
        {"model": "xxl"},
        {"model": "s"},
        {"edges": "2"},
    ]
    for given in wrong:
        with pytest.raises(AppError) as caught:
            client.predict(photo, "sky", **given, api_name="/segment")
        assert "Traceback" not in str(caught.value) and str(next(iter(given.values()))) in str(caught.value)


def test_the_endpoint_says_what_is_wrong(client: Client, photo_file: PhotoWriter) -> None:
    with pytest.raises(AppError, match="vocabulary is empty"):
        client.predict(handle_file(photo_file()), " ", "", api_name="/segment")
    with pytest.raises(AppError, match='no preset "nope"'):
        client.predict(handle_file(photo_file()), "sky", "nope", api_name="/segment")
    with pytest.raises(AppError, match="Give a photo"):
        client.predict(None, "sky", "", api_name="/segment")


def test_the_layout_sets_limits(page: Page) -> None:
    options = launch_options()
    assert options["allowed_paths"] == [str(asset_path("photos"))]
    assert options["max_file_size"] == "32mb"
    demo = build(page)
    model_events = [fn for fn in demo.fns.values() if fn.concurrency_id == "model"]
    assert len(model_events) > 8 and all(fn.concurrency_limit == 1 for fn in model_events)
    public = {fn.api_name for fn in demo.fns.values() if fn.api_visibility == "public"}
    assert "segment" in public and public <= {"segment", *TITLES}


def test_a_file_is_copied_before_another_replaces_it(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    session = page.store.open(None, page.start)
    copy = page_module.save_file_to_cache
    free: list[bool] = []

    def copied(file: str, folder: str) -> str:
        with ThreadPoolExecutor(1) as other:
            free.append(other.submit(session.saving.acquire, blocking=False).result())
        return copy(file, folder)

    monkeypatch.setattr(page_module, "save_file_to_cache", copied)
    path = Path(page.download(session.key, "overlay"))
    assert free == [False] and path.is_relative_to(get_upload_folder()) and path.name == session.files[0].name
    packed = Path(page.download_format(session.key, "cvat"))
    assert packed.is_relative_to(get_upload_folder()) and packed.name == "bus-street-cvat.zip"


def test_a_cancelled_tab_is_computed_when_it_is_opened_again(page: Page) -> None:
    session = page.store.open(None, page.start)
    times: list[int] = []

    def slow(session: Session) -> list[str]:
        times.append(len(times))
        if len(times) == 1:
            time.sleep(0.3)
        return ["shown"]

    tab = Tab(slow, [], [gr.HTML()])
    with pytest.raises(RequestTimeout):
        WorkerPool("test", seconds=0.1, grace=60).run(lambda: layout_module._refreshed(session, "vas", tab, []))
    assert layout_module._refreshed(session, "vas", tab, []) == ["shown"] and times == [0, 1]
    assert layout_module._refreshed(session, "vas", tab, []) == [SKIP], "seen"


def test_a_model_that_hangs_while_loading_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = FakePredictor(), FakePredictor()
    models = Models(first)
    begun, go_on = threading.Event(), threading.Event()

    def load(*_: Any, **__: Any) -> FakePredictor:
        begun.set()
        assert go_on.wait(30)
        return other

    monkeypatch.setattr("app.models.default_checkpoint", lambda variant: Path(f"{variant}.pth"))
    monkeypatch.setattr("eovseg.load", load)
    monkeypatch.setattr("app.session.BUSY_SECONDS", 0.1)
    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(models.get, "s")
        try:
            assert begun.wait(30) and models.get(None) is first
            with pytest.raises(RequestTimeout, match="still running"):
                models.get("m")
        finally:
            go_on.set()
        assert loading.result() is models.get("s") is other and models.key_of(other) == "s"


def test_a_missing_checkpoint_gets_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--variant", "s", "--checkpoint", "no/such/file.pth"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and "file.pth" in said
