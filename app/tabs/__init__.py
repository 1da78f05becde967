"""The tabs other than Segment, and the interface between their modules and app/layout.py.

Each module has `build(page: Page, session: gr.State) -> Tab`, called inside its own `gr.Tab`, and
`endpoints(page: Page) -> None`, called once outside the tabs to register endpoints. All tabs share the photo, the words
and the settings beside them; a tab has none of its own.

Callbacks of a tab are functions `work(session, *values) -> tuple` that return one value per output. They are wrapped by
`page.callback(work, outputs=n)`, which looks up the `app.session.Session` of Gradio's key, shows errors of
`eovseg.errors` as one sentence on the page, and asks visitors whose session has expired to press Segment again. In a
callback:

- `session.predictor`, `.image_state`, `.vocabulary`, `.decoded`, `.result` and `.request` belong to the current result.
  Use the predictor of the session, never that of the page, because visitors can choose another model.
- `session.chosen` is the id of the segment that the visitor clicked last, or None.
- `page.cached(session, "name", make)` caches `make()` for this photo and these words, whatever the settings; the cache
  holds a few values of all visitors. `session.decoded` always has its intermediates.

Events that run the model take `**MODEL` of app/page.py; all events take `api_visibility="private"`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradio.components import Component

TITLES = {
    "many": "Many",
    "vas": "VAS",
    "tdee": "TDEE",
    "clustering": "Clustering",
    "decoder": "Decoder",
    "speed": "Speed",
}


@dataclass(frozen=True)
class Tab:
    """A tab: `refresh(session, *values of inputs)` returns one value per output.

    It is called when the tab is opened, or when the result changes while it is open, but never twice for the same
    result. `gr.skip()` leaves an output unchanged.
    """

    refresh: Callable[..., Sequence[Any]]
    inputs: Sequence[Component]
    outputs: Sequence[Component]
