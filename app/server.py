"""Starting and ending a server of the page, whoever asks for it: the command line, a test, the screenshots."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from app.gradio_internals import keep_mcp_files_in
from app.janitor import Janitor
from app.layout import build, launch_options
from app.limits import MAX_QUEUE
from app.page import Page
from app.proxies import asked_directly

_FILES = "GRADIO_TEMP_DIR"
# Gradio draws statistics over its last events after each one; of ten thousand that takes longer than composing.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")


@contextmanager
def _own_folder() -> Iterator[None]:
    """Gradio's files lie in a new folder while the block lasts: the janitor deletes whatever is in it."""
    before = os.environ.get(_FILES)
    if before:
        Path(before).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eovseg-files-", dir=before or None, ignore_cleanup_errors=True) as folder:
        os.environ[_FILES] = folder
        mcp_before = keep_mcp_files_in(folder)
        try:
            yield
        finally:
            keep_mcp_files_in(mcp_before)
            if before is None:
                del os.environ[_FILES]
            else:
                os.environ[_FILES] = before


@contextmanager
def served(page: Page, **options: Any) -> Iterator[gr.Blocks]:
    """A server of `page` while the block lasts; `options` are those of `Blocks.launch`.

    Uploads and downloads lie in a folder of this server alone, which is deleted when it ends: in the system's folder
    for temporary files, or in the one that GRADIO_TEMP_DIR names. Raises `OSError` where it can't listen.
    """
    with ExitStack() as stack:
        stack.enter_context(_own_folder())
        demo = build(page)
        # api_open: nobody gets past the queue.
        demo.queue(max_size=MAX_QUEUE, api_open=False)
        stack.callback(demo.close, verbose=False)
        with asked_directly(options.get("server_name")):
            demo.launch(prevent_thread_lock=True, **launch_options(), **options)
        stack.enter_context(Janitor(demo, page.store))
        yield demo
