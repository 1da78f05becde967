"""The tab VAS (Fig. 5): a word's similarity before and after VAS, its weights, and the competing words at a pixel."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
import numpy as np
from PIL import Image

from analysis.pictures import heat_over_photo
from analysis.similarity import (
    Measure,
    SimilarityMaps,
    WordFocus,
    WordScore,
    similarity_maps,
    vas_weight,
    word_competition,
    word_focus,
)
from analysis.style import SIMILARITY_MAP, WEIGHT_MAP
from app.page import MODEL, PRIVATE, Page
from app.session import Session
from app.tabs import Tab
from app.tabs.compare import Side, comparison, comparison_value
from app.tabs.pieces import (
    Bar,
    bars,
    colour_scale,
    heading,
    lead,
    paragraph,
    percent,
    photo_address,
    picture,
)
from app.tabs.wiring import (
    RUN_MODEL,
    Answer,
    add_endpoint,
    answer_endpoint,
    html_component,
    nan_to_none,
    whole_number,
)
from eovseg.errors import ConfigError
from eovseg.vocabulary import Vocabulary

LEAD = (
    "VAS weights every pixel by how clearly one of your words fits it. Choose a word, drag the divider to compare its "
    "similarity before and after VAS, and click the picture to see which words compete at that pixel."
)
WITHOUT_VAS = "This model has no VAS, so there is nothing to compare. Choose another model."
MEASURES: dict[Measure, str] = {"scaled dot product": "Dot product", "cosine": "Cosine"}
assert set(MEASURES) == set(get_args(Measure))
ABOUT_MEASURES = (
    "Dot product: what VAS itself uses; it also depends on the length of the features. "
    "Cosine: depends only on their direction."
)
UNITS: dict[Measure, str] = {
    "scaled dot product": "scaled dot product in VAS's own space, without a unit",
    "cosine": "cosine in VAS's own space, −1 to 1",
}
TOP = 8
SMALL_GAIN = 0.01
LISTED_WORDS = 200
COMPARED_WORDS = 12  # largest segments compared; the tab opens with the word that changes most


@dataclass(frozen=True, eq=False)
class WordView:
    """A word on a photo: its maps, their share on its segments, and the pixel (x, y) of the maximum after VAS."""

    maps: SimilarityMaps
    focus: WordFocus
    peak: tuple[int, int]


def one_word(text: str | None) -> str:
    """The word that was chosen or typed; raises `VocabularyError` or `ConfigError` if it is not exactly one word."""
    words = Vocabulary.parse(text or "").words
    if len(words) != 1:
        raise ConfigError(f"Give exactly one word, without commas or semicolons, not {len(words)}.")
    return words[0]


def listed_words(session: Session) -> list[str]:
    """The choices of the word list: labels of the segments, largest first, then the other words of the vocabulary."""
    result = session.shown
    own = set(session.asked.vocabulary.words)  # without "other", which is not a word of the vocabulary
    largest = sorted(result.segments, key=lambda segment: -segment.area)
    words = [segment.label for segment in largest if segment.label in own]
    return list(dict.fromkeys((*words, *session.asked.vocabulary.words)))[:LISTED_WORDS]


def most_changed(session: Session, measure: str = "scaled dot product") -> str:
    """The word whose share on its segments changes most; the first of the list if no word has segments."""
    listed, labels = listed_words(session), {segment.label for segment in session.shown.segments}
    words = [word for word in listed if word in labels][:COMPARED_WORDS]
    if not words:
        return listed[0]
    maps = similarity_maps(session.predictor, session.decoded, words, measure_of(measure))
    shares = [word_focus(maps, place, session.shown) for place in range(len(words))]
    return words[int(np.argmax(np.nan_to_num([abs(share.after - share.before) for share in shares])))]


def measure_of(name: object) -> Measure:
    """The measure of a request; raises `ConfigError` if it is not one of `MEASURES`."""
    for measure in MEASURES:
        if name == measure:
            return measure
    raise ConfigError(f"measure={str(name)[:40]!r} is not allowed; choose one of {', '.join(MEASURES)}.")


def word_view(session: Session, word: str, measure: str = "scaled dot product") -> WordView:
    """Maps and numbers of a word for the session's result; the word need not be in the vocabulary."""
    maps = similarity_maps(session.predictor, session.decoded, [word], measure_of(measure))
    row, column = np.unravel_index(int(maps.after[0].argmax()), maps.after[0].shape)
    return WordView(maps, word_focus(maps, 0, session.shown), (int(column), int(row)))


