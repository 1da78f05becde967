"""Advice about words: what a photo holds, which words are not in it, what a list lacks, what would change a name.

Nothing here runs a network of its own: it asks a `Segmenter`. What it claims is measured by `eovseg.evaluation.advice`.
"""
