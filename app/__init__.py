"""The Gradio page: thin callbacks around `eovseg.Predictor`."""

from app.proxies import drop_unusable

drop_unusable()
