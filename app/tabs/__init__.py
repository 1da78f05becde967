"""The tabs beside Segment: what each module of this package hands to app/layout.py.

A module has `build(page: Page, session: gr.State) -> Tab`, called inside its own `gr.Tab`, and
`endpoints(page: Page) -> None`, called once outside the tabs, for `gr.api(...)`. Photo, words and settings stand beside
the tabs and belong to all of them; a tab has none of its own.

Callbacks of a tab are written as `work(session, *values) -> tuple` of one value per output and wrapped by
`page.callback(work, outputs=n)`, which turns Gradio's key into the `app.session.Session`, errors of `eovseg.errors`
into one sentence on the page, and a forgotten session into "press Segment again". Inside:

- `session.predictor`, `.image_state`, `.vocabulary`, `.decoded`, `.result`, `.settings`: what is shown now. Take the
  predictor from the session, never from the page: visitors can choose another model.
- `session.chosen`: the id of the segment that the visitor clicked last, or None.
- `page.once(session, "name", make)`: `make()` computed once for these words and this photo, whatever the settings; a
  few values of all visitors are kept. `session.decoded` always holds its intermediates.

Every event that runs the model takes `**MODEL` of app/page.py, and every one `api_visibility="private"`.
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
    """A tab that was built: `refresh(session, *values of inputs)` gives one value per output.

    It is called when the tab is opened or a new result comes while it is open, and only if the result is another one
    than at its last call. `gr.skip()` leaves an output as it is.
    """

    refresh: Callable[..., Sequence[Any]]
    inputs: Sequence[Component]
    outputs: Sequence[Component]
