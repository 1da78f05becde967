"""Trouble while others use the page: refused requests, visitors who leave, time limits and cut connections.

Each function causes one kind of trouble and raises `AssertionError` if the page handles it wrongly.
"""

import itertools
import socket
import struct
import time
from collections.abc import Callable

import httpx

from app.limits import MAX_TEXT
from eovseg.word_lists import MAX_WORD_CHARACTERS
from tests.app.gradio_calls import API, Caller

_CUT = struct.pack("ii", 1, 0)  # SO_LINGER: close resets the connection
_new = itertools.count()  # no two slow requests share a word, because it would be cached


def refused(caller: Caller, path: str) -> None:
    """Four requests with different errors get one sentence each."""
    junk = caller.upload("junk.png", b"this is no picture", "image/png")
    for photo, words, sentence in ((junk, "sky", "junk.png"), (path, "x" * (MAX_TEXT + 1), "at most 400,000")):
        said = caller.segment(photo, words).error
        assert sentence in said, said or "it was answered"
    short = caller.client.post(f"{API}/call/segment", json={"data": [path, "sky"]})
    short.raise_for_status()
    name, value = caller.read_call("segment", short.json()["event_id"])
    assert name == "error" and "takes 13 values, not 2" in value["error"], value
    assert caller.client.get("monitoring").status_code == 404


def left(caller: Caller, path: str) -> None:
    """Another visitor sends a request, listens for a moment and disconnects."""
    joined = caller.join_segment(path, "left; alone")
    joined.raise_for_status()
    with caller.client.stream("GET", f"{API}/call/segment/{joined.json()['event_id']}", timeout=30):
        time.sleep(0.3)


def killed(caller: Caller, path: str) -> None:
    """Three connections are reset: during an upload, during a request, and during an answer."""
    joined = caller.join_segment(path, "killed")
    joined.raise_for_status()
    heads = (
        f"POST /{API}/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        "Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; "
        'name="files"; filename="a.png"\r\n\r\nhalf',
        f"POST /{API}/call/segment HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        'Content-Length: 5000\r\n\r\n{"data": [',
        f"GET /{API}/call/segment/{joined.json()['event_id']} HTTP/1.1\r\nHost: x\r\n\r\n",
    )  # fmt: skip
    address = caller.client.base_url
    for head in heads:
        with socket.create_connection((address.host, address.port or 80), timeout=30) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CUT)
            line.sendall(head.encode())
            time.sleep(0.1)


def timed_out(caller: Caller, path: str) -> None:
    """A request with more new words than can be encoded within the time limit gets the sentence about the limit."""
    start = f"{next(_new)} {time.time_ns()} "
    count = (MAX_TEXT - 1000) // (MAX_WORD_CHARACTERS + 2)
    words = "; ".join(f"{start}{number} {'very ' * 20}"[:MAX_WORD_CHARACTERS].strip() for number in range(count))
    said = caller.segment(path, words)
    assert "longer than the" in said.error, said.error or "it was answered in time"


TROUBLES: dict[str, Callable[[Caller, str], None]] = {
    "refused": refused, "left": left, "killed": killed, "timed_out": timed_out,
}  # fmt: skip
_EVERY = {"refused": (10, 3), "left": (10, 5), "killed": (10, 7), "timed_out": (60, 9)}  # period, turn


def trouble_of(place: int, turn: int) -> str | None:
    """The trouble that visitor `place` makes at this `turn`, None for an ordinary turn; visitors take turns with it."""
    for name, (period, at) in _EVERY.items():
        if (turn + 7 * place) % period == at:
            return name
    return None


def make_trouble(name: str, address: str, path: str) -> None:
    """Runs one of `TROUBLES` on separate connections, so that the visitor's own session is not affected."""
    with httpx.Client(base_url=address, timeout=300, trust_env=False) as client:
        TROUBLES[name](Caller(address, client), path)
