"""Starting and ending a server of the page, whoever asks for it: the command line, a test, the screenshots."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gradio as gr

from app.janitor import Janitor
from app.layout import build, launch_options
from app.limits import MAX_QUEUE
from app.page import Page
from app.proxies import asked_directly

_FILES = "GRADIO_TEMP_DIR"
# Gradio draws statistics over its last events after each one; of ten thousand that takes longer than composing.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")


@contextmanager
def served(page: Page, **options: Any) -> Iterator[gr.Blocks]:
    """A server of `page` while the block lasts; `options` are those of `Blocks.launch`.

    Uploads and downloads lie in a folder of this server alone, which goes with it, unless GRADIO_TEMP_DIR names one.
    Raises `OSError` where it can't listen.
    """
    with ExitStack() as stack:
        if _FILES not in os.environ:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="eovseg-files-", ignore_cleanup_errors=True)
            )
            os.environ[_FILES] = folder
            stack.callback(os.environ.pop, _FILES, None)
        demo = build(page)
        # api_open: nobody gets past the queue.
        demo.queue(max_size=MAX_QUEUE, api_open=False)
        stack.callback(demo.close, verbose=False)
        with asked_directly(options.get("server_name")):
            demo.launch(prevent_thread_lock=True, **launch_options(), **options)
        stack.enter_context(Janitor(demo, page.store))
        yield demo
