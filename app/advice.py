"""Advice about words on the page: suggested words, a check of the list, and what would rename the pinned segment."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.session import Session
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from app.layout import Parts
    from app.page import Page
    from eovseg.advice.suggest import Suggestion

_HERE = Path(__file__).parent
SUGGESTED = 20
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


def build() -> gr.HTML:
    """The two buttons below the words, with the area for their results."""
    return gr.HTML(
        {},
        html_template=(_HERE / "advice.html").read_text(encoding="utf-8"),
        js_on_load=(_HERE / "advice.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="advice",
    )


def wire(page: "Page", part: gr.HTML, parts: "Parts", heavy: dict[str, Any], after: dict[str, Any]) -> None:
    """Connects events to callbacks; `heavy` and `after` are the event options for a new result."""
    model: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, **PRIVATE}
    filled = part.suggest(
        page.callback(suggested, 2), parts.session, [parts.words, part], show_progress="hidden", **model
    )
    filled.then(page.show, **heavy).then(**after)
    part.check(page.callback(checked, 1), parts.session, part, show_progress="hidden", **model)

    def changes(key: str | None, event: gr.EventData) -> Any:
        number = getattr(event, "segment", None)
        segment = number if isinstance(number, int) and not isinstance(number, bool) else 0
        return page.callback(lambda session: (changes_value(session, segment),), 1)(key)

    part.find_changes(changes, parts.session, part, show_progress="hidden", trigger_mode="always_last", **model)


def suggested(session: Session) -> tuple[str, dict[str, Any]]:
    """Text for the word box: the nouns that are most likely in the session's photo."""
    assert session.result is not None
    found = session.predictor.suggest(session.result.image, SUGGESTED)
    return text_of(found), {"kind": "suggested", "revision": session.revision}


def text_of(found: "Sequence[Suggestion]") -> str:
    """Suggestions as a visitor would type them, with `: thing` or `: stuff` where the default kind would be wrong."""
    words = []
    for one in found:
        kind = "thing" if one.is_thing else "stuff"
        assumed = Vocabulary.parse(one.word).classes[0].is_thing
        words.append(one.word if assumed == one.is_thing else f"{one.word}: {kind}")
    return "; ".join(words)


def checked(session: Session) -> tuple[dict[str, Any]]:
    """Checks the session's words against its photo; also returns words to add."""
    assert session.result is not None and session.request is not None
    found = session.predictor.doctor(session.result.image, session.request.words, session.request.settings)
    return (
        {
            "kind": "check",
            "sentences": found.lines()[:-1] if found.add else found.lines(),
            "add": [text_of([one]) for one in found.add],
        },
    )


def changes_value(session: Session, segment_id: int) -> dict[str, Any]:
    """The smallest changes that rename a segment; {} if the result has no segment with this id."""
    result, request = session.result, session.request
    assert result is not None and request is not None
    if all(segment.id != segment_id for segment in result.segments):
        return {}
    found = session.predictor.counterfactuals(
        result.image, request.words, segment_id, background=request.background, settings=request.settings
    )
    return {
        "kind": "changes",
        "segment": segment_id,
        "revision": session.revision,
        "sentences": [one.sentence for one in found],
    }
