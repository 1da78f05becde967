"""Inside the decoder: a segment's mask at the start and after each layer, its class, and the kernels it attends to."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from analysis.ablation import segment_queries
from analysis.layers import VOID, AttendedKernel, QueryPath, attended_kernels, mask_agreement, query_path
from analysis.pictures import mask_over_photo
from analysis.style import SIMILARITY_MAP
from app.page import Page
from app.session import Session
from app.tabs import Tab
from app.tabs.pieces import Bar, bars, colour_scale, heading, lead, paragraph, percent, photo_address, picture
from app.tabs.wiring import RUN_MODEL, Answer, add_endpoint, answer_endpoint, html_component, whole_number
from eovseg.colours import segment_colours
from eovseg.errors import ConfigError

LEAD = (
    "Every segment starts as a learned kernel that is the same for all photos and is refined layer by layer. Choose a "
    "segment and follow its mask and its class through the layers."
)
NOTHING = "There is no segment to follow. Try more everyday words."
TOP = 4


def followed(session: Session) -> dict[str, int]:
    """Name and id of every segment that comes from a single kernel, largest first."""
    result = session.shown
    queries = segment_queries(result)
    pairs = sorted(zip(result.segments, result.names, strict=True), key=lambda pair: -pair[0].area)
    return {name: segment.id for segment, name in pairs if segment.id in queries}


def path_of(session: Session, segment: int) -> QueryPath:
    """The path of the segment's kernel through the layers; raises `ConfigError` for ids without a single kernel."""
    queries = segment_queries(session.shown)
    if segment not in queries:
        raise ConfigError(f"There is no segment {segment} to follow; the ids are {', '.join(map(str, queries))}.")
    return query_path(session.predictor, session.decoded, queries[segment], TOP)


def frames(session: Session, path: QueryPath) -> list[np.ndarray]:
    """Pictures (H, W, 3) uint8 of the mask's probability over the photo, one for each stage."""
    return [mask_over_photo(session.shown.image, mask) for mask in path.masks]


def attended_name(session: Session, one: AttendedKernel, own: int) -> str:
    """The name of a kernel: that of the segment that it draws in the end, or its number."""
    result = session.shown
    if one.query == own:
        return "itself"
    names = (name for segment, name in zip(result.segments, result.names, strict=True) if segment.id == one.segment)
    return next(names, f"kernel {one.query}")


def strip_html(session: Session, segment: int) -> str:
    """The strip of stages: a card for each stage with picture, class and attention."""
    result = session.shown
    path = path_of(session, segment)
    name = next(n for s, n in zip(result.segments, result.names, strict=True) if s.id == segment)
    cards = []
    for stage, (pixels, iou) in enumerate(zip(frames(session, path), mask_agreement(path), strict=True)):
        title = "Learned kernel" if stage == 0 else f"After layer {stage}"
        alt = f"Mask of {name}, {title.lower()}; overlap with its final mask {percent(float(iou))}"
        shown = heading(title) + picture(photo_address(pixels), alt, f"{percent(float(iou))} IoU with the final mask")
        cards.append(f"<li>{shown}{_card_numbers(session, path, stage)}</li>")
    about = (
        f"Of the {session.predictor.config.queries} kernels, number {path.query} drew {name}. Kernels shown with "
        "only a number did not produce a segment."
    )
    scale = colour_scale((0.0, 1.0), "mask probability; the white line is at one half", SIMILARITY_MAP)
    return paragraph(about, "quiet") + scale + f'<ol class="film">{"".join(cards)}</ol>'


def kernel_grid(session: Session, path: QueryPath, stage: int) -> str:
    """The attention of a stage to all kernels, a cell for each; kernels that drew a segment have its colour."""
    result = session.shown
    colours = segment_colours(result.segments)
    drew = {
        query: (name, "#" + bytes(colour).hex())
        for segment, name, colour in zip(result.segments, result.names, colours, strict=True)
        for query in [segment_queries(result).get(segment.id)]
    }
    shares = path.attention[stage - 1]
    strongest = float(shares.max())
    cells = []
    for query, share in enumerate(shares.tolist()):
        name, colour = drew.get(query, ("no segment", "var(--second)"))
        kind = ' class="own"' if query == path.query else ""
        title = html.escape(f"Kernel {query} ({name}): {percent(share)}")
        cells.append(f'<i{kind} style="--share: {share / strongest:.3f}; --cell: {colour}" title="{title}"></i>')
    label = f"Self-attention over all {len(shares)} kernels after layer {stage}; the strongest has {percent(strongest)}"
    return f'<div class="kernels" role="img" aria-label="{html.escape(label)}">{"".join(cells)}</div>'


