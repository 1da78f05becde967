"""The page's URL: it encodes the request, the open tab and the pinned segment, and restores them.

The server hides the query of each result in the notes beside it; app/link.js writes it into the URL.
"""

import html

from app.recipe import Link


def note(query: str, linked: Link | None) -> str:
    """The query of a result as a hidden HTML element; with `linked`, also the tab in the URL."""
    tab = "" if linked is None else f' data-tab="{html.escape(linked.tab)}"'
    return f'<span hidden class="link" data-query="{html.escape(query)}"{tab}></span>'
