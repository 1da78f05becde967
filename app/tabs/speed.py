"""The tab Speed: the time of each part of the network for this photo and these words, measured on the server."""

import html
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from analysis.parts import PartTimes, Step, part_times
from app.page import Page
from app.session import Session
from app.tabs import Tab
from app.tabs.pieces import Bar, bars, heading, lead, milliseconds, paragraph, percent, two_digits
from app.tabs.wiring import RUN_MODEL, Answer, add_endpoint, answer_endpoint, html_component

LEAD = (
    "A result takes three steps, and a change runs only the steps that it needs. See how long each part takes for this "
    "photo and these words, and compare with another vocabulary."
)
STEPS: dict[Step, tuple[str, str]] = {
    "photo": ("Photo", "once for each photo, whatever the words"),
    "words": ("Words", "again when the words change"),
    "result": ("Result", "again when a weight or a threshold changes; the network does not run"),
}
RUNS = 3
assert set(STEPS) == set(get_args(Step))


def measured(session: Session, runs: int) -> PartTimes:
    """The times of the parts for the session's result; the predictor's cache and counters do not change."""
    return part_times(session.predictor, session.decoded.state.image, session.decoded.vocabulary, runs)


def times_html(times: PartTimes) -> str:
    """A bar for the total, then a list of the parts of each step."""
    total = times.total
    pieces = "".join(
        f'<i class="{part.step}" style="--share: {part.milliseconds / total:.4f}" '
        f'title="{html.escape(part.name)}: {milliseconds(part.milliseconds)}"></i>'
        for part in times.parts
    )
    spoken = ", ".join(f"{STEPS[step][0].lower()} {milliseconds(times.of(step))}" for step in STEPS)
    lists = []
    longest = max(part.milliseconds for part in times.parts)
    for step, (title, when) in STEPS.items():
        rows = [
            Bar(part.name, part.milliseconds / longest, milliseconds(part.milliseconds), colour=f"var(--{step})")
            for part in times.parts
            if part.step == step
        ]
        share = f"{milliseconds(times.of(step))}, {percent(times.of(step) / total)}"
        label = f"Milliseconds for each part of the step {title.lower()}"
        lists.append(
            f'<section class="{step}">{heading(title)}<p class="sum">{share}</p>{paragraph(when, "quiet")}'
            f"{bars(rows, label)}</section>"
        )
    height, width = times.size
    counted = "One run" if times.runs == 1 else f"Median of {times.runs} runs"
    word, new_word = "word" if times.words == 1 else "words", milliseconds(times.word_milliseconds)
    return (
        heading(f"{milliseconds(total)} in total, {two_digits(1000 / total)} photos per second")
        + f'<div class="whole" role="img" aria-label="{html.escape(spoken)}">{pieces}</div>'
        + f'<div class="steps">{"".join(lists)}</div>'
        + paragraph(
            f"{counted} on {times.machine}; {times.words:,} {word}; the network's input has {width} x "
            f"{height} pixels. The first use of a word that is not in the cache takes {new_word} more. Times are "
            "longer while the server is busy.",
            "quiet",
        )
    )


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="tab-body")
    shown = html_component("speed-times", main=True)
    again = gr.Button(f"Measure {RUNS} times", elem_id="speed-again", size="sm")

    def refresh(session: Session) -> Sequence[Any]:
        return (times_html(measured(session, runs=1)),)

    def repeat(session: Session) -> Sequence[Any]:
        return (times_html(measured(session, runs=RUNS)),)

    again.click(page.callback(repeat, 1), session, shown, show_progress_on=shown, **RUN_MODEL)
    return Tab(refresh, [], [shown])


def answer(session: Session, _: Path) -> dict[str, Any]:
    """The endpoint's answer."""
    times = measured(session, RUNS)
    steps = {step: times.of(step) for step in STEPS}
    return {**asdict(times), "total_milliseconds": times.total, "steps": steps}


def endpoints(page: Page) -> None:
    """Registers the endpoint `/speed`."""

    def speed(photo: dict[str, Any], words: str, preset: str | None = None, model: str | None = None) -> Answer:
        """Measure the milliseconds of every part of the network for a photo and words, on the server.

        `words` and `preset` as in /segment. Returns the parts in order with their step (photo, words, result), as
        medians of three runs, and the time of the text encoder for a new word. No files.
        """
        return answer_endpoint(page, photo, words, preset, model, answer)

    add_endpoint(speed, "speed", list)
