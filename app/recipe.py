"""The calls that reproduce what the page shows: in Python, on the command line, and over the page's API."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.examples import EXAMPLES
from app.session import OPACITY, Request, Session
from app.settings import NAMES

PHOTO = "photo.jpg"
_SEGMENT, _TAB = re.compile(r"[0-9]{1,8}"), re.compile(r"[a-z][a-z ]{0,19}")
ADDRESS = "{address}"  # replaced by the page's own address in the browser


def recipe_value(session: Session, variant: str, checkpoint: str | None) -> dict[str, Any]:
    """The text of each kind of call, and the query of a link that restores the page (example photos only)."""
    request = session.asked
    photo = session.shown.name or PHOTO
    model = variant if checkpoint is None else f"{variant}:{checkpoint}"
    return {
        "python": python_call(request, photo, variant, checkpoint, session.opacity, session.shown.corrections),
        "cli": command_line(request, photo, variant, checkpoint),
        "client": client_call(request, photo),
        "curl": curl_call(request, photo),
        "link": link_query(request, photo, model),
        "shrunk": session.shrunk_from is not None,
        "corrected": bool(session.shown.corrections),
        "examples": bool(request.vocabulary.examples),
    }


def python_call(
    request: Request,
    photo: str,
    variant: str,
    checkpoint: str | None = None,
    opacity: float = OPACITY,
    corrections: Sequence[str] = (),
) -> str:
    """A script around `eovseg.load` that writes the same files; `corrections` are calls of the result's methods."""
    load = [_quoted(variant)] + ([f"checkpoint={_quoted(checkpoint)}"] if checkpoint else [])
    words = _quoted(request.text)
    if request.preset and request.background is None:
        preset = _quoted(request.preset)
        words = f"[{preset}, {words}]" if request.text.strip() else preset
    arguments = [_quoted(photo), words]
    if request.background is not None:
        arguments.append(f"background={_quoted(request.preset)}")
    arguments += [f"{name}={_literal(value)}" for name, value in request.settings.given().items()]
    lines = "".join(f"    {argument},\n" for argument in arguments)
    save = "".join(f"result = result.{call}\n" for call in corrections) + 'result.save("out")'
    if opacity != OPACITY:
        save += f'\nresult.overlay(opacity={opacity:g}).save("out/overlay.png")'
    return f"import eovseg\n\npredictor = eovseg.load({', '.join(load)})\nresult = predictor(\n{lines})\n{save}\n"


def command_line(request: Request, photo: str, variant: str, checkpoint: str | None = None) -> str:
    """The `eovseg segment` command that writes the same files."""
    parts = ["python", "-m", "eovseg", "segment", photo if not photo.startswith("-") else f"./{photo}"]
    words = [request.text] if request.text.strip() else []
    listed = [request.preset] if request.preset and request.background is None else []
    for value in (*listed, *words):
        parts += ["-v", value] if not value.startswith("-") else [f"--vocabulary={value}"]
    if request.background is not None:
        parts += ["--background", request.preset]
    for name, value in request.settings.given().items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{option}" if value else f"--no-{option}")
        else:
            parts += [f"--{option}", str(value)]
    if variant != "xs":
        parts += ["--variant", variant]
    if checkpoint:
        parts += ["--checkpoint", checkpoint]
    return shlex.join([*parts, "-o", "out/"])


def client_call(request: Request, photo: str) -> str:
    """The call of this page's API with gradio_client."""
    arguments = [f"handle_file({_quoted(photo)})", _quoted(request.text)]
    if request.preset:
        arguments.append(f"preset={_quoted(request.preset)}")
    if request.background is not None:
        arguments.append("preset_competes=True")
    for name, value in request.settings.given().items():
        arguments.append(f"{name}={_literal(str(value).lower() if isinstance(value, bool) else value)}")
    lines = "".join(f"    {argument},\n" for argument in (*arguments, 'api_name="/segment"'))
    return (
        "from gradio_client import Client, handle_file\n\n"
        f'client = Client("{ADDRESS}")\nsegments, files = client.predict(\n{lines})\n'
    )


def curl_call(request: Request, photo: str) -> str:
    """The same call over plain HTTP with curl, for a POSIX shell."""
    data: dict[str, Any] = {"photo": {"path": "PHOTO", "meta": {"_type": "gradio.FileData"}}, "words": request.text}
    if request.preset:
        data["preset"] = request.preset
    if request.background is not None:
        data["preset_competes"] = True
    data |= request.settings.given()
    body = shlex.quote(json.dumps(data, ensure_ascii=False))
    return (
        f"PAGE={ADDRESS}\n"
        f"PHOTO=$(curl -s -F files=@{shlex.quote(photo)} $PAGE/gradio_api/upload | cut -d '\"' -f 2)\n"
        f"BODY={body}\n"
        "EVENT=$(curl -s $PAGE/gradio_api/call/v2/segment -H 'Content-Type: application/json' \\\n"
        '  -d "$(printf %s "$BODY" | sed "s|PHOTO|$PHOTO|")" | cut -d \'"\' -f 4)\n'
        "curl -s -N $PAGE/gradio_api/call/v2/segment/$EVENT\n"
    )


def link_query(request: Request, photo: str, model: str) -> str:
    """The URL query that restores the page; it never contains a visitor's own photo."""
    values: dict[str, str] = {"words": request.text}
    if photo in EXAMPLES:
        values["photo"] = photo
    if request.preset:
        values["preset"] = request.preset
    if request.background is not None:
        values["competes"] = "1"
    if model != "xs":
        values["model"] = model
    return urlencode(values | {name: str(value) for name, value in request.settings.given().items()})


@dataclass(frozen=True)
class Link:
    """The request in a URL. The values are untrusted and are checked where they are used."""

    photo: str
    words: str
    preset: str
    competes: bool
    model: str | None
    settings: dict[str, str]
    tab: str = "segment"
    segment: int = 0


def read_link(query: Mapping[str, str]) -> Link | None:
    """The inverse of `link_query`, with the tab and the pinned segment that the browser adds.

    None if the URL has neither words nor a photo. An unknown photo becomes the first example; without words, they are
    those of the example; an invalid tab becomes "segment".
    """
    if "words" not in query and "photo" not in query:
        return None
    tab, segment = query.get("tab", "").lower(), query.get("segment", "")
    photo = query.get("photo", "")
    photo = photo if photo in EXAMPLES else next(iter(EXAMPLES))
    return Link(
        photo,
        query.get("words", EXAMPLES[photo]),
        query.get("preset", ""),
        query.get("competes") == "1",
        query.get("model"),
        {name: query[name] for name in NAMES if name in query},
        tab if _TAB.fullmatch(tab) else "segment",
        int(segment) if _SEGMENT.fullmatch(segment) else 0,
    )


def _literal(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A Python string literal in double quotes; JSON's escapes are valid in Python."""
    return json.dumps(text, ensure_ascii=False)
