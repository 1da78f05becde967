"""Computes the vector of a word by example.

In an image-text space, embeddings of photos and of texts lie in separate regions (the modality gap, Liang et al. 2022).
Used directly as a word, the embedding of a mask would therefore win nearly every region. Instead, an example gives a
direction, the weighted sum of two differences: its embedding by the frozen image encoder minus the mean of the other
kernels of the same photo, and the trained classifier's embedding minus the mean of the training words. The vector is
the mean of the training words plus this direction, as long as possible while it still wins only a few of the other
kernels of the example's photo. With several examples, their directions and that of the name are averaged.
`docs/words-by-example.md` has the measurements.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.errors import VocabularyError
from eovseg.evaluation.true_masks import MASK_LOGIT, masks_on_grid
from eovseg.model.classifier import class_log_probabilities, classification_logits
from eovseg.model.values import Logits
from eovseg.presets import TRAINING_PRESET
from eovseg.vocabulary import Vocabulary, checked_name
from eovseg.word import MAX_EXAMPLES, Word

# Weight of the frozen image encoder's direction. With 1, void would win the objects that the word stands for.
_FROZEN = 0.5
# Maximum share of the other kernels of its photo that an example may win against the training words.
_FALSE_ALARMS = 0.05
_LENGTHS = 20  # number of lengths to try, up to the mean distance of a training word from their mean

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
    """Adds an example, a mask (H, W) of an encoded photo, to the word `before`; makes a new word without it. Raises
    `VocabularyError` for an invalid name, an invalid mask, or a word of another text space.
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
    vector = word_vector(rows, text, np.stack(words))
    return Word(name, is_thing, vector, rows, text, predictor.config.variant, predictor.weights)


@torch.inference_mode()
def directions(predictor: "Segmenter", state: "ImageState", masks: np.ndarray) -> np.ndarray:
    """The directions (M, D) float32 from the other kernels of a photo to masks (M, H, W) bool.

    The length of a row, above 0 and at most 1, is relative to the mean distance of a training word from their mean. It
    is the largest with which the row wins at most `_FALSE_ALARMS` of the other kernels. The kernels are those decoded
    with the training words; for the trained classifier, an extra query starts from each mask. Kernels that lie mostly
    in a mask do not count as others, unless all do. Masks passed in one call influence each other slightly.
    """
    network, features = predictor.network, state.features
    words = predictor.text_embeddings(Vocabulary.preset(TRAINING_PRESET))
    center, spread = (
        torch.as_tensor(value).to(words.embeddings.device) for value in _center(words.embeddings.cpu().numpy())
    )
    rows = []
    for part in masks_on_grid(masks, features).split(network.config.queries):
        own = torch.where(part, MASK_LOGIT, -MASK_LOGIT)[None].to(features.aggregated.dtype)
        with predictor._precision():
            logits = network.decode(features, words, extra_masks=own, final_only=True)
            found = logits.mask_logits[-1]
            frozen, others = (network.embed_masks(features, given)[0] for given in (own, found))
        assert logits.extra_class_embeddings is not None
        other_weights = _other_kernel_weights(part, found[0] > 0)
        middle = other_weights @ F.normalize(others.double(), dim=-1)
        # The trained classifier's embeddings already lie near those of the words.
        trained = _directions_from(logits.extra_class_embeddings[0], center)
        units = F.normalize(_FROZEN * _directions_from(frozen, middle) + (1 - _FROZEN) * trained, dim=-1)
        lengths = torch.linspace(0, 1, _LENGTHS + 1, dtype=units.dtype, device=units.device)[1:, None]
        for unit, weights in zip(units, other_weights, strict=True):
            wins = _wins_kernels(predictor, logits, others, F.normalize(center + lengths * spread * unit, dim=-1))
            allowed = lengths[wins.double() @ weights <= _FALSE_ALARMS]
            rows.append(unit * (allowed.max() if len(allowed) else lengths[0]))
    directions: np.ndarray = torch.stack(rows).float().cpu().numpy()
    return directions


