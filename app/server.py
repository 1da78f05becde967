"""Starts and stops a server of the page, for the command line, the tests and the screenshots."""

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
from app.proxies import direct_connections

_FILES = "GRADIO_TEMP_DIR"
# After each event Gradio computes statistics of its last events; for 10,000 that takes longer than composing a result.
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")


@contextmanager
def _own_folder() -> Iterator[None]:
    """Within the block, Gradio's files are in a new folder, so that the janitor may delete everything in it."""
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
    """Serves `page` within the block; `options` are those of `Blocks.launch`.

    Uploads and downloads are in a folder of this server only, which is deleted when the server stops. It is in the
    folder that GRADIO_TEMP_DIR names, or else in the system's temporary folder. Raises `OSError` if the port is taken.
    """
    with ExitStack() as stack:
        stack.enter_context(_own_folder())
        demo = build(page)
        # api_open=False: no call bypasses the queue.
        demo.queue(max_size=MAX_QUEUE, api_open=False)
        stack.callback(demo.close, verbose=False)
        with direct_connections(options.get("server_name")):
            demo.launch(prevent_thread_lock=True, **launch_options(), **options)
        stack.enter_context(Janitor(demo, page.store))
        yield demo
