"""Results from logits, fast and in bounded memory: the rules of `eovseg.model.postprocess` and that of XS."""
