"""Calls that the page never makes: wrong types, wrong events, forged bodies. Each gets a plain answer."""

import asyncio
import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio.mcp
import pytest

from app.calls import FAILED
from app.inputs import make_request
from app.janitor import Janitor
from app.layout import build
from app.limits import FILE_SECONDS
from app.models import Models
from app.page import Page
from app.session import SessionStore
from app.tabs.wiring import whole_number
from eovseg.errors import EovsegError
from tests.app.conftest import serving
from tests.app.fake_predictor import FakePredictor
from tests.app.gradio_calls import API, Caller
from tests.app.hostile_calls import ENDPOINTS, EVIL, META, plain, png, record_of, refused

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
    for photo in ("/etc/passwd", {"path": "/etc/passwd"}, {"path": "/etc/passwd", "meta": META}):
        assert "upload" in refused(caller, endpoint, [photo, *right[1:]])
    for data in ([], [None], right[:1], [*right, "more", "values"], "text", {"a": 1}, None):
        answer = caller.client.post(f"{API}/call/{endpoint}", json={"data": data})
        plain(answer)
        if answer.status_code == 200:
            name, value = caller.read_call(endpoint, answer.json()["event_id"])
            assert name == "error" and f"takes {len(right)} values, not {len(data or ())}" in value["error"]


@pytest.mark.slow
def test_forged_private_events_get_plain_answers(caller: Caller) -> None:
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


def test_forged_bodies_get_plain_answers(caller: Caller) -> None:
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


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        (lambda path: path, "a bare path"),
        (lambda path: {"path": path}, "a bare path"),
        (lambda path: "data:image/png;base64,iVBORw0KGgo=", "a data URI"),
        (lambda path: "https://example.com/x.png", "a URL"),
        (lambda path: {"path": "https://example.com/x.png", "meta": META}, "a URL"),
        (lambda path: {"url": "https://example.com/x.png"}, "a URL"),
        (lambda path: 7, "type int"),
        (lambda path: {"path": "/etc/passwd", "meta": META}, "was not uploaded"),
        (lambda path: {"path": f"{path}\0", "meta": META}, "was not uploaded"),
        (lambda path: None, "Give a photo"),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_photo_that_was_not_uploaded_gets_a_sentence(caller: Caller, photo: Any, said: str, named: bool) -> None:
    given = photo(caller.upload("p.png", png()))
    if named:
        joined = caller.client.post(f"{API}/call/v2/segment", json={"photo": given, "words": "sky"})
        name, value = caller.read_call("v2/segment", joined.json()["event_id"])
        assert name == "error" and said in value["error"]
    else:
        assert said in refused(caller, "segment", [given, "sky"])


@pytest.mark.parametrize("count", [0, 2, 12, 14])
def test_a_wrong_number_of_values_gets_a_sentence(caller: Caller, count: int) -> None:
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
def test_an_unreadable_call_gets_a_sentence(caller: Caller, path: str, body: Any, said: str) -> None:
    answer = caller.client.post(f"{API}/call/{path}", json=body)
    assert answer.status_code == 400 and said in answer.json()["detail"]


@pytest.mark.parametrize("number", [9999, -1])
def test_an_unknown_event_gets_a_sentence(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(gradio.Error, match="see its log"), ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, build(Page(FakePredictor())).process_api(number, [])).result()
    assert "KeyError" in caplog.text


def test_a_server_error_gets_a_sentence(server: tuple[str, Page], caplog: pytest.LogCaptureFixture) -> None:
    caller, predictor = Caller(server[0]), server[1].models.get(None)
    predictor.failure = ZeroDivisionError("a secret of the code")  # type: ignore[attr-defined]
    try:
        said = caller.segment(caller.upload("p.png", png()), "sky: stuff; sea: stuff").error
    finally:
        predictor.failure = None  # type: ignore[attr-defined]
    assert said == FAILED and "a secret of the code" in caplog.text, "the traceback is in the log"


@pytest.mark.parametrize("named", [False, True])
def test_files_are_in_a_folder_that_is_deleted_with_the_server(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the user names a folder, in which other files must not be deleted."""
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    mcp_files = gradio.mcp.DEFAULT_TEMP_DIR
    if named:
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "foreign.txt").touch()
    with serving() as demo:
        caller = Caller(demo.local_url)
        file = Path(caller.upload("p.png", png()))
        folder = next(parent for parent in file.parents if parent.name.startswith("eovseg-files-"))
        assert caller.segment(str(file), "sky: stuff").labels == {"sky"}
        assert (folder.parent == tmp_path / "files") == named
        assert str(folder) == gradio.mcp.DEFAULT_TEMP_DIR, "also the files that language models send"
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
def test_error_messages_have_a_limited_length(preset: str, settings: Any) -> None:
    """The error message stays a short single line, whatever the value is."""
    with pytest.raises(EovsegError) as refusal:
        make_request("sky", preset, False, settings)
    assert len(str(refusal.value).splitlines()) == 1 and len(str(refusal.value)) < 400
    with pytest.raises(EovsegError, match="outside 0 to 9"):
        whole_number("k", 10**400, 0, 9)
    with pytest.raises(EovsegError, match='no model "a b"'):
        Models(FakePredictor()).get("a\nb")
