"""Load test: twenty simultaneous visitors of a real server of the page, `python -m tests.app.visitors --out FILE`.

Each visitor has their own session, a photo of a unique size and colour, and words that nobody else uses. Half of them
use the page's private events, half the public endpoint. Every answer is checked against what that visitor sent. A third
of the turns are trouble (tests/app/troubles.py): refused requests, leaving, time limits and cut connections.
"""

import argparse
import base64
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from app.janitor import ROUND_SECONDS
from eovseg.assets import asset_path
from eovseg.vocabulary import Vocabulary
from tests.app.conftest import free_port
from tests.app.gradio_calls import TIMEOUT, Caller
from tests.app.troubles import TROUBLES, make_trouble, trouble_of

ROOT = Path(__file__).parent.parent.parent
TIME_LIMIT = 10.0  # seconds: an ordinary request takes about one, the one with too many words much longer
WORDS_EACH = 6
# The server closes connections after five idle seconds. httpx keeps them for the same time by default, and a request at
# that moment would be reset.
KEPT = httpx.Limits(keepalive_expiry=2)
BUSY = re.compile(r"Queue is full")


@contextmanager
def running_page(*options: str) -> Iterator[tuple[str, psutil.Process]]:
    """URL and process of `python -m app` on a free port; SIGTERM ends it."""
    port = free_port()
    command = [sys.executable, "-m", "app", "--port", str(port), *options]
    # Into a file, because a pipe that nobody reads would fill and block the server.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            address = f"http://127.0.0.1:{port}/"
            wait_until_up(address, server)
            yield address, psutil.Process(server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            log.seek(0)
            said = log.read()
            assert "Traceback" not in said, said[-3000:]


def wait_until_up(address: str, server: subprocess.Popen[str], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, server.stdout.read() if server.stdout else "the page ended during its start"
        try:
            if httpx.get(address, timeout=10, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the page did not come up")


def own_photo(place: int) -> np.ndarray:
    """An example photo (H, W, 3) uint8 in a size and a colour cast that no other visitor has."""
    files = sorted(asset_path("photos").glob("*.jpg"))
    with Image.open(files[place % len(files)]) as image:
        pixels = np.asarray(image.convert("RGB").resize((200 + 4 * place, 150 + 2 * place))).astype(np.float32)
    cast = np.random.default_rng(place).uniform(0.5, 1.0, 3)
    return (pixels * cast).astype(np.uint8)


@dataclass
class Visitor:
    """A visitor: their requests and the outcomes."""

    place: int
    caller: Caller
    words: list[str]
    pixels: np.ndarray
    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    path: str = ""
    runs: int = 0  # runs of the tab Many
    pressed: bool = False  # whether the page shows a result for this visitor's words

    def prepare(self) -> None:
        self.path = self.caller.photo(self.pixels.shape[1], self.pixels.shape[0], self.pixels)

    def visit(self, turn: int) -> None:
        """Sends a request with some of the visitor's words, or makes trouble, and checks the outcome."""
        words = self.words[turn % 3 :]
        trouble = trouble_of(self.place, turn)
        begin = time.monotonic()
        try:
            if trouble is not None:
                make_trouble(trouble, str(self.caller.client.base_url), self.path)
                self.troubles[trouble] += 1
                return
            if self.place % 2:
                self.over_the_api(words)
            elif self.place % 4 == 0 and turn % 3 == 2 and self.pressed:
                self.with_many_photos()
            else:
                self.on_the_page(words, turn)
            self.seconds.append(time.monotonic() - begin)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 503 and BUSY.search(error.response.text):
                self.refused += 1
                time.sleep(1)
            else:
                self.wrong.append(f"{trouble or 'ordinary'}: {error.response.status_code} {error.response.text[:200]}")
        except (AssertionError, OSError, httpx.TransportError, KeyError, ValueError) as error:
            self.wrong.append(f"{trouble or 'ordinary'}: {type(error).__name__} {str(error)[:200]}")

    def over_the_api(self, words: Sequence[str]) -> None:
        answer = self.caller.segment(self.path, "; ".join(words))
        self.check(answer.labels, words)
        height, width = self.pixels.shape[:2]
        assert answer.found is not None and (answer.found["width"], answer.found["height"]) == (width, height)
        overlay = next(file for file in answer.files if file["path"].endswith("overlay.png"))
        self.check_photo(self.caller.client.get(overlay["url"]).content, blended=True)

    def on_the_page(self, words: Sequence[str], turn: int) -> None:
        if turn == 0:
            self.caller.open_page()
        stage = self.caller.read_pressed([self.caller.press(self.path, "; ".join(words))])[0]
        assert stage is not None, f"nothing was shown: {self.caller.said[-1:]}"
        self.check({entry["label"] for entry in stage["segments"]}, words)
        if stage["photo"] is not None:
            self.check_photo(decoded(stage["photo"]), blended=False)
        self.check_size(decoded(stage["ids"]))
        self.pressed = True

    def with_many_photos(self) -> None:
        """Runs the tab Many on two photos, with the words of this visitor's last request."""
        files = [{"path": self.path, "name": f"{self.place}-{number}.png"} for number in range(2)]
        done = self.caller.do(self.caller.event("many", "start_run"), [None], {"files": files})
        value = done["output"]["data"][0]
        assert [card["name"] for card in value["cards"]] == [file["name"] for file in files], value["note"]
        for card in value["cards"]:
            assert "error" not in card, card
            self.check({word["word"] for word in card["words"]}, self.words)
        packed = self.caller.client.get(done["output"]["data"][1]["url"])
        packed.raise_for_status()
        with zipfile.ZipFile(io.BytesIO(packed.content)) as pack:
            self.check_photo(pack.read(f"{self.place}-1-overlay.png"), blended=True)
        self.runs += 1

    def check(self, labels: set[str], words: Sequence[str]) -> None:
        assert labels <= set(words), f"foreign labels {labels - set(words)}"

    def check_size(self, content: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(content)) as image:
            found = np.asarray(image.convert("RGB"))
        assert found.shape == self.pixels.shape, f"a photo of size {found.shape}, not {self.pixels.shape}"
        return found

    def check_photo(self, content: bytes, blended: bool) -> None:
        """Checks that an overlay or a photo belongs to this visitor; overlays keep the lightness of the photo."""
        found = self.check_size(content).astype(np.float32).mean(2)
        own = self.pixels.astype(np.float32).mean(2)
        assert np.corrcoef(found.ravel(), own.ravel())[0, 1] > (0.4 if blended else 0.98), "another photo"


def decoded(address: str) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def everyday_words(count: int) -> list[str]:
    """`count` different words from a large preset."""
    words: list[str] = []
    for entry in Vocabulary.preset("ade20k-150").classes:
        if entry.label not in words:
            words.append(entry.label)
    assert len(words) >= count
    return words[:count]


def rss(process: psutil.Process) -> int:
    """Resident bytes of the server, after an idle round of its janitor."""
    time.sleep(ROUND_SECONDS + 5)
    return int(process.memory_info().rss)


def run_visitors(
    address: str, process: psutil.Process, count: int, seconds: float, warm_up: int = 2, limit: float = TIME_LIMIT
) -> dict[str, Any]:
    """A report of `count` visitors during `seconds`, after `warm_up` turns each, with the server's memory.

    `limit` is the server's --time-limit in seconds.
    """
    pool = everyday_words(count * WORDS_EACH)
    visitors = []
    for place in range(count):
        client = httpx.Client(base_url=address, timeout=TIMEOUT, trust_env=False, limits=KEPT)
        words = pool[place * WORDS_EACH : (place + 1) * WORDS_EACH]
        visitors.append(Visitor(place, Caller(address, client), words, own_photo(place)))

    def life(visitor: Visitor, turns: Iterator[int]) -> None:
        for turn in turns:
            visitor.visit(turn)

    def all_at_once(turns: Sequence[Iterator[int]]) -> None:
        threads = [threading.Thread(target=life, args=pair) for pair in zip(visitors, turns, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for visitor in visitors:
        visitor.prepare()
    all_at_once([iter(range(warm_up)) for _ in visitors])
    warmed = sum(len(visitor.seconds) for visitor in visitors)
    for visitor in visitors:
        visitor.seconds.clear()
        visitor.troubles.clear()
        visitor.runs = 0
    before, cpu = rss(process), sum(process.cpu_times()[:2])
    begin = time.monotonic()

    def until(end: float) -> Iterator[int]:
        turn = warm_up
        while time.monotonic() < end:
            yield turn
            turn += 1

    all_at_once([until(begin + seconds) for _ in visitors])
    took = time.monotonic() - begin
    spent = sum(process.cpu_times()[:2]) - cpu
    after = rss(process)
    last = Visitor(count, Caller(address), pool[:WORDS_EACH], own_photo(count))
    last.prepare()
    last.over_the_api(last.words)  # if the model is free, it answers the first request of a new visitor
    begin = time.monotonic()
    last.over_the_api(last.words[1:])
    last_took = time.monotonic() - begin
    waits = sorted(second for visitor in visitors for second in visitor.seconds)
    return {
        "visitors": count,
        "seconds": round(took, 1),
        "time_limit": limit,
        "warm_up_requests": warmed,
        "options": "xs on the CPU, OMP_NUM_THREADS=" + os.environ.get("OMP_NUM_THREADS", "not set"),
        "requests": len(waits),
        "requests_by_visitor": [len(visitor.seconds) for visitor in visitors],
        "runs_of_many_photos": sum(visitor.runs for visitor in visitors),
        "troubles": dict(sorted(sum((visitor.troubles for visitor in visitors), Counter()).items())),
        "refused_queue_full": sum(visitor.refused for visitor in visitors),
        "wrong": [f"visitor {visitor.place}: {text}" for visitor in visitors for text in visitor.wrong],
        "seconds_median": round(statistics.median(waits), 2) if waits else None,
        "seconds_p95": round(waits[int(0.95 * (len(waits) - 1))], 2) if waits else None,
        "seconds_of_a_last_request": round(last_took, 2),
        "threads": process.num_threads(),
        "memory_mb_before": round(before / 1e6, 1),
        "memory_mb_after": round(after / 1e6, 1),
        "memory_change": round(after / before - 1, 4),
        "server_cpu_seconds": round(spent, 1),
        "cpu_cores": os.cpu_count(),
        "load_average_at_end": round(os.getloadavg()[0], 1),
    }


def faults(found: dict[str, Any]) -> list[str]:
    """The faults in a report of `run_visitors`, as sentences; empty if there are none."""
    checks = {
        f"answers were wrong: {found['wrong'][:5]}": found["wrong"] == [],
        "nobody got many photos": found["runs_of_many_photos"] >= 1,
        "a visitor never got a result": min(found["requests_by_visitor"]) >= 1,
        "a kind of trouble was never made": set(found["troubles"]) == set(TROUBLES),
        f"memory changed by {found['memory_change']:+.1%}, more than 10 %": abs(found["memory_change"]) < 0.1,
        "the model was not free at the end": found["seconds_of_a_last_request"] < found["time_limit"],
    }
    return [sentence for sentence, right in checks.items() if not right]


def parser() -> argparse.ArgumentParser:
    """The command-line options."""
    options = argparse.ArgumentParser(prog="python -m tests.app.visitors", description=__doc__)
    options.add_argument("--visitors", type=int, default=20)
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--warm-up", type=int, default=12, help="turns of each before memory is measured")
    options.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="the server's; more on a busy machine")
    options.add_argument("--out", type=Path)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the visitors and writes the report; returns 1, after printing the faults, if there are any."""
    given = parser().parse_args(arguments)
    with running_page("--time-limit", str(given.time_limit)) as (address, process):
        found = run_visitors(address, process, given.visitors, given.seconds, given.warm_up, given.time_limit)
    text = json.dumps(found, indent=2) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    for fault in faults(found):
        print(fault, file=sys.stderr)
    return 1 if faults(found) else 0


if __name__ == "__main__":
    sys.exit(main())
