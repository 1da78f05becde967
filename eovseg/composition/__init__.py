"""From logits to results in bounded memory: what `eovseg.model.postprocess` says, and XS's own rule, made fast."""
