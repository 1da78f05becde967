"""Advice about words on the page: suggested words, a check of the list, and what would rename the pinned segment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.page import MODEL, PRIVATE, whole
from app.session import Session
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from app.layout import Parts
    from app.page import Page
    from eovseg.advice.suggest import Suggestion

SUGGESTED = 20


def wire(page: "Page", part: gr.HTML, parts: "Parts", heavy: dict[str, Any], after: dict[str, Any]) -> None:
    """Connects events to callbacks; `heavy` and `after` are the event options for a new result."""
    model = {**MODEL, **PRIVATE}
    filled = part.suggest(
        page.callback(suggested, 2), parts.session, [parts.words, part], show_progress="hidden", **model
    )
    filled.then(page.show, **heavy).then(**after)
    part.check(page.callback(checked, 1), parts.session, part, show_progress="hidden", **model)

    def changes(key: str | None, event: gr.EventData) -> Any:
        return page.callback(lambda session: (changes_value(session, whole(event, "segment")),), 1)(key)

    part.find_changes(changes, parts.session, part, show_progress="hidden", trigger_mode="always_last", **model)


def suggested(session: Session) -> tuple[str, dict[str, Any]]:
    """Text for the word box: the nouns that are most likely in the session's photo."""
    found = session.predictor.suggest(session.shown.image, SUGGESTED)
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
    found = session.predictor.doctor(session.shown.image, session.asked.words, session.asked.settings)
    return (
        {
            "kind": "check",
            "sentences": found.lines()[:-1] if found.add else found.lines(),
            "add": [text_of([one]) for one in found.add],
        },
    )


def changes_value(session: Session, segment_id: int) -> dict[str, Any]:
    """The smallest changes that rename a segment; {} if the result has no segment with this id."""
    result, request = session.shown, session.asked
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
