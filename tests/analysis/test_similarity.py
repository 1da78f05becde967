"""Similarity of words and pixels: checked by hand where possible, otherwise against the network's own values."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from analysis.grids import grid_cell
from analysis.similarity import (
    VOID,
    Measure,
    SimilarityMaps,
    concentration,
    similarity_maps,
    vas_weight,
    word_competition,
    word_focus,
    word_mask,
)
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor
from eovseg.stages import Decoded
from tests.analysis.conftest import MakeResult

LEFT = np.array([[True, False], [True, False]])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1, 0], [1, 0]], 1.0),
        ([[0, 1], [0, 3]], 0.0),
        ([[1, 1], [0, 2]], 0.25),
        ([[1, 1], [-9, -9]], 0.5),  # negative values do not count
    ],
)
def test_concentration_of_small_maps(values: list[list[float]], expected: float) -> None:
    assert concentration(np.array(values, np.float32), LEFT) == pytest.approx(expected)


def test_concentration_without_anything_positive_is_unknown() -> None:
    assert math.isnan(concentration(-np.ones((2, 2), np.float32), LEFT))


def test_concentration_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="sizes must agree"):
        concentration(np.ones((2, 3), np.float32), LEFT)


def test_maps_are_vas_own_scaled_dot_product(predictor: Predictor, decoded: Decoded) -> None:
    """The map equals E and G multiplied by hand."""
    network, words = predictor.network, ["bus", "zebra"]
    maps = similarity_maps(predictor, decoded, words)
    assert maps.before.shape == maps.after.shape == (2, 60, 100) and maps.words == ("bus", "zebra")
    inside = decoded.intermediates
    assert inside is not None and network.vas is not None
    rows = torch.from_numpy(predictor.words.embed(words))
    for features, found in ((inside.aggregated, maps.before), (inside.selected, maps.after)):
        with torch.inference_mode():
            product = torch.einsum("dhw,nd->nhw", network.vas.embed(features)[0], network.vas.guide(rows))
        expected = product / math.sqrt(predictor.config.embed_dim)
        height, width = decoded.state.features.image_size
        padded = F.interpolate(expected[None], decoded.state.features.padded_size, mode="bilinear")[
            ..., :height, :width
        ]
        # two bilinear steps: to the padded input, then to the photo
        whole = F.interpolate(padded, (60, 100), mode="bilinear")[0].numpy()
        assert np.allclose(found, whole, atol=1e-4)


@pytest.mark.parametrize("intermediates", [True, False])
def test_maps_of_a_bfloat16_predictor(predictor: Predictor, decoded: Decoded, intermediates: bool) -> None:
    """A bfloat16 predictor has narrower features than weights."""
    features, logits = decoded.state.features, decoded.logits
    features = replace(features, aggregated=features.aggregated.bfloat16())
    assert logits.intermediates is not None
    inside = replace(logits.intermediates, selected=logits.intermediates.selected.bfloat16()) if intermediates else None
    narrow = replace(
        decoded, state=replace(decoded.state, features=features), logits=replace(logits, intermediates=inside)
    )
    for measure in get_args(Measure):
        wide, found = (similarity_maps(predictor, one, ["bus"], measure).after for one in (decoded, narrow))
        assert np.abs(found - wide).max() < 0.1 * np.ptp(wide)
    assert len(word_competition(predictor, narrow, 10, 10)) > 1


def test_limits_span_both_maps(predictor: Predictor, decoded: Decoded) -> None:
    maps = similarity_maps(predictor, decoded, ["sky"])
    both = np.stack([maps.before, maps.after])
    assert maps.limits == (both.min(), both.max())


def test_cosine_lies_between_minus_one_and_one(predictor: Predictor, decoded: Decoded) -> None:
    maps = similarity_maps(predictor, decoded, ["bus", "sky"], "cosine")
    assert maps.limits[0] >= -1.0001 and maps.limits[1] <= 1.0001
    assert not np.allclose(maps.before, similarity_maps(predictor, decoded, ["bus", "sky"]).before)


def test_invalid_arguments_get_one_sentence(predictor: Predictor, decoded: Decoded) -> None:
    with pytest.raises(ConfigError, match="at least one word"):
        similarity_maps(predictor, decoded, [])
    with pytest.raises(ConfigError, match="scaled dot product or cosine"):
        similarity_maps(predictor, decoded, ["sky"], "euclid")  # type: ignore[arg-type]


def test_shares_of_all_words_sum_to_one_and_make_the_weight(predictor: Predictor, decoded: Decoded) -> None:
    scores = word_competition(predictor, decoded, 40, 45, top=99)
    assert {score.word for score in scores} == {"bus", "coach", "person", "sky", VOID}
    assert sum(score.share for score in scores) == pytest.approx(1, abs=1e-5)
    assert [s.share for s in scores] == sorted((s.share for s in scores), reverse=True)
    vas, inside = predictor.network.vas, decoded.intermediates
    assert vas is not None and inside is not None and inside.vas_attention is not None
    assert scores[0].share == pytest.approx(float(_cell(inside.vas_attention, decoded, 40, 45)), abs=1e-5)


def _cell(maps: torch.Tensor, decoded: Decoded, x: int, y: int) -> torch.Tensor:
    height, width = decoded.state.features.image_size
    return maps[0, 0, int((y + 0.5) * height / 60 / 4), int((x + 0.5) * width / 100 / 4)]


@pytest.mark.parametrize("point", [(-5, -5), (1000, 1000)])
def test_points_outside_the_photo_give_the_nearest_cell(
    predictor: Predictor, decoded: Decoded, point: tuple[int, int]
) -> None:
    corner = (0, 0) if point[0] < 0 else (99, 59)
    assert word_competition(predictor, decoded, *point) == word_competition(predictor, decoded, *corner)


def test_weight_covers_the_photo(predictor: Predictor, decoded: Decoded) -> None:
    weight = vas_weight(predictor, decoded)
    assert similarity_maps(predictor, decoded, ["sky"]).weight_limits == (weight.min(), weight.max())
    inside = decoded.intermediates
    assert inside is not None and inside.vas_weights is not None
    assert weight.shape == (60, 100)
    assert (
        float(inside.vas_weights.min()) - 1e-5 <= weight.min() <= weight.max() <= float(inside.vas_weights.max()) + 1e-5
    )


def test_word_mask_knows_synonyms(make_result: MakeResult) -> None:
    result = make_result(np.array([[1, 1, 2], [3, 3, 0]]), [0, 1, 0])
    assert word_mask(result, "Coach").tolist() == [[True, True, False], [True, True, False]]
    assert not word_mask(result, "zebra").any()


def test_focus_is_the_concentration_on_the_words_segments(make_result: MakeResult) -> None:
    result = make_result(np.array([[1, 1, 2, 2]]), [0, 2])
    before, after = np.array([[[1, 1, 1, 1]], [[0, 0, 0, 0]]], np.float32), np.array([[[3, 0, 1, 0]], [[1, 1, 1, 1]]])
    maps = SimilarityMaps(("bus", "zebra"), before, after.astype(np.float32), "cosine", (1.0, 1.0))
    focus = word_focus(maps, 0, result)
    assert (focus.word, focus.before, focus.after, focus.area) == ("bus", 0.5, 0.75, 0.5)
    unknown = word_focus(maps, 1, result)
    assert math.isnan(unknown.before) and math.isnan(unknown.after) and math.isnan(unknown.area)


def test_stored_intermediates_give_the_same_numbers(predictor: Predictor, decoded: Decoded) -> None:
    """The values at a pixel equal those of the whole maps, with and without intermediates."""
    plain = predictor.decode(decoded.state, decoded.vocabulary)
    assert np.allclose(vas_weight(predictor, plain), vas_weight(predictor, decoded), atol=1e-6)
    assert predictor.network.vas is not None
    text, _ = predictor.network.text_rows(predictor.text_embeddings(decoded.vocabulary))
    with torch.inference_mode():
        embedded = predictor.network.vas.embed(decoded.state.features.aggregated)
        whole = predictor.network.vas.similarity(embedded, text)[0].mean(0)
    height, width = embedded.shape[-2:]
    for x, y in ((0, 0), (99, 59), (40, 45)):
        scores = {score.word: score.before for score in word_competition(predictor, plain, x, y, top=99)}
        row, column = grid_cell(decoded.state, x, y)
        own = whole.unflatten(-1, (height, width))[:, row, column].tolist()
        assert [scores[word] for word in (*decoded.vocabulary.words, VOID)] == pytest.approx(own, abs=1e-4)
