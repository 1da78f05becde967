"""The appearance of the page: theme, style sheets and the fixed HTML. Everything that is not fixed is escaped."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from app.examples import example_paths
from app.models import Models
from app.pictures import data_address

_HERE = Path(__file__).parent
XS_SENTENCE = (
    "XS is a small model for trying things out, trained on about 2,100 labelled photos and 420 pseudo-labelled ones. "
    "It understands English words. It usually finds large everyday things and misses small or rare ones. Pixels "
    "without colour match no word."
)
OTHER_SENTENCE = "Variant {name}, with the authors' checkpoint. It understands English words."
# The script of the example strip: a click, or Enter on a focused photo, chooses it.
CHOOSE_SCRIPT = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) trigger("choose", { index: Number(button.dataset.index) });
});
"""


def scripted(
    name: str, value: Any = None, folder: Path = _HERE, limits: Mapping[str, int] | None = None, **options: Any
) -> gr.HTML:
    """An HTML component with its template and script from a folder, NAME.html and NAME.js.

    `limits` replaces names in both files by their values.
    """

    def text(file: Path) -> str:
        found = file.read_text(encoding="utf-8")
        for limit, number in (limits or {}).items():
            found = found.replace(limit, str(number))
        return found

    template = folder / f"{name}.html"
    return gr.HTML(
        value,
        html_template=text(template) if template.exists() else "<span hidden></span>",
        js_on_load=text(_HERE / "dom.js") + text(folder / f"{name}.js"),
        apply_default_css=False,
        **{"elem_id": name, **options},
    )


def theme() -> gr.themes.Base:
    """Dark text on cool grey with one petrol accent; in dark mode the picture is the brightest part of the page."""
    petrol = gr.themes.Color(
        c50="#eef7f6", c100="#d5ebe9", c200="#acd7d4", c300="#7bbdb9", c400="#459c99", c500="#1c7876",
        c600="#126564", c700="#105151", c800="#104142", c900="#0e3637", c950="#071f21", name="petrol",
    )  # fmt: skip
    slate = gr.themes.Color(
        c50="#f7f8f8", c100="#eef0f0", c200="#dfe3e3", c300="#c6cdcd", c400="#98a3a4", c500="#5e6a6b",
        c600="#4e595b", c700="#384244", c800="#21292b", c900="#161c1e", c950="#0e1314", name="slate",
    )  # fmt: skip
    return gr.themes.Base(
        primary_hue=petrol,
        secondary_hue=petrol,
        neutral_hue=slate,
        radius_size=gr.themes.sizes.radius_md,
        font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_title_text_weight="600",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="white",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )


def head() -> str:
    """The page's style sheets as <style> elements, because Gradio rewrites the selectors of sheets passed as `css`."""
    names = ("page.css", "advice.css", "subject.css", "corrections.css", "tabs/tabs.css", "tabs/many.css")
    sheets = (_HERE / name for name in names)
    return "".join(f"<style>{sheet.read_text(encoding='utf-8')}</style>" for sheet in sheets)


def examples_html() -> str:
    """The example photos as small buttons, with the pictures embedded as data URLs."""
    buttons = []
    for index, path in enumerate(example_paths()):
        with Image.open(path) as photo:
            small = ImageOps.fit(photo.convert("RGB"), (120, 90))
        name = html.escape(path.stem.replace("-", " "))
        picture = f'<img src="{data_address(small, "JPEG", quality=80)}" alt="Example: {name}">'
        buttons.append(f'<button type="button" data-index="{index}" title="{name}">{picture}</button>')
    return f'<h2>Or try an example</h2><div class="strip">{"".join(buttons)}</div>'


def masthead(models: Models) -> str:
    mark = (_HERE / "mark.svg").read_text(encoding="utf-8")
    return (
        f"<header>{mark}<div><h1>EOV-Seg Explorer</h1>"
        "<p>Name what is in the photo; the model marks where.</p></div>"
        '<button type="button" class="tour-start">Tour</button>'
        f'<span class="model">{html.escape(models.title(models.first))} on {html.escape(models.device.upper())}</span>'
        "</header>"
    )


def colophon(models: Models) -> str:
    title = models.title(models.first)
    sentence = XS_SENTENCE if models.first == "xs" else OTHER_SENTENCE.format(name=html.escape(title))
    return (
        f"<p>{sentence}</p>"
        "<p>Method: EOV-Seg, Niu, Hu, Lin, Jiang and Zhang, AAAI 2025. Your photo stays on the server of this page and "
        "is deleted within a few hours. Example photos: COCO, CC BY and CC BY-SA.</p>"
    )
