"""The page: thin callbacks over `eovseg.Predictor`."""
