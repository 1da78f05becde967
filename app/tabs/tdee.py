"""The tab TDEE (Fig. 6): results without and with TDEE, the segments that change, and the router weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import gradio as gr

import eovseg
from analysis.ablation import RouterRow, SegmentChange, compare_results, router_rows, without_fusion
from analysis.style import CHANGE_COLOURS
from app.page import Page
from app.session import Session, composed
from app.tabs import Tab
from app.tabs.compare import Row, Side, comparison, comparison_value
from app.tabs.pieces import heading, lead, paragraph, percent, photo_address, tracks
from app.tabs.wiring import RUN_MODEL, Answer, add_endpoint, answer_endpoint, html_component
from eovseg.assets import asset_path
from eovseg.errors import ConfigError, EovsegError
from eovseg.predictor import Predictor
from eovseg.result import Result

LEAD = (
    "TDEE adds fine spatial features to the embedding that each segment's class is read from. Drag the divider to "
    "compare the results without and with it; segments that change are listed, and things among them are framed."
)
Mode = Literal["off", "trained"]
MODES: dict[Mode, str] = {"off": "Switched off in this model", "trained": "Trained without"}
WHAT_IS_SHOWN: dict[Mode, str] = {
    "off": (
        "Shown: this model, and the same weights without TDEE. The model was trained with TDEE, so this shows what it "
        "relies on, not how good a model without TDEE would be. The masks of its kernels cannot change, because each "
        "layer draws its masks before TDEE. Classes and scores can change, and with them the kernel that wins a pixel."
    ),
    "trained": (
        "Shown: two XS models that were trained in the same way from a common start, one without TDEE and one with it; "
        "neither is the model of the Segment tab. Everything can differ between them, including the masks. Over 82 "
        "photos, their scores differ by no more than chance. In the paper, the model with TDEE scored higher, as it "
        "did here in another pair, which was trained with a different seed."
    ),
}
NEEDED: dict[Mode, tuple[str, str]] = {
    "off": ("without TDEE", "with TDEE"),
    "trained": ("trained without TDEE", "trained with TDEE"),
}
ABLATIONS = ("vas", "vas-tdee")  # without and with TDEE, both with VAS
NO_CHANGE = "No segment changes."


@dataclass(frozen=True, eq=False)
class Comparison:
    """Results without and with TDEE, and how every segment changes from the first to the second."""

    mode: Mode
    without: Result
    with_: Result
    changes: tuple[SegmentChange, ...]

    @property
    def changed(self) -> list[SegmentChange]:
        """`changes` without the segments that stay the same."""
        return [change for change in self.changes if change.change != "same"]


def ablation_file(name: str) -> Path | None:
    """The weight file of an ablation that ships with the project; None if it is missing."""
    try:
        return asset_path(f"weights/ablations/eovseg-xs-{name}.safetensors")
    except EovsegError:
        return None


def missing_sentence() -> str:
    """Why "trained without" cannot be chosen; empty if it can."""
    absent = [name for name in ABLATIONS if ablation_file(name) is None]
    if not absent:
        return ""
    files = " and ".join(f"eovseg-xs-{name}.safetensors" for name in absent)
    return f"“{MODES['trained']}” needs the weights {files} in assets/weights/ablations, which are missing."


@lru_cache(maxsize=len(ABLATIONS))
def ablation(file: Path, device: str) -> Predictor:
    """Loads a model of the ablation, cached; raises `CheckpointError`."""
    return eovseg.load("xs", checkpoint=file, device=device)


def compare(page: Page, session: Session, mode: str) -> Comparison:
    """Both results for the session's photo, words and settings. Raises `ConfigError` for an unavailable mode."""
    if mode == "off":
        off = without_fusion(session.predictor)
        decoded = page.cached(session, "tdee off", lambda: off.decode(session.image_state, session.decoded.vocabulary))
        return _compared("off", session, [(off, decoded), (session.predictor, session.decoded)])
    if mode == "trained":
        if missing_sentence():
            raise ConfigError(missing_sentence())
        files = [file for file in map(ablation_file, ABLATIONS) if file is not None]
        models = [ablation(file, str(session.predictor.device)) for file in files]
        image, vocabulary = session.decoded.state.image, session.decoded.vocabulary
        decoded = page.cached(
            session, "tdee trained", lambda: [model.decode(model.encode_image(image), vocabulary) for model in models]
        )
        return _compared("trained", session, list(zip(models, decoded, strict=True)))
    raise ConfigError(f"mode={mode[:40]!r} is not allowed; choose one of {', '.join(MODES)}.")


def _compared(mode: Mode, session: Session, pair: Sequence[tuple[Predictor, Any]]) -> Comparison:
    without, with_ = (composed(model, decoded, session.asked) for model, decoded in pair)
    return Comparison(mode, without, with_, tuple(compare_results(without, with_)))


def change_rows(found: Comparison) -> list[dict[str, Any]]:
    """The changed segments as plain values: names before and after, IoU, scores, kind, and box in pixels."""
    rows = []
    for number, change in enumerate(found.changed, start=1):
        sides: dict[str, Any] = {"is_thing": False}
        for side, result, place in (("before", found.without, change.before), ("after", found.with_, change.after)):
            sides[side] = None if place is None else result.names[place]
            sides[f"score_{side}"] = None if place is None else result.segments[place].score
            sides["is_thing"] |= place is not None and result.segments[place].is_thing
        rows.append({"number": number, "change": change.change, "iou": change.iou, "box": list(change.box), **sides})
    return rows


