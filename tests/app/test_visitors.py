"""The page as it is really served, `python -m app`: many visitors at once, its flags, its start and its end."""

import contextlib
import http.server
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file

from app.__main__ import main, parser
from app.limits import MAX_QUEUE, REQUEST_SECONDS
from app.page import Page
from app.server import served
from eovseg.assets import asset_path
from tests.app.conftest import free_port
from tests.app.fake_predictor import FakePredictor
from tests.app.gradio_calls import Caller
from tests.app.visitors import ROOT, run_visitors, running_page

REPORT = asset_path("evaluation/page-visitors.json")


@pytest.mark.slow
def test_twenty_visitors_at_once() -> None:
    with running_page() as (address, process):
        found = run_visitors(address, process, 20, 25, warm_up=1)
    assert found["wrong"] == []
    assert found["requests"] >= 20 and min(found["requests_by_visitor"]) >= 1, "nobody is forgotten"
    assert abs(found["memory_change"]) < 0.1, found


def test_the_two_minutes_that_were_measured() -> None:
    found = json.loads(REPORT.read_text(encoding="utf-8"))
    assert found["visitors"] == 20 and found["seconds"] >= 120 and found["wrong"] == []
    assert abs(found["memory_change"]) < 0.1


@pytest.mark.slow
@pytest.mark.browser
def test_the_first_result_is_seen_within_ten_seconds(browser: Any) -> None:
    with running_page() as (address, _):
        begin = time.monotonic()
        tab = browser.new_page()
        tab.set_default_timeout(120_000)
        tab.goto(address)
        tab.wait_for_selector(".stage[data-ready]")
        took = time.monotonic() - begin
        tab.close()
    assert took < 10, f"{took:.1f} s"


# Start and end


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("listening", [True, False])
def test_a_signal_ends_it_cleanly(number: signal.Signals, listening: bool) -> None:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "app", "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    said = ""
    while "Loading" not in said:
        said += server.stdout.readline()
    stream = contextlib.ExitStack()
    if listening:
        from tests.app.visitors import wait_until_up

        wait_until_up(f"http://127.0.0.1:{port}/", server)
        # A browser holds a stream open for as long as its tab is there.
        stream.enter_context(httpx.stream("GET", f"http://127.0.0.1:{port}/gradio_api/heartbeat/x", timeout=60))
        time.sleep(1)
    server.send_signal(number)
    rest, _ = server.communicate(timeout=60)
    with contextlib.suppress(httpx.TransportError):
        stream.close()
    assert "Traceback" not in rest and rest.strip().endswith("Stopped."), rest
    assert server.returncode == (0 if listening else 130)


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert main(["--port", str(listener.getsockname()[1])]) == 2
    said = capsys.readouterr()
    assert "cannot be served on 127.0.0.1" in said.err and len(said.err.strip().splitlines()) == 1
    assert "Loading" not in said.out, "told before the model is loaded"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "outside 1 to 65535"),
        (["--port", "70000"], "outside 1 to 65535"),
        (["--auth", "name"], "NAME:PASSWORD"),
        (["--auth", ""], "NAME:PASSWORD"),
        (["--root-path", "no slash"], "must begin with /"),
        (["--time-limit", "0"], "above 0"),
        (["--time-limit", "nan"], "above 0"),
        (["--device", "abacus"], "device='abacus' is not usable"),
    ],
)
def test_wrong_options_are_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1


def test_mcp_says_what_it_needs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--mcp"]) == 2
    assert 'pip install "gradio[mcp]"' in capsys.readouterr().err


def test_help_names_the_limits() -> None:
    text = " ".join(parser().format_help().split())
    for limit in ("32MB", "64 million pixels", "20,000 words", f"{MAX_QUEUE} waiting", f"{REQUEST_SECONDS:g} seconds"):
        assert limit in text, limit


# Flags


@contextlib.contextmanager
def fake_server(**options: Any) -> Iterator[str]:
    with served(Page(FakePredictor()), server_name="127.0.0.1", server_port=free_port(), quiet=True, **options) as demo:
        yield demo.local_url


def test_auth_asks_for_name_and_password(tmp_path: Path) -> None:
    with fake_server(auth=("ada", "secret")) as address:
        stranger = Caller(address)
        for route in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"):
            assert stranger.client.get(route).status_code == 401
        assert stranger.client.get(f"gradio_api/file={asset_path('photos/bear.jpg')}").status_code == 401
        assert stranger.join_segment("x", "sky").status_code == 401
        assert stranger.client.post("gradio_api/upload", files={"files": b"x"}).status_code == 401
        wrong = stranger.client.post("login", data={"username": "ada", "password": "wrong"})
        assert wrong.status_code == 400
        assert stranger.client.post("login", data={"username": "ada", "password": "secret"}).status_code == 200
        assert stranger.segment(stranger.photo(40, 30), "sky: stuff").labels == {"sky"}
        client = Client(address, auth=("ada", "secret"), verbose=False, httpx_kwargs={"timeout": 60})
        found, _ = client.predict(handle_file(asset_path("photos/bear.jpg")), "sky: stuff", api_name="/segment")
        assert [segment["label"] for segment in found["segments"]] == ["sky"]
        client.close()


class Proxy(http.server.BaseHTTPRequestHandler):
    """Serves another server under /eovseg, as a reverse proxy does: the prefix is taken away."""

    target = ""

    def do_GET(self) -> None:
        self.forward(None)

    def do_POST(self) -> None:
        self.forward(self.rfile.read(int(self.headers.get("content-length", 0))))

    def forward(self, body: bytes | None) -> None:
        if not self.path.startswith("/eovseg/"):
            self.send_error(404)
            return
        url = self.target.rstrip("/") + self.path.removeprefix("/eovseg")
        headers = {k: v for k, v in self.headers.items() if k.lower() in ("content-type", "cookie")}
        headers |= {"X-Forwarded-Host": self.headers["Host"], "X-Forwarded-Proto": "http"}
        try:
            answer = urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
            self.end_headers()
            while chunk := answer.read1(65536):
                self.wfile.write(chunk)
                self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


def test_root_path_behind_a_proxy() -> None:
    with fake_server(root_path="/eovseg") as address:
        proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        Proxy.target = address
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        outside = f"http://127.0.0.1:{proxy.server_port}/eovseg/"
        try:
            caller = Caller(outside)
            assert caller.client.get("").status_code == 200
            assert caller.config["root"] == outside.rstrip("/")
            assert caller.open_page()["segments"]
            found = caller.segment(caller.photo(40, 30), "sky: stuff")
            assert found.labels == {"sky"}
            assert all(file["url"].startswith(outside) for file in found.files)
            assert caller.client.get(found.files[0]["url"]).status_code == 200
            client = Client(outside, verbose=False, httpx_kwargs={"timeout": 60})
            result, _ = client.predict(handle_file(asset_path("photos/bear.jpg")), "sky: stuff", api_name="/segment")
            assert [segment["label"] for segment in result["segments"]] == ["sky"]
            client.close()
        finally:
            proxy.shutdown()


def test_share_without_a_network_still_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("gradio.networking.setup_tunnel", offline)
    with fake_server(share=True) as address:
        caller = Caller(address)
        assert caller.segment(caller.photo(40, 30), "sky: stuff").labels == {"sky"}
