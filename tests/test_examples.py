"""Words by example: with the trained XS on a photo, and with S, M and L with seeded random weights."""

import numpy as np
import pytest
import torch
from PIL import Image

import eovseg
from analysis.variant_cost import random_predictor
from eovseg.assets import asset_path
from eovseg.errors import VocabularyError
from eovseg.evaluation.true_masks import masks_on_grid, true_mask_scores
from eovseg.examples import directions, word_vector
from eovseg.model.classifier import class_log_probabilities
from eovseg.predictor import Predictor
from eovseg.presets import TRAINING_PRESET
from eovseg.vocabulary import Vocabulary
from eovseg.word import Word

BEAR = asset_path("photos/bear.jpg")


@pytest.fixture(scope="module")
def bear(xs: Predictor) -> np.ndarray:
    """The bear of the example photo as XS finds it, (H, W) bool."""
    result = xs(str(BEAR), "bear; grass: stuff")
    return result.mask(next(i for i, segment in enumerate(result.segments) if segment.label == "bear"))


def test_a_word_by_example_finds_its_thing_among_typed_words(xs: Predictor, bear: np.ndarray) -> None:
    word = eovseg.Word.from_examples("our friend", [(str(BEAR), bear)], xs)
    assert (word.name, word.is_thing, word.examples.shape, word.variant) == ("our friend", True, (1, 384), "xs")
    assert word.weights == xs.weights and len(word.weights) == 64
    result = xs(str(BEAR), ["grass: stuff; car; sky: stuff", word])
    found = [result.mask(i) for i, segment in enumerate(result.segments) if segment.label == "our friend"]
    overlap = max((mask & bear).sum() / (mask | bear).sum() for mask in found)
    assert overlap > 0.8
    # The name alone does not find it, so the examples do.
    assert "our friend" not in [s.label for s in xs(str(BEAR), "grass: stuff; car; sky: stuff; our friend").segments]


def test_all_ways_to_give_several_examples_agree(xs: Predictor, bear: np.ndarray) -> None:
    photo = np.array(Image.open(BEAR).convert("RGB"))
    both = eovseg.Word.from_examples("bear", [(photo, bear), (photo, ~bear)], xs, is_thing=False)
    state = xs.encode_image(photo)
    again = xs.word_from("bear", state, ~bear, before=xs.word_from("bear", state, bear, False))
    assert again == both and len(again.examples) == 2 and not again.is_thing
    rows = directions(xs, state, np.stack([bear, ~bear]))
    lengths = [np.linalg.norm(kept, axis=1) for kept in (rows, both.examples)]
    alike = (rows * both.examples).sum(1) / np.prod(lengths, axis=0)
    assert (alike > 0.9).all(), "masks in one call influence each other slightly"
    assert np.min(lengths) > 0 and np.max(lengths) < 1 + 1e-6


def test_an_example_wins_few_of_the_other_kernels(xs: Predictor) -> None:
    photo = str(asset_path("photos/parked-car.jpg"))
    result = xs(photo, TRAINING_PRESET)
    car = result.mask(result.names.index("car"))
    words = Vocabulary.preset(TRAINING_PRESET)
    known = xs.text_embeddings(words).embeddings.numpy().astype(np.float64)
    center, state = known.mean(0), xs.encode_image(photo)
    spread = np.linalg.norm(known - center, axis=1).mean()
    row = directions(xs, state, car[None])

    def share(row: np.ndarray) -> float:
        """Share of the kernels outside the car that get the word's name when it is added to the training words."""
        vector = center + spread * row[0]
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        word = Word("xyz", True, vector, row, xs.words.embed(["xyz"])[0], "xs")
        decoded = xs.decode(state, Vocabulary.coerce([*words.words, word]))
        seen = torch.from_numpy(xs.seen(decoded.vocabulary))
        scores = class_log_probabilities(decoded.logits, seen, xs.config.alpha, xs.config.beta, xs.config.ensemble)
        wins = (scores[0, :, :-1].argmax(-1) == len(seen) - 1).numpy()
        found = (decoded.logits.mask_logits[-1][0] > 0).numpy()
        own = masks_on_grid(car[None], state.features)[0].numpy()
        outside = found.any((1, 2)) & ((found & own).sum((1, 2)) < 0.5 * found.sum((1, 2)))
        return float(wins[outside].mean())

    assert share(row) < 0.1, "the word changes VAS and so the kernels slightly"
    assert share(row / np.linalg.norm(row)) > share(row), "otherwise the length does nothing"


