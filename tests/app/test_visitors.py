"""`python -m app` as a process: many simultaneous visitors, its options, its start and its end."""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.__main__ import AUTH_VARIABLE, credentials, main, parser
from app.limits import LARGE_MODEL_SESSIONS, MAX_QUEUE, MAX_SESSIONS, REQUEST_SECONDS
from app.page import Page
from eovseg.model.config import variant_config
from tests.app.conftest import free_port
from tests.app.fake_predictor import FakePredictor
from tests.app.troubles import TROUBLES, trouble_of
from tests.app.visitors import ROOT, TIME_LIMIT, faults, run_visitors, running_page
from tests.app.visitors import parser as visitors_parser


@pytest.mark.slow
def test_twenty_simultaneous_visitors_with_every_kind_of_trouble() -> None:
    """A short run of `python -m tests.app.visitors`, with the checks of the long run whose report is committed."""
    with running_page("--time-limit", str(TIME_LIMIT)) as (address, process):
        found = run_visitors(address, process, 20, 60, warm_up=4)
    assert faults(found) == [], found


GOOD: dict[str, Any] = {
    "wrong": [], "requests_by_visitor": [3, 1], "troubles": dict.fromkeys(TROUBLES, 1), "memory_change": 0.02,
    "seconds_of_a_last_request": 0.4, "time_limit": TIME_LIMIT, "runs_of_many_photos": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, ""),
        ({"wrong": ["visitor 1: foreign labels"]}, "foreign labels"),
        ({"requests_by_visitor": [3, 0]}, "never got a result"),
        ({"troubles": {"left": 5}}, "never made"),
        ({"runs_of_many_photos": 0}, "many photos"),
        ({"memory_change": -0.11}, "memory changed by -11.0%"),
        ({"seconds_of_a_last_request": TIME_LIMIT + 1}, "not free"),
    ],
)
def test_faults_in_a_report_are_found(change: dict[str, Any], fault: str) -> None:
    found = faults(GOOD | change)
    assert (len(found) == 1 and fault in found[0]) if fault else found == []


@pytest.mark.slow
@pytest.mark.browser
def test_the_first_result_is_visible_within_ten_seconds(browser: Any) -> None:
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
def test_a_signal_stops_it_cleanly(number: signal.Signals, listening: bool) -> None:
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
        # A browser keeps a stream open as long as its tab exists.
        stream.enter_context(httpx.stream("GET", f"http://127.0.0.1:{port}/gradio_api/heartbeat/x", timeout=60))
        time.sleep(1)
    server.send_signal(number)
    rest, _ = server.communicate(timeout=60)
    with contextlib.suppress(httpx.TransportError):
        stream.close()
    assert "Traceback" not in rest and rest.strip().endswith("Stopped."), rest
    assert server.returncode == (0 if listening else 130)


def test_a_port_in_use_gets_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert main(["--port", str(listener.getsockname()[1])]) == 2
    said = capsys.readouterr()
    assert "cannot be served on 127.0.0.1" in said.err and len(said.err.strip().splitlines()) == 1
    assert "Loading" not in said.out, "reported before the model is loaded"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "outside 1 to 65535"),
        (["--port", "70000"], "outside 1 to 65535"),
        (["--auth", "name"], "NAME:PASSWORD"),
        (["--auth", ""], "NAME:PASSWORD"),
        (["--auth-file", "no such file"], 'auth-file "no such file" cannot be read: No such file'),
        (["--auth-file", os.devnull], "NAME:PASSWORD"),
        (["--root-path", "no slash"], "must be a path that begins with /"),
        (["--time-limit", "0"], "above 0"),
        (["--time-limit", "nan"], "above 0"),
        (["--device", "abacus"], "The device 'abacus' is not available"),
    ],
)
def test_wrong_options_get_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1


@pytest.mark.parametrize("source", ["option", "file", "environment"])
def test_the_password_has_three_sources(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AUTH_VARIABLE, raising=False)
    file = tmp_path / "password"
    file.write_bytes("\ufeffada:pass:wörd\r\nmore\n".encode())
    given = {"option": ["--auth", "ada:pass:wörd"], "file": ["--auth-file", str(file)], "environment": []}[source]
    if source == "environment":
        monkeypatch.setenv(AUTH_VARIABLE, "ada:pass:wörd")
    else:
        monkeypatch.setenv(AUTH_VARIABLE, "the option:counts")
    assert credentials(parser().parse_args(given)) == ("ada", "pass:wörd")


class Served(Exception):
    """The arguments of the call of `served`."""


@pytest.fixture
def asked_to_serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Page, dict[str, Any]]]:
    """Runs `main` with the fake predictor until it would serve the page; returns page and options."""

    def refuse(page: Page, **options: Any) -> None:
        raise Served(page, options)

    def load(variant: str | None, *_: object) -> FakePredictor:
        return FakePredictor(config=variant_config(variant or "xs"))

    monkeypatch.setattr("app.server.served", refuse)
    monkeypatch.setattr("eovseg.loading.load", load)

    def run(*arguments: str) -> tuple[Page, dict[str, Any]]:
        with pytest.raises(Served) as found:
            main(arguments)
        page, options = found.value.args
        return page, options

    return run


