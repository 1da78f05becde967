"""Words by example on the page: made from pinned segments, kept in a session, saved to files and loaded from them.

The files are small, so they are embedded in the page and never stored on the server's disk.
"""

import base64
import binascii
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.editor import with_reference, without_reference
from app.inputs import whole
from app.limits import REMEMBERED_WORDS
from app.page import MODEL, PRIVATE
from app.session import Session, exclusive
from eovseg.errors import ConfigError, VocabularyError
from eovseg.word import MAX_BYTES, MAX_EXAMPLES, SUFFIX, Word

if TYPE_CHECKING:
    from app.layout import Parts
    from app.page import Page

_HIDDEN = {**PRIVATE, "show_progress": "hidden"}


def wire(page: "Page", parts: "Parts") -> None:
    """Connects events to callbacks; each of them updates the list and the words."""

    def made(session: Session, text: str, event: gr.EventData) -> tuple[Any, ...]:
        word = remember(session, whole(event, "segment"), getattr(event, "name", None))
        count = f"{len(word.examples)} example" + ("s" if len(word.examples) > 1 else "")
        gr.Info(
            f"“{html.escape(word.name)}” was added to your words as {html.escape(word.reference)} ({count}). "
            "Press Segment to use it."
        )
        return value(session), with_reference(text, word.reference)

    def loaded(session: Session, text: str, event: gr.EventData) -> tuple[Any, ...]:
        word = load(session, getattr(event, "name", None), getattr(event, "data", None))
        return value(session), with_reference(text, word.reference)

    def forgotten(session: Session, text: str, event: gr.EventData) -> tuple[Any, ...]:
        reference = str(getattr(event, "reference", ""))[:300]
        with exclusive(session):
            session.words.pop(reference.casefold(), None)
        return value(session), without_reference(text, reference)

    both = [parts.remembered, parts.words]
    given = [parts.session, parts.words]
    parts.correct.remember(page.callback(made, 2), given, both, **MODEL, **_HIDDEN)
    parts.remembered.load_word(page.callback(loaded, 2, page.side_pool), given, both, **_HIDDEN)
    parts.remembered.forget(page.callback(forgotten, 2, page.side_pool), given, both, **_HIDDEN)


def value(session: Session) -> dict[str, Any]:
    """The data for app/remembered.js: name, number of examples and file of each word."""
    return {
        "words": [
            {
                "reference": word.reference,
                "name": word.name,
                "examples": len(word.examples),
                "variant": word.variant.upper(),
                "file": base64.b64encode(word.to_bytes()).decode("ascii"),
            }
            for word in session.words.values()
        ]
    }


def remember(session: Session, segment: int, name: object) -> Word:
    """Makes a word by example from a segment of the session's result, or adds an example to the word of this name.

    Raises `EovsegError` for an invalid name, an unknown segment, and too many words or examples.
    """
    if not isinstance(name, str) or not name.strip():
        raise VocabularyError("Give the word a name, such as “our mug”.")
    with exclusive(session):
        result = session.shown
        place = next((i for i, one in enumerate(result.segments) if one.id == segment), None)
        if place is None:
            raise ConfigError("First click the segment that you want to remember.")
        known = session.words.get(_key(name))
        if known is not None and len(known.examples) >= MAX_EXAMPLES:
            raise ConfigError(f"A word has at most {MAX_EXAMPLES} examples; remember this one under another name.")
        is_thing = result.segments[place].is_thing
        word = session.predictor.word_from(name[:300], session.image_state, result.mask(place), is_thing, known)
        return _keep(session, word)


def load(session: Session, name: object, data: object) -> Word:
    """Loads the word of an uploaded `.word` file, with its content `data` in base64; raises `VocabularyError`."""
    file_name = Path(str(name)[:200]).name
    if not file_name.lower().endswith(SUFFIX):
        raise VocabularyError(f'"{file_name[:60]}" is not a word by example; choose a file that ends in {SUFFIX}.')
    if not isinstance(data, str) or len(data) > MAX_BYTES * 4 // 3:
        raise VocabularyError(
            f'"{file_name[:60]}" is larger than {MAX_BYTES // 1_000_000} MB, so it is not a word by example.'
        )
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VocabularyError(f'"{file_name[:60]}" was damaged during the upload; load it again.') from error
    with exclusive(session):
        return _keep(session, Word.from_bytes(content, file_name[:60]))


def _keep(session: Session, word: Word) -> Word:
    """Keeps a word under its default file name, whatever the name of the uploaded file."""
    word = word.called(word.file_name)
    key = word.reference.casefold()
    if key not in session.words and len(session.words) >= REMEMBERED_WORDS:
        raise ConfigError(f"At most {REMEMBERED_WORDS} words by example can be kept; forget one first.")
    session.words[key] = word
    return word


def _key(name: str) -> str:
    return Word.file_name_of(name).casefold()
