"""Options of `eovseg page` for a password, a reverse proxy and a public link."""

import http.server
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file

from eovseg.assets import asset_path
from tests.app.conftest import serving
from tests.app.gradio_calls import Caller


def test_auth_asks_for_name_and_password(tmp_path: Path) -> None:
    with serving(auth=("ada", "secret")) as demo:
        stranger = Caller(demo.local_url)
        for route in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"):
            assert stranger.client.get(route).status_code == 401
        assert stranger.client.get(f"gradio_api/file={asset_path('photos/bear.jpg')}").status_code == 401
        assert stranger.join_segment("x", "sky").status_code == 401
        assert stranger.client.post("gradio_api/upload", files={"files": b"x"}).status_code == 401
        wrong = stranger.client.post("login", data={"username": "ada", "password": "wrong"})
        assert wrong.status_code == 400
        assert stranger.client.post("login", data={"username": "ada", "password": "secret"}).status_code == 200
        assert stranger.segment(stranger.photo(40, 30), "sky: stuff").labels == {"sky"}
        client = Client(demo.local_url, auth=("ada", "secret"), verbose=False, httpx_kwargs={"timeout": 60})
        found, _ = client.predict(handle_file(asset_path("photos/bear.jpg")), "sky: stuff", api_name="/segment")
        assert [segment["label"] for segment in found["segments"]] == ["sky"]
        client.close()


class Proxy(http.server.BaseHTTPRequestHandler):
    """A reverse proxy that serves another server under /eovseg and strips that prefix."""

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
    with serving(root_path="/eovseg") as demo:
        proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        Proxy.target = demo.local_url
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
    with serving(share=True) as demo:
        caller = Caller(demo.local_url)
        assert caller.segment(caller.photo(40, 30), "sky: stuff").labels == {"sky"}
