"""Advice about words: what a photo shows, which words are not in it, what a list lacks, what would change a name.

All of it uses a `Segmenter` and no other network. `eovseg.evaluation.advice` measures how good the advice is.
"""
