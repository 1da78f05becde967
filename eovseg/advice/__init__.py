"""Advice about words: words that a photo does or does not show, words missing in a list, changes that rename.

All of it uses a `Segmenter` and no other network. `eovseg.evaluation.advice` measures how good the advice is.
"""
