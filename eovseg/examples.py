"""How a word by example gets its vector.

An image–text space holds photos and texts in two places (the modality gap, Liang et al. 2022), so the embedding of a
mask cannot stand among words as it is: it would win nearly every region. What an example adds is therefore a direction,
its embedding by the frozen tower less the mean of what else is in the same photo, and a share of the trained
classifier's embedding less the mean of the training words, among which it lies. The directions of all examples, and
that of the name, are averaged and put where texts are: mean of the training words plus as much of the direction as
those words have on average. `docs/words-by-example.md` has the measurements.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.errors import VocabularyError
from eovseg.evaluation.true_masks import MASK_LOGIT, masks_on_grid
from eovseg.vocabulary import TRAINING_PRESET, Vocabulary, checked_name
from eovseg.word import MAX_EXAMPLES, Word

# Share of the frozen tower's direction. Without some of the trained classifier's, void takes what the word stands for.
_FROZEN = 0.5

if TYPE_CHECKING:
    from eovseg.images import ImageSource
    from eovseg.segmenter import Segmenter
    from eovseg.stages import ImageState


def word_from_examples(
    name: str, examples: "Sequence[tuple[ImageSource, Any]]", predictor: "Segmenter", is_thing: bool | None
) -> Word:
    """See `Word.from_examples`."""
    pairs = list(examples)
    if not 1 <= len(pairs) <= MAX_EXAMPLES:
        raise VocabularyError(
            f"A word needs 1 to {MAX_EXAMPLES} examples, pairs of a photo and a mask, not {len(pairs)}."
        )
    word = None
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise VocabularyError("Each example is a pair of a photo and a mask; give (photo, mask).")
        word = add_example(predictor, name, predictor.encode_image(pair[0]), pair[1], is_thing, word)
    assert word is not None
    return word


def add_example(
    predictor: "Segmenter",
    name: str,
    state: "ImageState",
    mask: Any,
    is_thing: bool | None = None,
    before: Word | None = None,
) -> Word:
    """The word `before`, or a new one, with one example more: a mask (H, W) of an encoded photo.

    Raises `VocabularyError` for a name that cannot be used, a mask that does not fit and a word of another text space.
    """
    name = checked_name(name)
    inside = _checked_mask(mask, state.image.shape[:2])
    if is_thing is None:
        is_thing = Vocabulary.parse(name).classes[0].is_thing
    text = predictor.words.embed([name])[0].astype(np.float32)
    known = np.zeros((0, len(text)), dtype=np.float32)
    if before is not None:
        before.row(text if before.name == name else predictor.words.embed([before.name])[0], predictor.config.variant)
        known, is_thing = before.examples, before.is_thing
    rows = np.concatenate([known, directions(predictor, state, inside[None])])
    return word_of(predictor, name, is_thing, rows)


def word_of(predictor: "Segmenter", name: str, is_thing: bool, rows: np.ndarray) -> Word:
    """The word whose examples have the directions `rows` (n, D)."""
    text, *words = predictor.words.embed([name, *Vocabulary.preset(TRAINING_PRESET).words]).astype(np.float32)
    vector = placed(rows, text, np.stack(words))
    return Word(name, is_thing, vector, rows, text, predictor.config.variant, predictor.weights)


@torch.inference_mode()
def directions(predictor: "Segmenter", state: "ImageState", masks: np.ndarray) -> np.ndarray:
    """(M, D) float32, unit length: how masks (M, H, W) bool differ from what else the kernels find in the photo.

    The kernels are those that the training words give; for the trained classifier one starts from each mask. Kernels
    that lie mostly in a mask are no other thing, unless all do. Masks that are given together see each other a little.
    """
    network, features = predictor.network, state.features
    words = predictor.text_embeddings(Vocabulary.preset(TRAINING_PRESET))
    rows = []
    for part in masks_on_grid(masks, features).split(network.config.queries):
        own = torch.where(part, MASK_LOGIT, -MASK_LOGIT)[None].to(features.aggregated.dtype)
        with predictor._precision():
            logits = network.decode(features, words, extra_masks=own, final_only=True)
            found = logits.mask_logits[-1]
            frozen, others = (network.embed_masks(features, given)[0] for given in (own, found))
        assert logits.extra_class_embeddings is not None
        middle = _elsewhere(part, found[0] > 0) @ F.normalize(others.double(), dim=-1)
        # The trained classifier's embeddings lie among texts already.
        trained = _away(logits.extra_class_embeddings[0], words.embeddings.double().mean(0))
        rows.append(F.normalize(_FROZEN * _away(frozen, middle) + (1 - _FROZEN) * trained, dim=-1))
    directions: np.ndarray = torch.cat(rows).float().cpu().numpy()
    return directions


def _elsewhere(masks: Tensor, found: Tensor) -> Tensor:
    """(M, Q) weights, of sum 1 or 0: the kernels whose masks (Q, h, w) bool lie mostly outside masks (M, h, w) bool."""
    area = found.flatten(1).sum(1).double()  # (Q,)
    inside = masks.flatten(1).double() @ found.flatten(1).double().T  # (M, Q)
    outside = (inside < 0.5 * area) & (area > 0)
    weights = torch.where(outside.any(1, keepdim=True), outside, area > 0).double()
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


def _away(embeddings: Tensor, middle: Tensor) -> Tensor:
    """Unit directions (M, D) in which embeddings (M, D), taken at unit length, lie from `middle` (M, D) or (D,)."""
    return F.normalize(F.normalize(embeddings.double(), dim=-1) - middle, dim=-1)


def placed(examples: np.ndarray, text: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The vector (D,) float32 of directions (n, D) and a name's embedding (D,), among the embeddings `words` (N, D)."""
    middle = words.mean(0, dtype=np.float64)
    spread = np.linalg.norm(words - middle, axis=1).mean()
    # The name counts as much as one example.
    both = len(examples) * _unit(examples.mean(0, dtype=np.float64)) + _unit(text - middle)
    return _unit(middle + spread * _unit(both)).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    length = max(float(np.linalg.norm(vector)), 1e-12)
    return vector / length


def _checked_mask(mask: Any, size: tuple[int, ...]) -> np.ndarray:
    """The mask as (H, W) bool; raises `VocabularyError` for what is none of a photo of this size."""
    given = np.asarray(mask)
    if given.shape != size or given.dtype.kind not in "bui":
        raise VocabularyError(
            f"The mask of an example is {' x '.join(map(str, given.shape)) or 'no array'} of {given.dtype}, and the "
            f"photo {' x '.join(map(str, size))}; give one whole number or truth value a pixel, above 0 inside."
        )
    inside = given > 0
    if not inside.any():
        raise VocabularyError("The mask of an example covers no pixel; mark what the word stands for.")
    return inside