def test_gradio_does_not_advertise_its_own_options(asked_to_serve: Callable[..., tuple[Page, dict[str, Any]]]) -> None:
    assert asked_to_serve()[1]["quiet"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no /dev/fd")
def test_the_password_may_come_from_a_pipe(asked_to_serve: Callable[..., tuple[Page, dict[str, Any]]]) -> None:
    """As with a shell's `--auth-file <(command)`, which can be read only once."""
    reading, writing = os.pipe()
    os.write(writing, b"ada:secret\n")
    os.close(writing)
    try:
        assert asked_to_serve("--auth-file", f"/dev/fd/{reading}")[1]["auth"] == ("ada", "secret")
    finally:
        os.close(reading)


def test_xs_allows_more_sessions_than_larger_models_whatever_its_weights(
    asked_to_serve: Callable[..., tuple[Page, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked_to_serve("--checkpoint", "mine.safetensors")[0].store._limit == MAX_SESSIONS
    assert asked_to_serve("--variant", "m", "--checkpoint", "m.pth")[0].store._limit == LARGE_MODEL_SESSIONS
    manual = " ".join((ROOT / "docs" / "page.md").read_text(encoding="utf-8").split())
    assert f"At most {MAX_SESSIONS} tabs are kept, or {LARGE_MODEL_SESSIONS} where S, M or L" in manual


def test_a_malformed_password_is_refused_and_not_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(AUTH_VARIABLE, raising=False)
    assert credentials(parser().parse_args([])) is None
    for wrong in ("hidden", "", ":hidden", "hidden:"):
        monkeypatch.setenv(AUTH_VARIABLE, wrong)
        assert main([]) == 2, "an invalid variable never leaves the page without a password"
        said = capsys.readouterr().err
        assert f"{AUTH_VARIABLE} needs a name and a password" in said and "hidden" not in said
    file = tmp_path / "password"
    file.write_bytes(b"\xff\xfe")
    assert main(["--auth-file", str(file)]) == 2 and "UTF-8" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser().parse_args(["--auth", "a:b", "--auth-file", "f"])


@pytest.mark.parametrize("name", ["page-soak", "page-soak-many"])
def test_the_manual_agrees_with_the_reports_of_the_load_tests(name: str) -> None:
    report = json.loads((ROOT / f"assets/evaluation/{name}.json").read_text(encoding="utf-8"))
    manual = " ".join((ROOT / "docs" / "page.md").read_text(encoding="utf-8").split())
    said = re.search(
        r"(\d+) minutes, (\d+) results, none mixed up, memory ([+−-][\d.]+) %, requests that failed: (\d+)"
        rf"(?:(?!requests that failed).)*?/{name}\.json.*?"
        r"`OMP_NUM_THREADS=(\d+) python -m tests\.app\.visitors ([^`]*)`",
        manual,
    )
    assert said is not None
    minutes, results, memory, failed, threads, options = said.groups()
    given = visitors_parser().parse_args(options.split())
    assert int(results) == report["requests"] == sum(report["requests_by_visitor"])
    assert float(memory.replace("−", "-")) == pytest.approx(report["memory_change"] * 100, abs=0.05)
    assert int(failed) == len(report["wrong"])
    assert [text for text in report["wrong"] if "foreign" in text or "another photo" in text] == []
    assert report["seconds_of_a_last_request"] < report["time_limit"], "a free model at the end"
    if many := re.search(r"(\d+) runs of the tab", manual[said.start() : said.end()]):
        assert int(many[1]) == report["runs_of_many_photos"] >= 1
    # The manual gives the command that made the report.
    assert (given.visitors, given.time_limit) == (report["visitors"], report["time_limit"])
    assert given.seconds == 60 * int(minutes) <= report["seconds"] < given.seconds + 300
    assert report["options"].endswith(f"OMP_NUM_THREADS={threads}")
    ordinary = [
        sum(trouble_of(place, turn) is None for place in range(given.visitors) for turn in range(turns))
        for turns in (given.warm_up - 1, given.warm_up)
    ]
    assert ordinary[0] < report["warm_up_requests"] <= ordinary[1]


class Refusing(http.server.BaseHTTPRequestHandler):
    """A proxy that answers every request with 503."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(503)

    do_HEAD = do_POST = do_CONNECT = do_GET

    def log_message(self, *_: Any) -> None:
        pass


STARTED = """
import os, sys
from app.page import Page
from app.server import served
from tests.app.fake_predictor import FakePredictor
before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
with served(Page(FakePredictor()), server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True):
    print("up", before == {name: os.environ.get(name) for name in before})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "proxy",
    [
        {"http_proxy": "http://127.0.0.1:9"},
        {"http_proxy": "503", "HTTP_PROXY": "503"},
        {"ALL_PROXY": "503", "NO_PROXY": "example.com"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"http_proxy": "what://is/this"},
    ],
    ids=lambda proxy: " ".join(f"{name}={value}" for name, value in proxy.items()),
)
def test_the_page_does_not_call_itself_through_a_proxy(proxy: dict[str, str]) -> None:
    Refusing.asked.clear()
    refusing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=refusing.serve_forever, daemon=True).start()
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    environment = {name: value for name, value in os.environ.items() if name.lower() not in names}
    environment |= {k: f"http://127.0.0.1:{refusing.server_port}" if v == "503" else v for k, v in proxy.items()}
    done = subprocess.run(
        [sys.executable, "-c", STARTED, str(free_port())],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    refusing.shutdown()
    assert (done.returncode, done.stdout.split()) == (0, ["up", "True"]), done.stderr
    assert Refusing.asked == [] and "Traceback" not in done.stderr
    unusable = any(value.startswith(("socks5", "what")) for value in proxy.values())
    assert ("cannot be used and is ignored" in done.stderr) == unusable


def test_mcp_names_the_missing_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--mcp"]) == 2
    assert 'pip install "gradio[mcp]"' in capsys.readouterr().err


def test_help_lists_the_limits() -> None:
    text = " ".join(parser().format_help().split())
    for limit in ("32MB", "64 million pixels", "20,000 words", f"{MAX_QUEUE} waiting", f"{REQUEST_SECONDS:g} seconds"):
        assert limit in text, limit