def stage(found: Comparison) -> dict[str, Any]:
    """The value of the comparison: both overlays, the changed segments as table rows, and frames around the things.

    Stuff has no frame, because its box is often the whole photo.
    """
    height, width = found.without.segment_map.shape
    names = NEEDED[found.mode]
    sides = [
        Side(name, photo_address(result.overlay()), f"Segments {name}: {', '.join(result.names) or 'none'}")
        for name, result in zip(names, (found.without, found.with_), strict=True)
    ]
    rows = []
    for row in change_rows(found):
        x0, y0, x1, y1 = row["box"]
        scores = [None if score is None else percent(score) for score in (row["score_before"], row["score_after"])]
        cells = (
            row["change"],
            row["before"] or "–",
            row["after"] or "–",
            percent(row["iou"]) if row["before"] and row["after"] else "–",
            " → ".join(score or "–" for score in scores),
        )
        box = (x0 / width, y0 / height, x1 / width, y1 / height) if row["is_thing"] else None
        rows.append(Row(str(row["number"]), row["change"], CHANGE_COLOURS[row["change"]], box, cells))
    return comparison_value(
        sides,
        (width, height),
        columns=("Change", *(name[0].upper() + name[1:] for name in names), "Overlap (IoU)", "Score"),
        rows=rows,
    )


def summary(found: Comparison) -> str:
    """A sentence that says how many segments change, and how."""
    if not found.changed:
        return NO_CHANGE + " Try more words, or a photo with many things."
    kinds = Counter(change.change for change in found.changed)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{len(found.changed)} of {len(found.changes)} segments change: {listed}."


def summary_html(found: Comparison) -> str:
    """The summary of the changes, and an explanation of what is compared."""
    return heading(summary(found)) + paragraph(WHAT_IS_SHOWN[found.mode], "quiet")


def routers(session: Session) -> list[RouterRow]:
    """TDEE's router weights in every layer, for every segment that comes from a kernel."""
    return router_rows(session.decoded, session.shown)


def routers_html(session: Session) -> str:
    """A row of dots for each segment: the share of channels that prefer the spatial features, layer by layer."""
    names = {s.id: name for s, name in zip(session.shown.segments, session.shown.names, strict=True)}
    rows: dict[int, list[RouterRow]] = {}
    for row in routers(session):
        rows.setdefault(row.segment, []).append(row)
    lines = [
        (
            names[segment],
            [layer.spatial_share for layer in layers],
            f"weights in layer {layers[-1].layer}: mask {layers[-1].mask_weight:.2f}, "
            f"spatial {layers[-1].spatial_weight:.2f}",
        )
        for segment, layers in rows.items()
    ]
    if not lines:
        return paragraph("There are no segments, so there are no router weights to show.", "quiet")
    label = "Channels whose spatial weight is larger than the mask weight, percent, in each decoder layer"
    return (
        heading("Router weights of the Segment tab's model, segment by segment")
        + paragraph(
            "A dot is the percentage of channels in which the spatial features have more weight than the mask's own. "
            "Later layers are darker. The line in the middle is one half.",
            "quiet",
        )
        + tracks(lines, ("mask features 0 %", "50 %", "100 % spatial features"), label, "layer")
    )


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="tab-body")
    mode = gr.Radio(
        [(title, key) for key, title in MODES.items()], value="off", label="What “without” means",
        elem_id="tdee-mode", elem_classes="tab-control",
    )  # fmt: skip
    missing = html_component("tdee-missing")
    said = html_component("tdee-said")
    pictures = comparison("tdee-stage")
    plot = html_component("tdee-routers")

    def shown(session: Session, mode: str) -> tuple[Any, ...]:
        found = compare(page, session, mode)
        return stage(found), summary_html(found)

    def refresh(session: Session, chosen: str) -> Sequence[Any]:
        sentence = missing_sentence()
        fusion = session.predictor.config.fusion
        kept = "off" if sentence else chosen
        choice = gr.update(value=kept, interactive=not sentence)
        absent = paragraph(sentence, "missing") if sentence else ""
        if kept == "off" and fusion != "TDEE":
            return choice, absent, None, paragraph("This model has no TDEE; choose another one.", "missing"), ""
        plotted = routers_html(session) if fusion == "TDEE" else ""
        return choice, absent, *shown(session, kept), plotted

    mode.input(page.callback(shown, 2), [session, mode], [pictures, said], show_progress_on=pictures, **RUN_MODEL)
    return Tab(refresh, [mode], [mode, missing, pictures, said, plot])


def answer(page: Page, session: Session, folder: Path, mode: str) -> dict[str, Any]:
    """The endpoint's answer; writes both overlays to `folder`."""
    found = compare(page, session, mode)
    found.without.overlay().save(folder / "without.png")
    found.with_.overlay().save(folder / "with.png")
    return {
        "mode": found.mode,
        "shown": WHAT_IS_SHOWN[found.mode],
        "summary": summary(found),
        "changes": change_rows(found),
        "routers": [asdict(row) for row in routers(session)] if session.predictor.config.fusion == "TDEE" else [],
    }


def endpoints(page: Page) -> None:
    """Registers the endpoint `/tdee`."""

    def tdee(
        photo: dict[str, Any],
        words: str,
        preset: str | None = None,
        mode: str = "off",
        model: str | None = None,
    ) -> Answer:
        """Compare the segments without and with TDEE, and return TDEE's router weights.

        `words` and `preset` as in /segment. `mode`: "off" switches TDEE off in this model, "trained" compares two
        models that were trained without and with it. Returns the changes (boxes in pixels, IoU and scores in 0..1), the
        router weights of the model for each segment and layer, and the files with.png and without.png.
        """
        return answer_endpoint(page, photo, words, preset, model, lambda s, f: answer(page, s, f, mode or "off"))

    add_endpoint(tdee, "tdee", lambda: [gr.Dropdown(list(MODES), value="off", label="mode")])
