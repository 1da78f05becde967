"""Pictures with a subject below the result: their previews and their files."""

import tempfile
from collections.abc import Collection
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from app.page import COMPOSE, PRIVATE
from app.pictures import data_address, downscaled
from app.session import Session, exclusive
from eovseg.errors import ConfigError
from eovseg.formats import PICTURES
from eovseg.formats.photo import PhotoFile, png_bytes
from eovseg.formats.pictures import DRAWN
from eovseg.result import Result
from eovseg.stems import clean_stem

if TYPE_CHECKING:
    from app.page import Page

SIDE = 420  # longer side of a preview, pixels
TITLES = {
    "cutouts": ("Cut out", "A transparent PNG", "A ZIP with a transparent PNG for each segment"),
    "spotlight": ("Spotlight", "The rest is dark", "The rest is dark"),
    "blurred": ("Blurred background", "The rest is blurred", "The rest is blurred"),
    "grey": ("Grey background", "The rest is grey", "The rest is grey"),
    "outlines": ("Outlines", "Only the lines, of all segments", "Only the lines, of all segments"),
}  # title, note for a pinned segment, note for all
assert TITLES.keys() == PICTURES.keys()


def subject_value(session: Session) -> dict[str, Any]:
    """The data for app/subject.js: the name of the subject and a preview of each picture; `{}` if nothing was found.

    The subject is the pinned segment, or `Result.subject_ids` if none is pinned.
    """
    with exclusive(session):
        result, pinned = session.shown, session.chosen
    ids, name = _subject_of(result, pinned)
    if not ids:
        return {}
    small = downscaled(result, SIDE)
    items = []
    for kind, (title, of_one, of_all) in TITLES.items():
        picture = small.cutout(ids) if kind == "cutouts" else DRAWN[kind](small, ids)
        items.append(
            {
                "kind": kind,
                "title": title,
                "note": of_one if name else of_all,
                "source": data_address(picture, "WEBP", quality=80) if kind in ("cutouts", "outlines")
                else data_address(picture, "JPEG", quality=84),
            }
        )  # fmt: skip
    things = bool([segment for segment in result.named if segment.is_thing])
    return {"name": name, "all": "all things" if things else "all segments", "items": items}


def picture_file(session: Session, kind: object, folder: Path) -> Path:
    """Writes a picture of the session's result to `folder`, named as by `eovseg segment --write KIND`.

    Raises `ConfigError` if there is no such kind or no segment.
    """
    if not isinstance(kind, str) or kind not in PICTURES:
        raise ConfigError(f"Choose one of these pictures: {', '.join(form.title for form in PICTURES.values())}.")
    with exclusive(session):
        result, pinned = session.shown, session.chosen
    ids, name = _subject_of(result, pinned)
    if not ids:
        raise ConfigError("This result has no segments, so there is no subject.")
    stem = clean_stem(PurePath(result.name).stem)
    if not name:
        path = folder / PICTURES[kind].path.replace("*", stem)
        path.write_bytes(PICTURES[kind].content(result, PhotoFile(result.name), path))
        return path
    picture = result.cutout(ids) if kind == "cutouts" else DRAWN[kind](result, ids)
    of_whom = "" if kind == "outlines" else f"-{clean_stem(name)}"
    path = folder / f"{stem}{of_whom}-{'cutout' if kind == 'cutouts' else kind}.png"
    path.write_bytes(png_bytes(picture))
    return path


def wire(page: "Page", session: gr.State, part: gr.HTML, file: gr.File, save_script: str) -> None:
    """Connects the events of app/subject.js: `preview` when the pictures are opened, `save_picture` on a click."""
    private = {**PRIVATE, **COMPOSE}

    def preview(key: str | None) -> Any:
        return page.callback(lambda session: (subject_value(session),), 1, page.side_pool)(key)

    def save(key: str | None, event: gr.EventData) -> Any:
        return page.callback(partial(_save_picture, kind=getattr(event, "kind", None)), 1, page.side_pool)(key)

    part.preview(preview, session, part, show_progress="hidden", trigger_mode="always_last", **private)
    saved = part.save_picture(save, session, file, show_progress="hidden", **private)
    saved.then(None, file, None, js=save_script, **PRIVATE)


def _save_picture(session: Session, kind: object) -> tuple[str]:
    with tempfile.TemporaryDirectory(prefix="eovseg-") as folder:
        return (save_file_to_cache(picture_file(session, kind, Path(folder)), get_upload_folder()),)


def _subject_of(result: Result, pinned: int | None) -> tuple[Collection[int], str]:
    """The segment ids of the subject, and its name if it is the pinned segment."""
    for segment, name in zip(result.named, result.names, strict=False):
        if segment.id == pinned:
            return [segment.id], name
    return result.subject_ids(), ""
