"""The interface for Python users, the page, the notebooks and the command line: segments, words and advice."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eovseg.advice.counterfactuals import Counterfactual, counterfactuals
from eovseg.advice.doctor import Diagnosis, diagnose
from eovseg.advice.suggest import Suggestion, likeliest, noun_scores
from eovseg.errors import ConfigError
from eovseg.images import ImageSource
from eovseg.segmenter import Segmenter
from eovseg.settings import Settings
from eovseg.stages import ImageState
from eovseg.typed_settings import is_integer
from eovseg.vocabulary import Vocabulary, Words
from eovseg.word import Word


class Predictor(Segmenter):
    """A `Segmenter` that also gives advice on words and makes words by example."""

    def suggest(self, photo: ImageSource, k: int = 20) -> list[Suggestion]:
        """The `k` everyday nouns that are most likely in the photo, likeliest first; see `eovseg.advice.suggest`.

        Raises `ConfigError` if `k` is not an integer of at least 1.
        """
        if not is_integer(k) or k < 1:
            raise ConfigError(f"k={k!r} is not allowed; give the number of words to suggest, an integer from 1.")
        return likeliest(noun_scores(self, self.encode_image(photo)), k)

    def doctor(
        self,
        photos: ImageSource | Sequence[ImageSource],
        vocabulary: Words,
        settings: Settings | None = None,
    ) -> Diagnosis:
        """Problems with a list of words on one or several photos; see `eovseg.advice.doctor`."""
        several = isinstance(photos, Sequence) and not isinstance(photos, str)
        given: Any = photos if several else [photos]
        states = (self.encode_image(photo, keep=len(given) == 1) for photo in given)
        return diagnose(self, states, Vocabulary.coerce(vocabulary), settings or Settings())

    def counterfactuals(
        self,
        photo: ImageSource,
        vocabulary: Words,
        segment: int,
        *,
        background: Words | None = None,
        settings: Settings | None = None,
    ) -> list[Counterfactual]:
        """The smallest changes that rename a segment of this result; see `eovseg.advice.counterfactuals`."""
        return counterfactuals(self, photo, vocabulary, segment, background=background, settings=settings)

    def word_from(
        self, name: str, state: ImageState, mask: np.ndarray, is_thing: bool | None = None, before: Word | None = None
    ) -> Word:
        """A word by example from a mask (H, W) of an encoded photo, or `before` with this example added.

        `Word.from_examples` takes several photos at once, and raises the same errors.
        """
        from eovseg.examples import add_example

        return add_example(self, name, state, mask, is_thing, before)

    def word_from_examples(
        self, name: str, examples: Sequence[tuple[ImageSource, Any]], is_thing: bool | None = None
    ) -> Word:
        """See `Word.from_examples`."""
        from eovseg.examples import word_from_examples

        return word_from_examples(name, examples, self, is_thing)
