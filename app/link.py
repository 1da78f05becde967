"""The page's address: it carries what is asked, the open tab and the pinned segment, and brings them back.

The server says what belongs to a result, hidden in the notes that come with each; app/link.js writes the address.
"""

import html
from pathlib import Path

import gradio as gr

from app.recipe import Link

_SCRIPT = Path(__file__).parent / "link.js"


def part() -> gr.HTML:
    """The script that keeps the address; nothing of it is seen."""
    return gr.HTML(
        html_template="<span hidden></span>",
        js_on_load=_SCRIPT.read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="link",
    )


def note(query: str, linked: Link | None) -> str:
    """The query of a result as a hidden element; with `linked`, the tab that the address asks for beside it."""
    tab = "" if linked is None else f' data-tab="{html.escape(linked.tab)}"'
    return f'<span hidden class="link" data-query="{html.escape(query)}"{tab}></span>'
