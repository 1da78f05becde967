"""Hostile visitors: their input is never executed, they get no files of others, and every answer is plain."""

import json
import struct
import zlib
from pathlib import Path

import httpx
import pytest
from gradio.utils import get_upload_folder

from app.examples import example_paths
from app.limits import BODY_BYTES, UPLOAD_BYTES
from app.page import Page
from tests.app.gradio_calls import API, Caller
from tests.app.hostile_calls import ENDPOINTS, EVIL, META, ROOT, plain, png, record_of, refused

SCRIPT = "<script>alert(document.cookie)</script>"


def bomb(side: int) -> bytes:
    """A valid PNG of `side` x `side` zero pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(side + 1)) for _ in range(64)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# Words and names


def test_markup_in_words_is_escaped_everywhere(caller: Caller) -> None:
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
def test_hostile_file_names_are_only_names(caller: Caller, name: str) -> None:
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
def test_hostile_presets_get_a_sentence(caller: Caller, preset: str) -> None:
    record = {"path": caller.upload("p.png", png()), "meta": {"_type": "gradio.FileData"}}
    for endpoint in ENDPOINTS:
        rest = [False] if endpoint == "segment" else []
        said = refused(caller, endpoint, [record, "sky", preset, *rest])
        assert "no preset" in said or "not in the list" in said, said


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
def test_files_that_are_not_photos_get_a_sentence_on_every_endpoint(caller: Caller, name: str) -> None:
    path = caller.upload(name, PICTURES[name], "image/png")
    record = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for endpoint in ENDPOINTS if name in ("drawing.svg", "bomb.png") else ENDPOINTS[:1]:
        assert f'"{name}"' in refused(caller, endpoint, [record, "sky"])
    caller.open_page()
    done = caller.do(caller.event("go", "click"), [None, record, "sky", "", False, None])
    assert name in done["log"][-1] and len(done["log"]) == 1
    served_again = caller.client.get(f"{API}/file={path}")
    if served_again.status_code == 200 and not name.endswith((".png", ".jpg", ".gif")):
        assert "attachment" in served_again.headers["content-disposition"], "the photo is never sent to the browser"
    assert served_again.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("tail", [b"<script>alert(1)</script>", b"PK\x03\x04 and a zip", b"%PDF-1.4"])
def test_data_after_the_pixels_of_a_photo_is_dropped(caller: Caller, tail: bytes) -> None:
    path = caller.upload("both.png", png(50, 30) + tail)
    found = caller.segment(path, "sky: stuff")
    assert found.labels == {"sky"}
    for file in found.files:
        assert tail not in caller.client.get(file["url"]).content
    shown = caller.client.get(f"{API}/file={path}")
    assert (shown.headers["content-type"], shown.headers["x-content-type-options"]) == ("image/png", "nosniff")


def test_bodies_have_a_size_limit(caller: Caller) -> None:
    big = caller.client.post(f"{API}/upload", files={"files": ("big.png", png() + bytes(UPLOAD_BYTES), "image/png")})
    assert big.status_code == 413 and "33 MB" in big.json()["detail"]
    words = {"data": ["x" * (BODY_BYTES + 1)]}
    for route in ("call/segment", "queue/join", "cancel"):
        answer = caller.client.post(f"{API}/{route}", json=words)
        assert answer.status_code == 413 and "8 MB" in answer.json()["detail"]
    assert "at most 400,000" in refused(caller, "segment", [record_of(caller), "x, " * 200_000])
    assert "at most 20,000" in refused(caller, "segment", [record_of(caller), "; ".join(map(str, range(20_001)))])


# Files


def secret_paths(page: Page) -> list[str]:
    weights = ROOT / "assets/weights/eovseg-xs.safetensors"
    files = [ROOT / "pyproject.toml", ROOT / "app/page.py", weights, ROOT / ".git/config", Path("/etc/passwd")]
    session = page.store.open(None, page.start)
    files += session.save()  # in the store's folder, not in the upload folder
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
                for route in (f"{API}/file=", "file=", f"{API}/file/", "static/"):
                    answer = client.get(route + form.replace("\0", "%00"))
                    assert answer.status_code in (403, 404), (route, form)
                    plain(answer)
        example = client.get(f"{API}/file={example_paths()[0]}")
        assert example.status_code == 200 and example.headers["content-type"] == "image/jpeg", "a control"


def test_links_in_the_upload_folder_are_not_followed(caller: Caller) -> None:
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
    assert len(own.parent.name) >= 64, "the folder's name is a keyed hash of the content"
    for guess in (folder / "secret.png", own.parent / "secret.png", folder / own.name, folder / "*" / "secret.png"):
        assert caller.client.get(f"{API}/file={guess}").status_code == 403
    for session in (other.session, "", "*"):
        answer = caller.client.get("gradio_api/deep_link", params={"session_hash": session})
        assert answer.status_code == 404


def test_a_session_cannot_be_used_by_others(caller: Caller, server: tuple[str, Page]) -> None:
    other = Caller(server[0])
    other.open_page()
    secret = other.read_pressed([other.press(other.upload("mine.png", png(44)), "secret: stuff")])[0]
    assert secret is not None and secret["segments"][0]["label"] == "secret"
    caller.open_page()
    for key in list(server[1].store._sessions):  # of no use: Gradio keeps the keys on the server
        done = caller.do(caller.event("stage", "request_photo"), [key])
        assert "secret" not in json.dumps(done["output"]["data"])


@pytest.mark.parametrize("route", [
    "runs", "gradio_api/runs", "monitoring", "monitoring/summary", "gradio_api/run-history/records",
    "gradio_api/proxy=http://127.0.0.1:1/", "gradio_api/dev/reload", "gradio_api/deep_link?session_hash=x",
    "gradio_api/vibe-code/", "gradio_api/stream/x/y/z/playlist.m3u8", "gradio_api/component_server",
    "gradio_api/run/segment", "gradio_api/api/segment",
])  # fmt: skip
def test_unused_routes_are_closed(caller: Caller, route: str) -> None:
    answer = caller.client.get(route)
    assert answer.status_code == 404 and "nothing at this address" in answer.json()["detail"]


def test_the_server_fetches_no_urls(caller: Caller) -> None:
    for url in ("http://169.254.169.254/latest", "https://example.com/x.png", "file:///etc/passwd", "ftp://x/y"):
        assert caller.client.get(f"{API}/file={url}").status_code == 403
        for record in ({"path": url}, {"url": url}, {"path": "", "url": url}, {"path": url, "meta": META}, url):
            assert refused(caller, "segment", [record, "sky"])
