"""What is wrong with a call of the page's API, as one sentence: Gradio itself answers `{"error": null}`."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.exceptions import InvalidPathError
from pydantic import ValidationError

_LOG = logging.getLogger(__name__)
_UPLOAD = (
    'upload the file to gradio_api/upload first and pass {"path": PATH, "meta": {"_type": "gradio.FileData"}} with the '
    "path in the list that it answers; over MCP, give a data URI."
)
NOT_UPLOADED = f"The photo was not uploaded to this page; {_UPLOAD}"
FAILED = "The server failed on this request; its log says why."


class PageBlocks(gr.Blocks):
    """Blocks whose events never fail without a sentence."""

    async def process_api(self, block_fn: BlockFunction | int, inputs: list[Any], *rest: Any, **named: Any) -> Any:
        """As `gr.Blocks.process_api`; raises `gr.Error` only."""
        try:
            function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
            wrong = what_is_wrong(function, inputs)
            if wrong is not None:
                raise gr.Error(wrong, print_exception=False)
            return await super().process_api(function, inputs, *rest, **named)
        except gr.Error:
            raise
        except (ValidationError, InvalidPathError) as error:  # its form is right, but it names a file of the server
            raise gr.Error(NOT_UPLOADED, print_exception=False) from error
        except Exception as error:
            _LOG.exception("An event of the page failed")
            raise gr.Error(FAILED, print_exception=False) from error


def what_is_wrong(function: BlockFunction, inputs: Sequence[Any]) -> str | None:
    """Whether `inputs` have the number of values and the photos that `function` takes; None where they do."""
    if len(inputs) != len(function.inputs):
        if function.api_visibility != "public":
            return "This request is not one that the page makes."
        names = ", ".join(str(getattr(part, "label", "")) for part in function.inputs)
        return (
            f"/{function.api_name} takes {len(function.inputs)} values, not {len(inputs)}: {names}. Give all of them "
            f"in this order, or call gradio_api/call/v2/{function.api_name} with the names of those that you give."
        )
    for part, value in zip(function.inputs, inputs, strict=True):
        if isinstance(part, gr.Image) and value is not None and not _is_record(value):
            return f"The photo cannot be {_described(value)}; {_UPLOAD}"
        if isinstance(value, dict) and not _could_exist(value.get("path")):
            return NOT_UPLOADED
    return None


def _could_exist(path: object) -> bool:
    """Whether the system could have a file of this name: not one with a zero byte or half a character in it."""
    try:
        return not isinstance(path, str) or b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _is_record(value: object) -> bool:
    """Whether it has the form of an uploaded file; whether it was uploaded is for Gradio to say."""
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return False
    meta = value.get("meta")
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData" and "://" not in value["path"]


def _described(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("path") or value.get("url")
    if isinstance(value, str):
        kind = "a data URI" if value.startswith("data:") else "an address" if "://" in value else "a bare path"
        return f'{kind} ("{value[:40]}{"…" if len(value) > 40 else ""}")'
    return f"a value of the type {type(value).__name__}"
