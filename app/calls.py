"""Reports errors of API calls in one sentence; Gradio itself only answers `{"error": null}`."""

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
    "path from the list that it returns; over MCP, pass a data URI."
)
NOT_UPLOADED = f"The photo was not uploaded to this page; {_UPLOAD}"
FAILED = "This request caused an error on the server; see its log."


class PageBlocks(gr.Blocks):
    """Blocks whose events report every failure as a sentence."""

    async def process_api(self, block_fn: BlockFunction | int, inputs: list[Any], *rest: Any, **named: Any) -> Any:
        """Like `gr.Blocks.process_api`, but raises only `gr.Error`."""
        try:
            function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
            wrong = input_error(function, inputs)
            if wrong is not None:
                raise gr.Error(wrong, print_exception=False)
            return await super().process_api(function, inputs, *rest, **named)
        except gr.Error:
            raise
        except (ValidationError, InvalidPathError) as error:  # a well-formed record that names a file of the server
            raise gr.Error(NOT_UPLOADED, print_exception=False) from error
        except Exception as error:
            _LOG.exception("An event of the page failed")
            raise gr.Error(FAILED, print_exception=False) from error


def input_error(function: BlockFunction, inputs: Sequence[Any]) -> str | None:
    """An error message if `inputs` has the wrong number of values or photos that are not accepted; else None."""
    if len(inputs) != len(function.inputs):
        if function.api_visibility != "public":
            return "This is not a request that the page makes."
        names = ", ".join(str(getattr(part, "label", "")) for part in function.inputs)
        return (
            f"/{function.api_name} takes {len(function.inputs)} values, not {len(inputs)}: {names}. Pass all of them "
            f"in this order, or call gradio_api/call/v2/{function.api_name} with named values."
        )
    for part, value in zip(function.inputs, inputs, strict=True):
        if isinstance(part, gr.Image) and value is not None and not _is_record(value):
            return f"The photo cannot be {_described(value)}; {_UPLOAD}"
        if isinstance(value, dict) and not _could_exist(value.get("path")):
            return NOT_UPLOADED
    return None


def _could_exist(path: object) -> bool:
    """Whether a file can have this name: no zero byte, and no lone surrogate."""
    try:
        return not isinstance(path, str) or b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _is_record(value: object) -> bool:
    """Whether `value` has the form of an uploaded file; Gradio checks whether it was uploaded."""
    if not isinstance(value, dict) or not isinstance(value.get("path"), str):
        return False
    meta = value.get("meta")
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData" and "://" not in value["path"]


def _described(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("path") or value.get("url")
    if isinstance(value, str):
        kind = "a data URI" if value.startswith("data:") else "a URL" if "://" in value else "a bare path"
        return f'{kind} ("{value[:40]}{"…" if len(value) > 40 else ""}")'
    return f"a value of the type {type(value).__name__}"
