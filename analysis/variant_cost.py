"""The cost of a photo with each variant on this machine, with random weights, for comparison with Table 1.

Random weights take as long as trained ones in every part except composition, whose time depends on the segments found.
Here every kernel is kept, which is the worst case.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis.parts import PartTimes, part_times
from eovseg.evaluation.cost import count_multiply_adds, parameter_counts
from eovseg.fast import optimise
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class VariantCost:
    """Time of each part, parameters by part (without the text encoder), and multiply-adds per photo (network only)."""

    times: PartTimes
    parameters: dict[str, int]
    multiply_adds: int

    @property
    def photos_per_second(self) -> float:
        """Photos per second at batch size 1, including composition, with cached words."""
        return 1000 / self.times.total


class RandomTextEncoder(nn.Module):
    """Random embeddings in place of a text encoder, for measurements only: prompts -> (n, D)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self._embed_dim = embed_dim

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """A new random row for every prompt."""
        return torch.randn(len(prompts), self._embed_dim)


def random_predictor(variant: str, short_side: int = 640, seed: int = 0) -> Predictor:
    """A CPU predictor of any variant with random weights and no text encoder; its results keep every kernel.

    Photos are resized to `short_side` pixels. Nothing is downloaded; XS uses the trained image encoder of its package.
    Raises `ConfigError` for unknown variants.
    """
    config = variant_config(variant).with_changes(
        short_side=short_side, long_side=4 * short_side, score_threshold=0.0, void_threshold=1.0
    )
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # open_clip warns that it loads no weights, which is intended
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = EOVSeg(config)
    finally:
        logger.setLevel(before)
    network.text_encoder = RandomTextEncoder(config.embed_dim)  # type: ignore[assignment]  # frees memory
    fast = optimise(network.eval(), "torch")
    return Predictor(fast, (), device=torch.device("cpu"), text_weights="random")


def variant_cost(predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary, runs: int = 2) -> VariantCost:
    """Counts the multiply-adds of a photo (H, W, 3) uint8, which also warms up, then times `runs` passes.

    The photo must be new to the predictor. Raises `ConfigError` for `runs` below 1.
    """
    multiply_adds = count_multiply_adds(predictor, image, vocabulary)
    predictor.clear_cache()
    times = part_times(predictor, image, vocabulary, runs, warm=0)
    return VariantCost(times, parameter_counts(predictor.network), multiply_adds)
