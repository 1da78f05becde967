"""The page: thin callbacks over `eovseg.Predictor`."""

from app.proxies import drop_unusable

drop_unusable()
