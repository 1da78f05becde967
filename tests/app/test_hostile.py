"""What a hostile visitor sends: nothing runs, nothing is served that is not theirs, every answer is plain."""

import asyncio
import io
import itertools
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio.mcp
import httpx
import pytest
from gradio.utils import get_upload_folder
from PIL import Image

from app.calls import FAILED
from app.examples import example_paths
from app.janitor import Janitor
from app.layout import build
from app.limits import BODY_BYTES, FILE_SECONDS, UPLOAD_BYTES
from app.models import Models
from app.page import Page, asked_for
from app.server import served
from app.session import SessionStore
from app.tabs.wiring import whole_number
from eovseg.errors import EovsegError
from tests.app.conftest import free_port
from tests.app.fake_predictor import FakePredictor
from tests.app.gradio_calls import API, Caller

ROOT = Path(__file__).parent.parent.parent
EVIL = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert(document.cookie)</script>"
ENDPOINTS = ("segment", "vas", "tdee", "clustering", "decoder", "speed")


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Page]]:
    page = Page(FakePredictor())
    with served(page, server_name="127.0.0.1", server_port=free_port(), quiet=True) as demo:
        yield demo.local_url, page


@pytest.fixture
def caller(server: tuple[str, Page]) -> Caller:
    return Caller(server[0])


def png(width: int = 40, height: int = 30) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of `side` x `side` pixels in a few bytes: its header is true, its rows are all zero."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(side + 1)) for _ in range(64)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def plain(answer: httpx.Response) -> None:
    """No traceback, no source line, no path of the server's code in an answer; never a server error."""
    assert answer.status_code < 500, answer.text[:300]
    for trace in ("Traceback", 'File "', "site-packages", str(ROOT / "app")):
        assert trace not in answer.text, answer.text[:300]


# Words and names


def test_markup_in_words_is_text_everywhere(caller: Caller) -> None:
    caller.open_page()
    photo = caller.upload("p.png", png())
    stage = caller.read_pressed([caller.press(photo, f"{EVIL}: stuff; {SCRIPT}: stuff; {EVIL}: stuff")])[0]
    assert stage is not None and {e["label"] for e in stage["segments"]} == {EVIL, SCRIPT}, "data, not markup"
    record = {"path": photo, "meta": {"_type": "gradio.FileData"}}
    words = f"{EVIL}; {EVIL}, {SCRIPT}; " + "x" * 300
    done = caller.do(caller.event("go", "click"), [None, record, words, "", False, None])
    said = "".join(done["log"])
    assert said and "<img" not in said and "<script" not in said
    notes = caller.do(caller.event("go", "click"), [None, record, f"{EVIL}; {EVIL}; é{SCRIPT}", "", False, None])
    html = notes["output"]["data"][2]
    assert "&lt;" in html and "<img" not in html and "<script" not in html


@pytest.mark.parametrize(
    "name", [f"{EVIL}.png", '"><svg onload=alert(1)>.png', "../../etc/passwd.png", "a\nb;rm -rf.png"]
)
def test_hostile_file_names_stay_names(caller: Caller, name: str) -> None:
    path = caller.upload(name, png())
    assert Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve()), path
    found = caller.segment(path, "sky: stuff")
    assert found.labels == {"sky"}
    for file in found.files:
        answer = caller.client.get(file["url"])
        assert answer.status_code == 200 and answer.headers["content-type"].split(";")[0] in {
            "image/png", "application/json", "text/csv", "application/octet-stream",
        }  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("preset", ["../../README.md", "/etc/passwd", EVIL, "ade20k-150\0", "....//everyday"])
def test_hostile_presets_are_a_sentence(caller: Caller, preset: str) -> None:
    record = {"path": caller.upload("p.png", png()), "meta": {"_type": "gradio.FileData"}}
    for endpoint in ENDPOINTS:
        rest = [False] if endpoint == "segment" else []
        said = refused(caller, endpoint, [record, "sky", preset, *rest])
        assert "no preset" in said or "not in the list" in said, said