def _card_numbers(session: Session, path: QueryPath, stage: int) -> str:
    """The classes and the attention of a stage; before the first layer there are none."""
    if stage == 0:
        return paragraph(
            "The learned kernel is the same for every photo; with the features of this photo it draws a first mask. It "
            "has no class yet and has not attended to other kernels.",
            "quiet",
        )
    classes = [
        Bar("none of these" if c.label == VOID else c.label, c.probability, percent(c.probability))
        for c in path.classes[stage - 1]
    ]
    attended = [
        Bar(attended_name(session, one, path.query), one.share, percent(one.share), colour="var(--second)")
        for one in attended_kernels(path, stage, segment_queries(session.shown), TOP)
    ]
    return (
        '<h4>Class at this stage</h4>' + bars(classes, "In-vocabulary probability, percent")
        + "<h4>Attends to</h4>" + kernel_grid(session, path, stage)
        + bars(attended, "Share of the kernel's self-attention, percent")
    )  # fmt: skip


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="tab-body")
    segment = gr.Dropdown([], label="Segment", elem_id="decoder-segment", elem_classes="tab-control")
    strip = html_component("decoder-strip", main=True)

    def shown(session: Session, chosen: int | None) -> tuple[str]:
        return (strip_html(session, whole_number("segment", chosen, 0, 2**31)),)

    def refresh(session: Session, _: int | None) -> Sequence[Any]:
        choices = followed(session)
        if not choices:
            return gr.update(choices=[], value=None), paragraph(NOTHING, "missing")
        # Start with the segment that was clicked in the picture, if any.
        kept = next((number for number in choices.values() if number == session.chosen), next(iter(choices.values())))
        return gr.update(choices=list(choices.items()), value=kept), strip_html(session, kept)

    segment.input(page.callback(shown, 1), [session, segment], strip, show_progress_on=strip, **RUN_MODEL)
    return Tab(refresh, [segment], [segment, strip])


def answer(session: Session, folder: Path, segment: float | None) -> dict[str, Any]:
    """The endpoint's answer; writes the pictures of the stages to `folder`."""
    choices = followed(session)
    if not choices:
        raise ConfigError(NOTHING)
    number = next(iter(choices.values())) if segment is None else whole_number("segment", segment, 0, 2**31)
    path = path_of(session, number)
    queries = segment_queries(session.shown)
    stages = []
    pictures = frames(session, path)
    for stage, (pixels, iou) in enumerate(zip(pictures, mask_agreement(path).tolist(), strict=True)):
        file = f"stage-{stage}.png"
        Image.fromarray(pixels).save(folder / file)
        classes = [] if stage == 0 else [vars(one) for one in path.classes[stage - 1]]
        attended = [] if stage == 0 else [vars(one) for one in attended_kernels(path, stage, queries, TOP)]
        stages.append({"stage": stage, "iou_with_final": iou, "classes": classes, "attends_to": attended, "file": file})
    names = {number: name for name, number in choices.items()}
    return {"segment": number, "name": names[number], "kernel": path.query, "segments": choices, "stages": stages}


def endpoints(page: Page) -> None:
    """Registers the endpoint `/decoder`."""

    def decoder(
        photo: dict[str, Any],
        words: str,
        preset: str | None = None,
        segment: float | None = None,
        model: str | None = None,
    ) -> Answer:
        """Follow a segment through the decoder: mask, class and self-attention at the start and after each layer.

        `words` and `preset` as in /segment. `segment`: its id, by default that of the largest. Returns for each stage
        the IoU with the final mask, the best classes with their in-vocabulary probability, and the kernels with the
        largest attention (shares in 0..1), and the files stage-0.png to stage-3.png.
        """
        return answer_endpoint(page, photo, words, preset, model, lambda s, folder: answer(s, folder, segment))

    add_endpoint(decoder, "decoder", lambda: [gr.Number(None, label="segment")])
