"""The time for one photo: milliseconds in each part of the network, measured when called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from analysis.timing import machine_name
from eovseg.errors import ConfigError
from eovseg.fast.folded import FoldedImageHalf
from eovseg.images import resize_for_network
from eovseg.model.network import EOVSeg
from eovseg.model.values import TextEmbeddings
from eovseg.predictor import Predictor
from eovseg.stages import Decoded, ImageState
from eovseg.timing import Clock, repeated
from eovseg.vocabulary import Vocabulary

Step = Literal["photo", "words", "result"]
_SAMPLED_WORDS = 8


@dataclass(frozen=True)
class PartTime:
    """Median milliseconds of a part and the step it belongs to.

    "photo" runs once per photo, "words" again for every vocabulary, "result" again for every change of settings.
    """

    name: str
    step: Step
    milliseconds: float


@dataclass(frozen=True)
class PartTimes:
    """The times of the parts for one photo, in the order in which they run.

    `word_milliseconds` is the text encoder's time for one new word; it is not included in any part, because known words
    come from the cache. `size` is the network's input (height, width), `words` the number of words in the vocabulary,
    `runs` the number of passes behind each median.
    """

    parts: tuple[PartTime, ...]
    word_milliseconds: float
    words: int
    size: tuple[int, int]
    runs: int
    machine: str

    @property
    def total(self) -> float:
        """Milliseconds of all parts together."""
        return sum(part.milliseconds for part in self.parts)

    @property
    def by_name(self) -> dict[str, float]:
        """Milliseconds of each part, with the decoder layers summed."""
        found: dict[str, float] = {}
        for part in self.parts:
            name = "decoder layers" if part.name.startswith("decoder layer") else part.name
            found[name] = found.get(name, 0.0) + part.milliseconds
        return found

    def of(self, step: Step) -> float:
        """Milliseconds of one step."""
        return sum(part.milliseconds for part in self.parts if part.step == step)


@torch.inference_mode()
def part_times(
    predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary | str, runs: int = 3, warm: int = 1
) -> PartTimes:
    """Time each part for a photo (H, W, 3) uint8 and a vocabulary: the median of `runs` passes after `warm` warm-ups.

    The predictor's photo cache and counters are neither used nor changed. Raises `ConfigError` for `runs` below 1.
    """
    if runs < 1:
        raise ConfigError(f"runs={runs}; give at least 1.")
    vocabulary = Vocabulary.coerce(vocabulary)
    text = predictor.text_embeddings(vocabulary)
    passes = [_one_pass(predictor, image, vocabulary, text) for _ in range(warm + runs)]
    size, laps = passes[0][0], [laps for _, laps in passes[warm:]]
    parts = tuple(PartTime(name, step, float(np.median([lap[name, step] for lap in laps]))) for name, step in laps[0])
    word = _word_milliseconds(predictor, vocabulary.words)
    return PartTimes(parts, word, len(vocabulary.words), size, runs, machine_name(predictor.device))


def _one_pass(
    predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary, text: TextEmbeddings
) -> tuple[tuple[int, int], dict[tuple[str, Step], float]]:
    network, config = predictor.network, predictor.config
    clock = Clock(predictor.device)
    dtype = next(network.aggregator.parameters()).dtype
    given = resize_for_network(image, config.short_side, config.long_side)
    pixels = torch.from_numpy(np.ascontiguousarray(given)).permute(2, 0, 1)[None].to(predictor.device, dtype)
    clock.lap(("resize", "photo"))
    precision = torch.autocast(predictor.device.type, torch.bfloat16, enabled=predictor.dtype == "bfloat16")
    half = network.image_half
    folded = half if isinstance(half, FoldedImageHalf) else None  # other backends do not expose their parts
    size = pixels.shape[-2], pixels.shape[-1]
    after = _modules(network, network if folded is None else folded.network)
    first = "VAS" if network.vas is not None else "text rows"  # ends where the decoder begins
    with precision, clock.marked(after, before=[(network.decoder, (first, "words"))]):
        if folded is None:
            features = network.encode_normalised(network.normalise(pixels), size)
        else:
            features = folded(network.normalise(pixels), size)
        logits = network.decode(features, text)
        clock.lap(("frozen classifier", "words"))
    predictor.compose(Decoded(ImageState(image, features), vocabulary, logits))
    clock.lap(("ensemble and segments", "result"))
    return features.image_size, clock.laps


def _modules(network: EOVSeg, image: EOVSeg) -> list[tuple[nn.Module, tuple[str, Step]]]:
    """The parts of the network that end a lap; `image` has those of the image half: the network itself, or its copy
    prepared for inference."""
    parts: list[tuple[nn.Module | None, tuple[str, Step]]] = [
        (image.feature_extractor, ("image encoder", "photo")),
        (image.aggregator, ("aggregator", "photo")),
        (image.spatial_extractor, ("spatial ViT block", "photo")),
        (image.spatial_upscaling, ("upscaling of the ViT map", "photo")),
        *(
            (layer, (f"decoder layer {number}", "words"))
            for number, layer in enumerate(network.decoder.layers, start=1)
        ),
    ]
    return [(module, name) for module, name in parts if module is not None]


def _word_milliseconds(predictor: Predictor, words: Sequence[str]) -> float:
    """Milliseconds of the text encoder for one word: the median of a few words, encoded one by one after a warm-up."""
    sample = (words[0], *words[:_SAMPLED_WORDS])
    encode = predictor.network.encode_words
    return 1000 * float(np.median(repeated(lambda number: encode([sample[number]]), predictor.device, len(sample) - 1)))