def heat_pictures(session: Session, view: WordView) -> tuple[np.ndarray, np.ndarray]:
    """The maps before and after VAS over the photo, both (H, W, 3) uint8 with the same colour scale."""
    image, limits = session.shown.image, view.maps.limits
    return heat_over_photo(image, view.maps.before[0], limits), heat_over_photo(image, view.maps.after[0], limits)


def stage(session: Session, view: WordView) -> dict[str, Any]:
    """The value of the comparison before and after VAS."""
    before, after = heat_pictures(session, view)
    word = view.maps.words[0]
    sides = [
        Side(
            f"{when} VAS", photo_address(pixels), f"Similarity of “{word}” with every pixel {when} VAS, over the photo"
        )
        for when, pixels in (("before", before), ("after", after))
    ]
    return comparison_value(
        sides,
        (before.shape[1], before.shape[0]),
        scale=(view.maps.limits, f"{UNITS[view.maps.measure]}; the same scale on both sides", SIMILARITY_MAP),
        hint="Click a pixel, or focus the picture and use the arrow keys and Enter.",
        point=view.peak,
    )


def focus_html(focus: WordFocus) -> str:
    """The share of a word's similarity on its segments before and after VAS, and what it means."""
    if math.isnan(focus.area):
        return paragraph(
            f"No segment has the word “{focus.word}”, so there is no share to measure; the maps still show where the "
            "photo is similar to it.",
            "quiet",
        )
    rows = [
        Bar("before VAS", focus.before, percent(focus.before)),
        Bar("after VAS", focus.after, percent(focus.after)),
        Bar("area of the segments", focus.area, percent(focus.area), colour="var(--quiet)"),
    ]
    title = f"Share of “{focus.word}” on its segments"
    label = f"Share of the similarity's positive part on the segments of {focus.word}, percent"
    return heading(title) + bars(rows, label) + paragraph(meaning(focus), "quiet")


def meaning(focus: WordFocus) -> str:
    """A sentence about the shares before and after VAS."""
    if math.isnan(focus.before) or math.isnan(focus.after):
        return "The similarity is nowhere positive, so there is no share to compute."
    gain = focus.after - focus.before
    moved = "concentrates the word on its segments" if gain > 0 else "spreads the word away from its segments"
    return (
        f"VAS {'changes little here' if abs(gain) < SMALL_GAIN else moved}: of the positive similarity, "
        f"{percent(focus.before)} lay on the “{focus.word}” segments before VAS and {percent(focus.after)} after. "
        f"A constant map would give {percent(focus.area)}."
    )


def competition(session: Session, x: int, y: int) -> list[WordScore]:
    """The words that compete at pixel (x, y) of the photo, strongest first."""
    return word_competition(session.predictor, session.decoded, x, y, TOP)


def segment_at(session: Session, x: int, y: int) -> str | None:
    """The name of the segment at a pixel; coordinates outside the photo are clamped to it."""
    result = session.shown
    height, width = result.segment_map.shape
    number = int(result.segment_map[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])
    names = {segment.id: name for segment, name in zip(result.segments, result.names, strict=True)}
    return names.get(number)


def competition_html(session: Session, x: int, y: int) -> str:
    """The words at a pixel as bars: shares of VAS's softmax, and similarities before and after VAS."""
    rows = [
        Bar(s.word, s.share, percent(s.share), f"{s.before:.1f} → {s.after:.1f}") for s in competition(session, x, y)
    ]
    name = segment_at(session, x, y)
    where = f"in {name}" if name else "in no segment"
    return (
        heading(f"Words that compete at x {x}, y {y}")
        + paragraph(
            f"This pixel is {where}. The largest share sets its weight. Below the bars: similarity before → after VAS.",
            "quiet",
        )
        + bars(rows, "Share of the softmax over all words at this pixel, percent")
    )


