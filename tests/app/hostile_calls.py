"""Shared by the tests of hostile visitors: a photo, and checks of an answer."""

import io
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.app.gradio_calls import API, Caller

ROOT = Path(__file__).parent.parent.parent
EVIL = "<img src=x onerror=alert(1)>"
META = {"_type": "gradio.FileData"}
ENDPOINTS = ("segment", "vas", "tdee", "clustering", "decoder", "speed")


def png(width: int = 40, height: int = 30) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def plain(answer: httpx.Response) -> None:
    """Asserts that an answer is no server error and has no traceback, source line or path of the server's code."""
    assert answer.status_code < 500, answer.text[:300]
    for trace in ("Traceback", 'File "', "site-packages", str(ROOT / "app")):
        assert trace not in answer.text, answer.text[:300]


def refused(caller: Caller, endpoint: str, data: list[Any]) -> str:
    """The sentence with which a call is refused; missing values are filled in."""
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


def record_of(caller: Caller) -> dict[str, Any]:
    return {"path": caller.upload("p.png", png()), "meta": META}
