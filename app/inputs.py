"""Reads what a visitor's inputs say: words, a preset, a photo, and values of the panel and of events."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from app.limits import MAX_TEXT
from app.session import Request, Session
from app.settings import read_settings
from eovseg.errors import ConfigError
from eovseg.vocabulary import Vocabulary
from eovseg.word import Word


def make_request(
    words: str, preset: str | None, competes: bool, settings: object, by_example: Mapping[str, Word] | None = None
) -> Request:
    """The request that the inputs make: words only, a preset followed by words, or words with a preset as background.

    `by_example` has the words by example that `words` may name. Raises `VocabularyError` or `ConfigError`.
    """
    for name, text in (("words", words), ("preset", preset or "")):
        if not isinstance(text, str):
            raise ConfigError(f"{name} must be text, not {type(text).__name__}.")
    if len(words) > MAX_TEXT:
        raise ConfigError(f"The words are {len(words):,} characters long; at most {MAX_TEXT:,} are allowed.")
    checked = read_settings(settings)
    listed = Vocabulary.preset(preset) if preset else None
    if listed is not None and not competes and not words.strip():
        return Request(listed, None, checked, words, preset or "")
    typed = Vocabulary.parse(words, by_example)
    if listed is None or competes:
        return Request(typed.with_synonyms(), listed, checked, words, preset or "")
    both = (listed + typed).with_synonyms(range(len(listed), len(listed) + len(typed)))
    return Request(both, None, checked, words, preset or "")


def box_request(session: Session, words: object) -> Request:
    """The session's request with the words that are in the box now. Raises `VocabularyError` or `ConfigError`."""
    asked, competes = session.asked, session.asked.background is not None
    text = words if isinstance(words, str) else asked.text
    return make_request(text, asked.preset, competes, asked.settings.given(), session.words)


def path_of(photo: object) -> str | None:
    """The path of an uploaded photo; None if there is none or a forged call sent something else."""
    path = photo.get("path") if isinstance(photo, dict) else None
    return path if isinstance(path, str) and path else None


def part_of(panel: object, name: str) -> Any:
    """A value of the settings panel; None if a forged call sent no panel."""
    return panel.get(name) if isinstance(panel, dict) else None


def whole(event: gr.EventData, name: str) -> int:
    """An integer from an event of the page; 0 if a forged call sent none."""
    value = getattr(event, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
