"""The photo box of the page and of the endpoints: it takes files that the caller uploaded, and no others."""

from typing import Any

import gradio as gr
from gradio.data_classes import FileData


def uploaded_photo(**options: Any) -> gr.Image:
    """A `gr.Image` that refuses a path on the server; `options` are those of `gr.Image`.

    Gradio looks whether a file was uploaded only where its record says that it is one, and `gr.Image` fills that in by
    itself where it is missing: a forged call with a bare path would read any photo of the server. `FileData` refuses
    such a record. It is set on the component rather than in a subclass, for which Gradio writes a file beside the code.
    """
    photo = gr.Image(type="filepath", **options)
    setattr(photo, "data_model", FileData)  # noqa: B010  (its type says ImageData)
    return photo
