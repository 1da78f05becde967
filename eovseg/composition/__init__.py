"""Results from logits, fast and in bounded memory: those of `eovseg.model.postprocess`, and XS's own rule."""