def test_a_vector_is_close_to_the_texts() -> None:
    words = np.array([[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1]], dtype=np.float32) / np.sqrt(2, dtype=np.float32)
    name = words[0]
    vector = word_vector(np.array([[0, 0, 1]], dtype=np.float32), name, words)
    middle = words.mean(0)
    away = vector - middle * (vector[0] / middle[0])
    assert vector[0] == pytest.approx(np.sqrt(0.5), abs=1e-6) and np.linalg.norm(vector) == pytest.approx(1)
    assert away[1] == pytest.approx(away[2]), "one example has the same weight as the name"
    three = word_vector(np.repeat([[0, 0, 1]], 3, axis=0).astype(np.float32), name, words)
    assert three[2] == pytest.approx(3 * three[1])


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([], "1 to 100 examples"),
        ([(str(BEAR), np.ones((2, 2), bool))], "The mask of an example is 2 x 2 of bool"),
        ([(np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), bool))], "covers no pixel"),
        ([(np.zeros((40, 60, 3), np.uint8), np.ones((40, 60)))], "of float64"),
        ([(np.zeros((40, 60, 3), np.uint8), None)], "example is NoneType; give an array of 40 x 60"),
        (["photo.jpg"], "pair of a photo and a mask"),
    ],
)
def test_examples_that_cannot_be_used(xs: Predictor, examples: list[object], said: str) -> None:
    with pytest.raises(VocabularyError, match=said) as error:
        eovseg.Word.from_examples("mug", examples, xs)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.fixture(params=["s", "m", "l"], scope="module")
def seeded(request: pytest.FixtureRequest) -> Predictor:
    return random_predictor(request.param, short_side=64)


def test_every_variant_uses_it_in_vas_and_both_classifiers(seeded: Predictor) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    mask = np.zeros((64, 96), dtype=bool)
    mask[:32, :48] = True
    word = eovseg.Word.from_examples("our mug", [(photo, mask)], seeded)
    assert len(word.vector) == seeded.config.embed_dim
    plain, mixed = (
        Vocabulary.parse("dog; our mug; sky: stuff"),
        Vocabulary.coerce(["dog", word, "sky: stuff"], synonyms=False),
    )
    rows = seeded.text_embeddings(mixed).embeddings
    np.testing.assert_array_equal(rows[1].numpy(), word.vector)
    state = seeded.encode_image(photo)
    before, after = (seeded.decode(state, words, intermediates=True) for words in (plain, mixed))
    assert before.intermediates is not None and after.intermediates is not None
    assert before.intermediates.vas_attention is not None and after.intermediates.vas_attention is not None
    assert not torch.equal(before.intermediates.vas_attention, after.intermediates.vas_attention)
    grid = masks_on_grid(mask[None], state.features)
    first, second = (true_mask_scores(seeded, decoded, grid, 0.4, 0.8, "geometric") for decoded in (before, after))
    for name in ("in-vocabulary", "out-of-vocabulary"):
        assert first[name][0, 1] != second[name][0, 1], name
    seeded.compose(after)


def test_a_word_of_another_text_space_is_refused(xs: Predictor, seeded: Predictor) -> None:
    photo, mask = np.zeros((64, 96, 3), dtype=np.uint8), np.ones((64, 96), dtype=bool)
    word = eovseg.Word.from_examples("our mug", [(photo, mask)], seeded)
    with pytest.raises(VocabularyError, match=rf"EOV-Seg {seeded.config.variant.upper()}.*make the word again"):
        xs.text_embeddings(["dog", word])
