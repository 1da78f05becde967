"""Cost of a variant with random weights: no text encoder in memory, the network's own counts, and no cached photo."""

import logging

import numpy as np
import pytest
import torch

from analysis.variant_cost import RandomTextEncoder, random_predictor, variant_cost
from eovseg.errors import ConfigError
from eovseg.evaluation.cost import count_multiply_adds, parameter_counts
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("bus: thing; sky: stuff; road: stuff")


@pytest.fixture(scope="module")
def small() -> Predictor:
    return random_predictor("s", short_side=96)


def test_the_work_grows_with_the_photo_and_no_photo_is_cached(small: Predictor) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    cost = variant_cost(small, photo, WORDS, runs=1)
    wide = variant_cost(small, np.concatenate([photo, photo], axis=1), WORDS, runs=1)
    assert cost.times.size == (96, 128) and wide.times.size == (96, 256)
    assert 1.5 < wide.multiply_adds / cost.multiply_adds < 2.1
    assert cost.photos_per_second == pytest.approx(1000 / cost.times.total)
    assert {part.step for part in cost.times.parts} == {"photo", "words", "result"}
    assert {"image encoder", "aggregator", "VAS"} <= {part.name for part in cost.times.parts}
    assert not small._kept


def test_the_parameters_are_those_of_the_whole_model_without_its_text_encoder(
    small: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)  # open_clip warns that it loads no weights
    with torch.device("meta"):
        whole = EOVSeg(variant_config("s"))
    assert parameter_counts(small.network) == parameter_counts(whole)
    assert isinstance(small.network.text_encoder, RandomTextEncoder)
    assert not list(small.network.text_encoder.parameters())


def test_new_words_do_not_count_the_text_encoder(small: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(prompts: list[str]) -> torch.Tensor:
        return torch.rand(len(prompts), 2**16) @ torch.rand(2**16, small.config.embed_dim)

    monkeypatch.setattr(small.network.text_encoder, "encode_prompts", encode)
    photo = np.random.default_rng(2).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    words = Vocabulary.parse("owl; kite; moss: stuff")
    first = count_multiply_adds(small, photo, words)
    small.clear_cache()
    assert first == count_multiply_adds(small, photo, words)


def test_every_kernel_reaches_the_result(small: Predictor) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    decoded = small.decode(small.encode_image(photo), WORDS)
    assert small.compose(decoded, overlap_threshold=0.0).segments
    assert not small.compose(decoded, overlap_threshold=0.0, void_threshold=0.0).segments
    assert small.words.embed(["bus"]).shape == (1, small.config.embed_dim)


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second = (random_predictor("xs").network.aggregator.output.weight for _ in range(2))
    assert torch.rand(4).equal(expected)
    assert first.equal(second)


def test_invalid_settings_get_one_sentence(small: Predictor) -> None:
    with pytest.raises(ConfigError, match="choose one of"):
        random_predictor("xl")
    with pytest.raises(ConfigError, match="at least 1"):
        variant_cost(small, np.zeros((64, 64, 3), np.uint8), WORDS, runs=0)
