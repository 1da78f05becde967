"""Advice about words: which words a photo shows, which are missing from a list, what would rename a segment.

All of it uses a `Segmenter` and no other network. `eovseg.evaluation.advice` measures how good the advice is.
"""
