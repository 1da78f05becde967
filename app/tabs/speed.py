"""Speed: where the time of this photo and these words goes, part by part, measured on this machine now."""

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
from app.tabs.pieces import Bar, bars, heading, lead, milliseconds, paragraph, percent
from app.tabs.wiring import ASK, Answer, answered, html_part, offer

LEAD = (
    "Three steps make a result, and only what a change needs is run again: see what each part costs for this photo and "
    "these words, and measure once more with another vocabulary."
)
STEPS: dict[Step, tuple[str, str]] = {
    "photo": ("Photo", "once for a photo, whatever the words"),
    "words": ("Words", "again when the words change"),
    "result": ("Result", "again when a weight or a threshold changes; no network runs"),
}
RUNS = 3
assert set(STEPS) == set(get_args(Step))


def measured(session: Session, runs: int) -> PartTimes:
    """The parts' times for what the session shows; the model's own photos and counters stay as they are."""
    return part_times(session.predictor, session.decoded.state.image, session.decoded.vocabulary, runs)


def times_html(times: PartTimes) -> str:
    """One bar for the whole, then a list of parts per step."""
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
        label = f"Milliseconds of the parts of the step {title.lower()}"
        lists.append(
            f'<section class="{step}">{heading(title)}<p class="sum">{share}</p>{paragraph(when, "quiet")}'
            f"{bars(rows, label)}</section>"
        )
    height, width = times.size
    counted = "One run" if times.runs == 1 else f"Median of {times.runs} runs"
    word, new_word = "word" if times.words == 1 else "words", milliseconds(times.word_milliseconds)
    return (
        heading(f"{milliseconds(total)} for everything, {1000 / total:.1f} photos a second")
        + f'<div class="whole" role="img" aria-label="{html.escape(spoken)}">{pieces}</div>'
        + f'<div class="steps">{"".join(lists)}</div>'
        + paragraph(
            f"{counted} on {times.machine}; {times.words:,} {word}; the network saw {width} x "
            f"{height} pixels. A word that the server has never met costs {new_word} more, once. A busy server "
            "measures longer times.",
            "quiet",
        )
    )


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="look")
    shown = html_part("speed-times", main=True)
    again = gr.Button(f"Measure {RUNS} times", elem_id="speed-again", size="sm")

    def refresh(session: Session) -> Sequence[Any]:
        return (times_html(measured(session, runs=1)),)

    def repeat(session: Session) -> Sequence[Any]:
        return (times_html(measured(session, runs=RUNS)),)

    again.click(page.callback(repeat, 1), session, shown, show_progress_on=shown, **ASK)
    return Tab(refresh, [], [shown])


def answer(session: Session, _: Path) -> dict[str, Any]:
    """What the endpoint returns."""
    times = measured(session, RUNS)
    steps = {step: times.of(step) for step in STEPS}
    return {**asdict(times), "total_milliseconds": times.total, "steps": steps}


def endpoints(page: Page) -> None:
    """`/speed`."""

    def speed(photo: dict[str, Any], words: str, preset: str | None = None, model: str | None = None) -> Answer:
        """Milliseconds of every part of the network for a photo and words, measured on the server now.

        `words` and `preset` as in /segment. Returns the parts in order with their step (photo, words, result), medians
        of three runs, and what the text tower takes for a new word. No files.
        """
        return answered(page, photo, words, preset, model, answer)

    offer(speed, "speed", list)
