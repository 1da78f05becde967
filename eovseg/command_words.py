"""Words as a command is given them: what is told about them goes to standard error, a sentence each."""

import sys

from eovseg.vocabulary import Vocabulary


def read_words(text: str, tell: bool = True) -> Vocabulary:
    """`Vocabulary.read(text)`, whose notes are printed where `tell` says so; raises `VocabularyError` as it does."""
    words = Vocabulary.read(text)
    tell_notes(words, tell)
    return words


def tell_notes(words: Vocabulary, tell: bool = True) -> None:
    """Print the notes of a vocabulary, one a line, where `tell` says so."""
    for note in words.notes if tell else ():
        print(f"eovseg: {note}", file=sys.stderr)