def refused(caller: Caller, endpoint: str, data: list[Any]) -> str:
    """The sentence with which a call is refused, whatever values are left out."""
    info = caller.client.get(f"{API}/info").json()["named_endpoints"][f"/{endpoint}"]["parameters"]
    data = data + [parameter.get("parameter_default") for parameter in info[len(data) :]]
    joined = caller.client.post(f"{API}/call/{endpoint}", json={"data": data})
    plain(joined)
    if joined.status_code != 200:
        return str(joined.json()["detail"])
    name, value = caller.read_call(endpoint, joined.json()["event_id"])
    assert name == "error", (endpoint, data, str(value)[:200])
    text = (value or {}).get("error")
    assert isinstance(text, str) and text, (endpoint, data, "an error without a sentence")
    assert "Traceback" not in text and 'File "' not in text and str(ROOT) not in text
    return text


# Photos

PICTURES = {
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "page.png": b"<!doctype html><script>alert(1)</script>",
    "code.gif": b"GIF89a/*" + b"\0" * 20 + b"*/=1;alert(1)//",
    "archive.jpg": b"PK\x03\x04" + b"\0" * 200,
    "script.jpg": b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file\n",
    "empty.png": b"",
    "bomb.png": bomb(60_000),
    "wide.png": png(6000, 20),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_photo_is_a_sentence_on_every_endpoint(caller: Caller, name: str) -> None:
    path = caller.upload(name, PICTURES[name], "image/png")
    record = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for endpoint in ENDPOINTS if name in ("drawing.svg", "bomb.png") else ENDPOINTS[:1]:
        assert f'"{name}"' in refused(caller, endpoint, [record, "sky"])
    caller.open_page()
    done = caller.do(caller.event("go", "click"), [None, record, "sky", "", False, None])
    assert name in done["log"][-1] and len(done["log"]) == 1
    served_again = caller.client.get(f"{API}/file={path}")
    if served_again.status_code == 200 and not name.endswith((".png", ".jpg", ".gif")):
        assert "attachment" in served_again.headers["content-disposition"], "never opened in the browser"
    assert served_again.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("tail", [b"<script>alert(1)</script>", b"PK\x03\x04 and a zip", b"%PDF-1.4"])
def test_a_photo_with_a_tail_is_only_its_pixels(caller: Caller, tail: bytes) -> None:
    path = caller.upload("both.png", png(50, 30) + tail)
    found = caller.segment(path, "sky: stuff")
    assert found.labels == {"sky"}
    for file in found.files:
        assert tail not in caller.client.get(file["url"]).content
    shown = caller.client.get(f"{API}/file={path}")
    assert (shown.headers["content-type"], shown.headers["x-content-type-options"]) == ("image/png", "nosniff")


def test_bodies_have_a_largest_size(caller: Caller) -> None:
    big = caller.client.post(f"{API}/upload", files={"files": ("big.png", png() + bytes(UPLOAD_BYTES), "image/png")})
    assert big.status_code == 413 and "33 MB" in big.json()["detail"]
    words = {"data": ["x" * (BODY_BYTES + 1)]}
    for route in ("call/segment", "queue/join", "cancel"):
        answer = caller.client.post(f"{API}/{route}", json=words)
        assert answer.status_code == 413 and "8 MB" in answer.json()["detail"]

    def chunks() -> Iterator[bytes]:
        for _ in range(12):
            yield b" " * 1_000_000

    answer = caller.client.post(f"{API}/queue/join", content=chunks(), headers={"content-type": "application/json"})
    plain(answer)
    assert answer.status_code == 413, "also where the length is not told"
    assert "at most 400,000" in refused(caller, "segment", [record_of(caller), "x, " * 200_000])
    assert "at most 20,000" in refused(caller, "segment", [record_of(caller), "; ".join(map(str, range(20_001)))])


def record_of(caller: Caller) -> dict[str, Any]:
    return {"path": caller.upload("p.png", png()), "meta": {"_type": "gradio.FileData"}}


# Files


def secret_paths(page: Page) -> list[str]:
    weights = ROOT / "assets/weights/eovseg-xs.safetensors"
    files = [ROOT / "pyproject.toml", ROOT / "app/page.py", weights, ROOT / ".git/config", Path("/etc/passwd")]
    session = page.store.open(None, page.start)
    files += session.save()  # in the store's folder, not the visitor's own
    relative = ["pyproject.toml", "app/page.py", "../pyproject.toml", "assets/weights/eovseg-xs.safetensors", "."]
    around = str(get_upload_folder())
    tricks = [f"{around}/../../../../../..{file}" for file in files] + [f"{around}/..", around, f"{around}/x\0.png"]
    photos = example_paths()[0].parent
    tricks += [f"{photos}/../weights/eovseg-xs.safetensors", f"{photos}/..//..//pyproject.toml", str(photos)]
    return [*map(str, files), *relative, *tricks]


def test_no_path_leads_to_a_file_of_the_server(server: tuple[str, Page]) -> None:
    address, page = server
    with httpx.Client(base_url=address, follow_redirects=True) as client:
        for path in secret_paths(page):
            for form in (path, path.replace("/", "%2f"), path.replace("/", "%2F").replace(".", "%2e")):
                for route in (f"{API}/file=", "file=", f"{API}/file/"):
                    answer = client.get(route + form.replace("\0", "%00"))
                    assert answer.status_code in (403, 404), (route, form)
                    plain(answer)
        example = client.get(f"{API}/file={example_paths()[0]}")
        assert example.status_code == 200 and example.headers["content-type"] == "image/jpeg", "a control"


def test_links_in_the_upload_folder_lead_nowhere(caller: Caller) -> None:
    own = Path(caller.upload("own.png", png()))
    for name, target in (("file.png", ROOT / "pyproject.toml"), ("folder", ROOT)):
        link = own.parent / name
        link.symlink_to(target)
        try:
            path = link if target.is_file() else link / "pyproject.toml"
            assert caller.client.get(f"{API}/file={path}").status_code == 403
        finally:
            link.unlink()
    assert caller.client.get(f"{API}/file={own}").content == png(), "a control"


def test_other_visitors_files_cannot_be_guessed(caller: Caller, server: tuple[str, Page]) -> None:
    own, other = Path(caller.upload("own.png", png())), Caller(server[0])
    other.upload("secret.png", png(41))
    folder = own.parent.parent
    assert len(own.parent.name) >= 64, "the folder is a keyed hash of the content"
    for guess in (folder / "secret.png", own.parent / "secret.png", folder / own.name, folder / "*" / "secret.png"):
        assert caller.client.get(f"{API}/file={guess}").status_code == 403
    for session in (other.session, "", "*"):
        answer = caller.client.get("gradio_api/deep_link", params={"session_hash": session})
        assert answer.status_code == 404


def test_another_session_answers_nobody_else(caller: Caller, server: tuple[str, Page]) -> None:
    other = Caller(server[0])
    other.open_page()
    secret = other.read_pressed([other.press(other.upload("mine.png", png(44)), "secret: stuff")])[0]
    assert secret is not None and secret["segments"][0]["label"] == "secret"
    caller.open_page()
    for key in list(server[1].store._sessions):  # the key of a session is no ticket: Gradio keeps it on its own side
        done = caller.do(caller.event("stage", "lost"), [key])
        assert "secret" not in json.dumps(done["output"]["data"])


@pytest.mark.parametrize("route", [
    "runs", "gradio_api/runs", "monitoring", "monitoring/summary", "gradio_api/run-history/records",
    "gradio_api/proxy=http://127.0.0.1:1/", "gradio_api/dev/reload", "gradio_api/deep_link?session_hash=x",
    "gradio_api/vibe-code/", "gradio_api/stream/x/y/z/playlist.m3u8", "gradio_api/component_server",
])  # fmt: skip
def test_what_the_page_does_not_use_is_closed(caller: Caller, route: str) -> None:
    answer = caller.client.get(route)
    assert answer.status_code == 404 and "nothing here" in answer.json()["detail"]


def test_the_server_fetches_nothing_for_others(caller: Caller) -> None:
    for url in ("http://169.254.169.254/latest", "https://example.com/x.png", "file:///etc/passwd", "ftp://x/y"):
        assert caller.client.get(f"{API}/file={url}").status_code == 403
        for record in ({"path": url}, {"url": url}, {"path": "", "url": url}, {"path": url, "meta": META}, url):
            assert refused(caller, "segment", [record, "sky"])


# Forged calls

META = {"_type": "gradio.FileData"}
WRONG: list[Any] = [None, True, -1, 1e308, "x", "", [], [[]], {}, {"path": 3}, {"a": {"b": []}}, ["x"] * 50]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_wrong_types_are_refused_by_every_endpoint(caller: Caller, endpoint: str) -> None:
    info = caller.client.get(f"{API}/info").json()["named_endpoints"][f"/{endpoint}"]["parameters"]
    right = [record_of(caller), "sky: stuff", *(parameter.get("parameter_default") for parameter in info[2:])]
    for place, wrong in itertools.product(range(len(right)), WRONG):
        data = [*right[:place], wrong, *right[place + 1 :]]
        joined = caller.client.post(f"{API}/call/{endpoint}", json={"data": data})
        plain(joined)
        if joined.status_code == 200:
            name, value = caller.read_call(endpoint, joined.json()["event_id"])
            text = json.dumps(value)
            assert "Traceback" not in text and 'File \\"' not in text and "site-packages" not in text
            if name == "error":
                assert (value or {}).get("error"), (place, wrong)
    for data in ([], [None], right[:1], [*right, "more", "values"], "text", {"a": 1}, None):
        answer = caller.client.post(f"{API}/call/{endpoint}", json={"data": data})
        plain(answer)
        if answer.status_code == 200:
            name, value = caller.read_call(endpoint, answer.json()["event_id"])
            assert name == "error" and f"takes {len(right)} values, not {len(data or ())}" in value["error"]


def test_forged_private_events_are_answered_plainly(caller: Caller) -> None:
    caller.open_page()
    for dependency in caller.config["dependencies"]:
        if not dependency["backend_fn"]:
            continue
        count = len(dependency["inputs"])
        for wrong in (None, 3, "x", {"path": "/etc/passwd", "meta": META}, {"path": "/etc/passwd"}, ["x"]):
            for event_data in (None, {"segment": EVIL, "index": "x", "x": [], "y": None, "value": {}, "text": 3}):
                joined = caller.join(dependency, [wrong] * count, event_data)
                plain(joined)
                if joined.status_code != 200:
                    continue
                number = joined.json()["event_id"]
                done = caller.read([number])[number]
                text = json.dumps(done)
                assert "Traceback" not in text and "root:" not in text and "<img" not in text, dependency["id"]
    assert caller.open_page()["segments"], "the page still works"


def test_forged_bodies_are_answered_plainly(caller: Caller) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    bodies = [
        "", "{", "null", "[]", '"x"', "{}", '{"data": 1}', deep, '{"data": ' + deep + "}", "\xff\xfe",
        '{"data": [], "fn_index": 9999, "session_hash": "x"}', '{"data": [], "fn_index": -1, "session_hash": "x"}',
        '{"data": [], "fn_index": "x", "session_hash": "x"}', '{"data": [], "fn_index": 0, "session_hash": {}}',
        '{"data": [], "fn_index": null, "session_hash": "x"}', '{"data": {"__proto__": 1}, "fn_index": 0}',
    ]  # fmt: skip
    for route in (
        "queue/join",
        "call/segment",
        "call/nothing",
        "call/v2/segment",
        "run/segment",
        "api/segment",
        "cancel",
    ):
        for body in bodies:
            answer = caller.client.post(
                f"{API}/{route}", content=body.encode("latin-1"), headers={"content-type": "application/json"}
            )
            plain(answer)
    for route in ("queue/data", "queue/data?session_hash=unknown", "call/segment/unknown", "heartbeat/"):
        with caller.client.stream("GET", f"{API}/{route}", timeout=20) as answer:
            assert answer.status_code < 500
            for line in itertools.islice(answer.iter_lines(), 3):
                assert "Traceback" not in line
    assert caller.segment(caller.upload("p.png", png()), "sky: stuff").labels == {"sky"}


def test_nobody_gets_past_the_queue(caller: Caller) -> None:
    for route in ("run", "api"):
        answer = caller.client.post(f"{API}/{route}/segment", json={"data": [record_of(caller), "sky"]})
        assert answer.status_code == 404 and "nothing here" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (lambda path: path, "a bare path"),
        (lambda path: {"path": path}, "a bare path"),
        (lambda path: "data:image/png;base64,iVBORw0KGgo=", "a data URI"),
        (lambda path: "https://example.com/x.png", "an address"),
        (lambda path: {"path": "https://example.com/x.png", "meta": META}, "an address"),
        (lambda path: {"url": "https://example.com/x.png"}, "an address"),
        (lambda path: 7, "type int"),
        (lambda path: {"path": "/etc/passwd", "meta": META}, "was not uploaded"),
        (lambda path: {"path": f"{path}\0", "meta": META}, "was not uploaded"),
        (lambda path: None, "Give a photo"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_photo_that_was_not_uploaded_is_a_sentence(caller: Caller, photo: Any, said: str, named: bool) -> None:
    given = photo(caller.upload("p.png", png()))
    if named:
        joined = caller.client.post(f"{API}/call/v2/segment", json={"photo": given, "words": "sky"})
        name, value = caller.read_call("v2/segment", joined.json()["event_id"])
        assert name == "error" and said in value["error"]
    else:
        assert said in refused(caller, "segment", [given, "sky"])


@pytest.mark.parametrize("count", [0, 2, 12, 14])
def test_a_wrong_number_of_values_is_a_sentence(caller: Caller, count: int) -> None:
    data = [record_of(caller), "sky", "", False, *[None] * 10][:count]
    joined = caller.client.post(f"{API}/call/segment", json={"data": data})
    name, value = caller.read_call("segment", joined.json()["event_id"])
    assert name == "error" and f"/segment takes 13 values, not {count}: photo, words, preset" in value["error"]
    assert "call/v2/segment" in value["error"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("v2/segment", {"words": "sky"}, "required argument: photo"),
        ("v2/segment", {"photo": None, "words": "sky", "wrods": "sea"}, "`wrods`"),
        ("v2/nothing", {}, "no endpoint /nothing"),
        ("nothing", {"data": []}, "no endpoint /nothing"),
    ],
)
def test_a_call_that_cannot_be_read_is_a_sentence(caller: Caller, path: str, body: Any, said: str) -> None:
    answer = caller.client.post(f"{API}/call/{path}", json=body)
    assert answer.status_code == 400 and said in answer.json()["detail"]


@pytest.mark.parametrize("number", [9999, -1])
def test_an_event_that_is_not_there_is_a_sentence(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(gradio.Error, match="its log says why"), ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, build(Page(FakePredictor())).process_api(number, [])).result()
    assert "KeyError" in caplog.text


def test_a_fault_of_ours_is_a_sentence_too(server: tuple[str, Page], caplog: pytest.LogCaptureFixture) -> None:
    caller, predictor = Caller(server[0]), server[1].models.get(None)
    predictor.failure = ZeroDivisionError("a secret of the code")  # type: ignore[attr-defined]
    try:
        said = caller.segment(caller.upload("p.png", png()), "sky: stuff; sea: stuff").error
    finally:
        predictor.failure = None  # type: ignore[attr-defined]
    assert said == FAILED and "a secret of the code" in caplog.text, "the log has its traceback"


@pytest.mark.parametrize("named", [False, True])
def test_files_lie_in_a_folder_of_the_server_that_goes_with_it(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the user names a folder: what else lies in it is not ours to delete."""
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    mcp_files = gradio.mcp.DEFAULT_TEMP_DIR
    if named:
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "foreign.txt").touch()
    with served(Page(FakePredictor()), server_name="127.0.0.1", server_port=free_port(), quiet=True) as demo:
        caller = Caller(demo.local_url)
        file = Path(caller.upload("p.png", png()))
        folder = next(parent for parent in file.parents if parent.name.startswith("eovseg-files-"))
        assert caller.segment(str(file), "sky: stuff").labels == {"sky"}
        assert (folder.parent == tmp_path / "files") == named
        assert str(folder) == gradio.mcp.DEFAULT_TEMP_DIR, "what language models send, too"
        Janitor(demo, SessionStore()).tidy(time.time() + 2 * FILE_SECONDS)
        assert not file.exists()
    assert not folder.exists() and os.environ.get("GRADIO_TEMP_DIR") == (str(tmp_path / "files") if named else None)
    assert (tmp_path / "files" / "foreign.txt").exists() == named
    assert mcp_files == gradio.mcp.DEFAULT_TEMP_DIR


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("a\nlist", None),
        ("a list" * 1000, None),
        ("", {"task": "x\n" * 5000}),
        ("", {"ensemble": ["x"] * 5000}),
        ("", {"alpha": "\n" * 5000}),
        ("", {"beta": 10**4000}),
        ("", {"beta": "1e999"}),
    ],
)
def test_what_is_refused_cannot_stretch_its_sentence(preset: str, settings: Any) -> None:
    """The sentence stays one of one line, whatever the value holds."""
    with pytest.raises(EovsegError) as refusal:
        asked_for("sky", preset, False, settings)
    assert len(str(refusal.value).splitlines()) == 1 and len(str(refusal.value)) < 400
    with pytest.raises(EovsegError, match="outside 0 to 9"):
        whole_number("k", 10**400, 0, 9)
    with pytest.raises(EovsegError, match='no model "a b"'):
        Models(FakePredictor()).get("a\nb")