def weights_html(session: Session) -> str:
    """The factor that VAS multiplies every pixel by, as a picture with its scale."""
    weight = vas_weight(session.predictor, session.decoded)
    limits = (float(weight.min()), float(weight.max()))
    pixels = heat_over_photo(session.shown.image, weight, limits, WEIGHT_MAP)
    alt = f"Weight of every pixel, drawn over the photo, from {limits[0]:.2f} to {limits[1]:.2f}"
    return (
        heading("Weights of VAS")
        + picture(photo_address(pixels), alt)
        + colour_scale(limits, "factor on the features, without a unit", WEIGHT_MAP)
        + paragraph(
            "The weights depend on all your words together and are the same for each word. If all of them are below 1, "
            "the maps are darker after VAS; what matters is which pixels lose the least.",
            "quiet",
        )
    )


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="tab-body")
    with gr.Row(elem_classes="tab-controls"):
        word = gr.Dropdown(
            [], label="Word", info="Choose one of yours, or type any other and press Enter", allow_custom_value=True,
            elem_id="vas-word", elem_classes="tab-control", min_width=0,
        )  # fmt: skip
        measure = gr.Radio(
            [(title, key) for key, title in MEASURES.items()], value="scaled dot product", label="Similarity",
            info=ABOUT_MEASURES, elem_id="vas-measure", elem_classes="tab-control", min_width=0,
        )  # fmt: skip
    with gr.Row(elem_classes="tab-columns"):
        with gr.Column(min_width=0):
            pictures = comparison("vas-stage")
            focus = html_component("vas-focus")
        with gr.Column(min_width=0):
            pixel = html_component("vas-pixel")
            weights = html_component("vas-weights")

    def shown(session: Session, text: str, measure: str) -> tuple[Any, ...]:
        view = word_view(session, one_word(text), measure)
        return stage(session, view), focus_html(view.focus), competition_html(session, *view.peak)

    def refresh(session: Session, text: str | None, measure: str) -> Sequence[Any]:
        if not session.predictor.config.vas:
            return gr.update(choices=[], value=None), None, paragraph(WITHOUT_VAS, "missing"), "", ""
        choices = listed_words(session)
        kept = text if text in choices else most_changed(session, measure)
        return gr.update(choices=choices, value=kept), *shown(session, kept, measure), weights_html(session)

    def picked(session: Session, event: gr.EventData) -> tuple[str]:
        return (competition_html(session, int(event.x), int(event.y)),)

    inputs = [session, word, measure]
    for control in (word, measure):
        control.input(page.callback(shown, 3), inputs, [pictures, focus, pixel], show_progress_on=pictures, **RUN_MODEL)
    pictures.pick(page.callback(picked, 1), session, pixel, show_progress="hidden", **MODEL, **PRIVATE)
    return Tab(refresh, [word, measure], [word, pictures, focus, pixel, weights])


def answer(
    session: Session,
    folder: Path,
    word: str,
    x: float | None,
    y: float | None,
    measure: str = "scaled dot product",
) -> dict[str, Any]:
    """The endpoint's answer; writes the pictures and the maps to `folder`."""
    height, width = session.shown.segment_map.shape
    view = word_view(session, one_word(word or listed_words(session)[0]), measure)
    column = view.peak[0] if x is None else whole_number("x", x, 0, width - 1)
    row = view.peak[1] if y is None else whole_number("y", y, 0, height - 1)
    weight = vas_weight(session.predictor, session.decoded)
    for name, pixels in zip(("before", "after"), heat_pictures(session, view), strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    np.savez_compressed(folder / "maps.npz", before=view.maps.before[0], after=view.maps.after[0], weight=weight)
    focus = view.focus
    return {
        "word": focus.word,
        "measure": view.maps.measure,
        "limits": list(view.maps.limits),
        "share_on_segments": {
            "before": nan_to_none(focus.before),
            "after": nan_to_none(focus.after),
            "area": nan_to_none(focus.area),
        },
        "pixel": {"x": column, "y": row, "segment": segment_at(session, column, row)},
        "competition": [asdict(score) for score in competition(session, column, row)],
    }


def endpoints(page: Page) -> None:
    """Registers the endpoint `/vas`."""

    def vas(
        photo: dict[str, Any],
        words: str,
        preset: str | None = None,
        word: str = "",
        x: float | None = None,
        y: float | None = None,
        measure: str = "scaled dot product",
        model: str | None = None,
    ) -> Answer:
        """Compute the similarity of a word to every pixel before and after VAS, and the competing words at a pixel.

        `words` and `preset` as in /segment. `word`: any English word, by default that of the largest segment. `x`, `y`:
        a pixel of the photo, by default where the map after VAS is highest. `measure`: "scaled dot product", which VAS
        itself uses, or "cosine". Returns numbers, and the files after.png, before.png and maps.npz (float32 arrays
        before, after and weight, each height x width).
        """
        return answer_endpoint(
            page, photo, words, preset, model, lambda s, folder: answer(s, folder, word, x, y, measure)
        )

    add_endpoint(
        vas,
        "vas",
        lambda: [
            gr.Textbox("", label="word"),
            gr.Number(None, label="x"),
            gr.Number(None, label="y"),
            gr.Dropdown(list(MEASURES), value="scaled dot product", label="measure"),
        ],
    )