def _wins_kernels(predictor: "Segmenter", logits: Logits, others: Tensor, candidates: Tensor) -> Tensor:
    """(G, Q) bool: whether each of the vectors (G, D), added to the training words, wins each kernel.

    `logits` are those of the kernels for the training words, `others` (Q, D) their embeddings by the frozen encoder.
    """
    network, rule = predictor.network, predictor.config
    count = len(candidates)

    def added(known: Tensor, embeddings: Tensor, scale: Tensor) -> Tensor:
        index = torch.arange(count, device=known.device)
        new = classification_logits(embeddings.double(), candidates, index, scale, count)[0].T[..., None]
        known = known.double().expand(count, -1, -1)
        return torch.cat([known[..., :-1], new, known[..., -1:]], dim=-1)

    trained_scale, frozen_scale = network.decoder.layers[-1].logit_scale, network.feature_extractor.logit_scale
    assert isinstance(trained_scale, Tensor)
    joined = replace(
        logits,
        class_logits=(added(logits.class_logits[-1], logits.class_embeddings, trained_scale),),
        out_of_vocabulary_logits=added(logits.out_of_vocabulary_logits, others[None], frozen_scale),
    )
    seen = torch.from_numpy(np.append(predictor.seen(Vocabulary.preset(TRAINING_PRESET)), False)).to(others.device)
    scores = class_log_probabilities(joined, seen, rule.alpha, rule.beta, rule.ensemble)[..., :-1]
    return scores.argmax(-1) == len(seen) - 1


def _other_kernel_weights(masks: Tensor, found: Tensor) -> Tensor:
    """Weights (M, Q) of the kernels whose masks (Q, h, w) bool lie mostly outside each mask (M, h, w) bool.

    They are equal and sum to 1. If no kernel lies outside, all kernels with a mask have a weight; without any, all
    weights are 0.
    """
    area = found.flatten(1).sum(1).double()  # (Q,)
    inside = masks.flatten(1).double() @ found.flatten(1).double().T  # (M, Q)
    outside = (inside < 0.5 * area) & (area > 0)
    weights = torch.where(outside.any(1, keepdim=True), outside, area > 0).double()
    return weights / weights.sum(1, keepdim=True).clamp(min=1)


def _directions_from(embeddings: Tensor, middle: Tensor) -> Tensor:
    """Unit directions (M, D) from `middle`, (M, D) or (D,), to embeddings (M, D) scaled to unit length."""
    return F.normalize(F.normalize(embeddings.double(), dim=-1) - middle, dim=-1)


def word_vector(examples: np.ndarray, text: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The vector (D,) float32 from rows of `directions` (n, D), a name's embedding (D,) and those of words (N, D).

    For the direction, the name has the same weight as one example. The length is that of the mean of the examples, so
    it is shorter for examples that disagree, and the word then wins fewer regions.
    """
    center, spread = _center(words)
    mean = examples.mean(0, dtype=np.float64)
    both = len(examples) * _unit(mean) + _unit(text - center)
    return _unit(center + spread * np.linalg.norm(mean) * _unit(both)).astype(np.float32)


def _center(words: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean (D,) float64 of embeddings (N, D), and their mean distance from it."""
    center: np.ndarray = words.mean(0, dtype=np.float64)
    return center, np.linalg.norm(words - center, axis=1).mean()


def _unit(vector: np.ndarray) -> np.ndarray:
    length = max(float(np.linalg.norm(vector)), 1e-12)
    return vector / length


def _checked_mask(mask: Any, size: tuple[int, ...]) -> np.ndarray:
    """The mask as (H, W) bool; raises `VocabularyError` if it is empty or not a mask of a photo of this size."""
    given = np.asarray(mask)
    if given.shape != size or given.dtype.kind not in "bui":
        shape = f"{' x '.join(map(str, given.shape))} of {given.dtype}" if given.ndim else type(mask).__name__
        raise VocabularyError(
            f"The mask of an example is {shape}; give an array of {' x '.join(map(str, size))} integers or booleans, "
            "one for each pixel of the photo, above 0 inside the mask."
        )
    inside = given > 0
    if not inside.any():
        raise VocabularyError("The mask of an example covers no pixel; mark the object that the word stands for.")
    return inside
