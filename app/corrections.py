"""Corrections of the pinned segment: rename, merge, delete, split and undo. `Result` does the work."""

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.limits import UNDO_STEPS
from app.page import COMPOSE, PRIVATE
from app.payload import stage_value
from app.session import Session, exclusive
from app.worker_pool import checkpoint
from eovseg.errors import ConfigError
from eovseg.result import Result

if TYPE_CHECKING:
    from app.layout import Parts
    from app.page import Page

_NAME = 200  # characters; longer names get the vocabulary's error message


def wire(page: "Page", parts: "Parts") -> None:
    """Connects the events. Corrections do not run the network, so they never wait for another visitor's photo."""

    def work(session: Session, event: gr.EventData) -> tuple[Any, ...]:
        return shown(session, event_values(event))

    def undo(session: Session) -> tuple[Any, ...]:
        return shown(session, {"kind": "undo"})

    def shown(session: Session, values: dict[str, Any]) -> tuple[Any, ...]:
        with exclusive(session):  # several undos may run at once; the last one's answer must be the last
            pin = correct(session, values)
            return stage_value(session, whole=False) | {"pin": pin}, page.recipe(session)

    # Every click on Undo counts; a second click on the others, such as Delete, is ignored until the answer is there.
    for event, called, mode in ((parts.correct.correct, work, "once"), (parts.correct.undo, undo, "multiple")):
        event(
            page.callback(called, 2, page.side_pool), parts.session, [parts.stage, parts.recipe],
            show_progress="hidden", trigger_mode=mode, **COMPOSE, **PRIVATE,
        )  # fmt: skip


def event_values(event: gr.EventData) -> dict[str, Any]:
    """The message of app/correct.js: `kind`, and which of `segment`, `name`, `other`, `x` and `y` this kind needs."""
    names = ("kind", "segment", "name", "other", "x", "y")
    return {name: getattr(event, name, None) for name in names}


def correct(session: Session, values: dict[str, Any]) -> int:
    """Corrects the session's result according to `values`; returns the id of the segment to pin, 0 for none.

    Raises `EovsegError` if that is impossible; the result is then unchanged.
    """
    with exclusive(session):
        result = session.shown
        if values["kind"] == "undo":
            if not session.before:
                raise ConfigError("There is no correction to undo.")
            changed, pin = session.before[-1], 0
            before = session.before[:-1]
        else:
            changed, pin = _CORRECTIONS.get(str(values["kind"]), _unknown)(result, values)
            before = (*session.before, result)[-UNDO_STEPS:]
        checkpoint()
        session.result, session.before = changed, before
        session.revision += 1
        session.chosen = pin or None
        return pin


def _unknown(result: Result, values: dict[str, Any]) -> tuple[Result, int]:
    raise ConfigError(
        f"Choose one of rename, merge, delete, split and undo, not {html.escape(str(values['kind'])[:40])}."
    )


def _integer(values: dict[str, Any], name: str) -> int:
    """An integer from a request; -1, which matches no segment and no pixel, if a forged request sent something else."""
    value = values[name]
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31 else -1


def _rename(result: Result, values: dict[str, Any]) -> tuple[Result, int]:
    name = values["name"] if isinstance(values["name"], str) else ""
    segment = _integer(values, "segment")
    return result.rename(segment, name[: _NAME + 1]), segment


def _merge(result: Result, values: dict[str, Any]) -> tuple[Result, int]:
    segment = _integer(values, "segment")
    return result.merge(segment, _integer(values, "other")), segment


def _delete(result: Result, values: dict[str, Any]) -> tuple[Result, int]:
    return result.delete(_integer(values, "segment")), 0


def _split(result: Result, values: dict[str, Any]) -> tuple[Result, int]:
    x, y = _integer(values, "x"), _integer(values, "y")
    changed = result.split(_integer(values, "segment"), x, y)
    return changed, max(segment.id for segment in changed.segments)


_CORRECTIONS: dict[str, Callable[[Result, dict[str, Any]], tuple[Result, int]]] = {
    "rename": _rename,
    "merge": _merge,
    "delete": _delete,
    "split": _split,
}
