"""Advice about words on the page: suggested words, a check of the list, and what would rename the pinned segment."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.editor import items, with_reference
from app.inputs import box_request, whole
from app.page import MODEL, PRIVATE
from app.session import Session, network_segment
from eovseg.errors import EovsegError
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from app.layout import Parts
    from app.page import Page
    from eovseg.advice.suggest import Suggestion

SUGGESTED = 20
_ENDED = "() => document.dispatchEvent(new CustomEvent('eovseg-advised', {{detail: '{name}'}}))"


def wire(page: "Page", part: gr.HTML, parts: "Parts", heavy: dict[str, Any], after: dict[str, Any]) -> None:
    """Connects events to callbacks; `heavy` and `after` are the event options for a new result."""
    model = {**MODEL, **PRIVATE}
    given, hidden = [parts.session, parts.words], {**PRIVATE, "show_progress": "hidden"}
    filled = part.suggest(page.callback(suggested, 2), given, [parts.words, part], show_progress="hidden", **model)
    filled.then(page.show, **heavy).then(**after)
    check = part.check(page.callback(checked, 1), given, part, show_progress="hidden", **model)
    # A check applies to one photo, list and model, so it disappears when any of them changes.
    for changed in (
        parts.photo.change, parts.preset.change, parts.competes.change, parts.panel.adjust, parts.panel.model,
        parts.go.click, parts.words.submit,
    ):  # fmt: skip
        changed(None, None, part, js="() => ({kind: 'changed'})", **hidden)
    parts.words.change(None, None, part, js="() => ({kind: 'words'})", **hidden)

    def changes(key: str | None, event: gr.EventData) -> Any:
        return page.callback(lambda session: (changes_value(session, whole(event, "segment")),), 1)(key)

    found = part.find_changes(changes, parts.session, part, show_progress="hidden", trigger_mode="always_last", **model)
    # A request may fail, so its button waits for the end of the request and not for a value.
    for name, request in (("suggest", filled), ("check", check), ("change", found)):
        request.then(None, None, None, js=_ENDED.format(name=name), **hidden)


def suggested(session: Session, text: str) -> tuple[str, dict[str, Any]]:
    """The text in the word box with the nouns appended that are most likely in the session's photo."""
    text = text if isinstance(text, str) else ""
    listed = {name.casefold() for name in items(text)}
    for one in session.predictor.suggest(session.shown.image, SUGGESTED):
        if listed.isdisjoint(name.casefold() for name in one.names):
            text = with_reference(text, text_of([one]))
    return text, {"kind": "suggested", "revision": session.revision}


def text_of(found: "Sequence[Suggestion]") -> str:
    """Suggestions as a visitor would type them, with `: thing` or `: stuff` where the default kind would be wrong."""
    words = []
    for one in found:
        kind = "thing" if one.is_thing else "stuff"
        assumed = Vocabulary.parse(one.word).classes[0].is_thing
        words.append(one.word if assumed == one.is_thing else f"{one.word}: {kind}")
    return "; ".join(words)


def checked(session: Session, text: str) -> tuple[dict[str, Any]]:
    """Checks the words in the box against the session's photo; also returns words to add, or says what is wrong."""
    value: dict[str, Any] = {"kind": "check", "text": text, "add": []}
    try:
        request = box_request(session, text)
        found = session.predictor.doctor(session.shown.image, request.words, request.settings)
    except EovsegError as error:
        return (value | {"sentences": [str(error)]},)
    sentences = found.lines()[:-1] if found.add else found.lines()
    return (value | {"sentences": sentences, "add": [text_of([one]) for one in found.add]},)


def changes_value(session: Session, segment_id: int) -> dict[str, Any]:
    """The smallest changes that rename a segment; {} if the result has no segment with this id.

    A corrected segment, or a part that was split off, stands for the network's segment of the same kernel, and `label`
    is that segment's.
    """
    result, request = session.shown, session.asked
    place = next((place for place, segment in enumerate(result.segments) if segment.id == segment_id), None)
    if place is None:
        return {}
    own = network_segment(session, place)
    found = session.predictor.counterfactuals(
        result.image, request.words, own.id, background=request.background, settings=request.settings
    )
    return {
        "kind": "changes",
        "segment": segment_id,
        "revision": session.revision,
        "label": own.label,
        "sentences": [one.sentence for one in found],
    }
