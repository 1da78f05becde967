"""The photo input of the page and of the endpoints, which accepts only files that the caller uploaded."""

from typing import Any

import gradio as gr
from gradio.data_classes import FileData


def uploaded_photo(**options: Any) -> gr.Image:
    """A `gr.Image` that refuses paths on the server; `options` are those of `gr.Image`.

    Gradio checks whether a file was uploaded only if its record has the type of a file, and `gr.Image` adds a missing
    type by itself. A forged call with a bare path could thus read any photo of the server. `FileData` refuses such a
    record. It is set on the instance because Gradio writes a file beside the code for every subclass.
    """
    photo = gr.Image(type="filepath", **options)
    setattr(photo, "data_model", FileData)  # noqa: B010  (declared as ImageData)
    return photo
