"""What a photo costs with each variant, on this machine and without anybody's weights: for the side of Table 1.

Random weights take the same time as trained ones in every part but the result, whose work depends on what is found;
here every kernel is kept, the most that a result can be.
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
    """Time of every part, parameters by part (text tower left out) and multiply-adds of one photo (network only)."""

    times: PartTimes
    parameters: dict[str, int]
    multiply_adds: int

    @property
    def photos_a_second(self) -> float:
        """Photos a second at batch 1, result included, the words known."""
        return 1000 / self.times.total


class RandomTextEncoder(nn.Module):
    """Random rows in the place of a text tower, where only clocks and counters look: prompts -> (n, D)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self._embed_dim = embed_dim

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """A row for every prompt, another one each time."""
        return torch.randn(len(prompts), self._embed_dim)


def random_predictor(variant: str, short_side: int = 640, seed: int = 0) -> Predictor:
    """A CPU predictor of any variant with random weights, no text tower, and every kernel kept in the result.

    Photos go in at `short_side` pixels. Nothing is downloaded; XS's image tower is the trained one of its package.
    Raises `ConfigError` for unknown variants.
    """
    config = variant_config(variant).with_changes(
        short_side=short_side, long_side=4 * short_side, score_threshold=0.0, void_threshold=1.0
    )
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # open_clip warns that it loads no weights, which is meant
    try:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            network = EOVSeg(config)
    finally:
        logger.setLevel(before)
    network.text_encoder = RandomTextEncoder(config.embed_dim)  # type: ignore[assignment]  # frees the tower's memory
    fast = optimise(network.eval(), "torch")
    return Predictor(fast, (), device=torch.device("cpu"), text_weights="random")


def variant_cost(predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary, runs: int = 2) -> VariantCost:
    """Count the work of a photo (H, W, 3) uint8, which warms up, then time `runs` passes.

    The photo must be new to the predictor. Raises `ConfigError` for `runs` below 1.
    """
    multiply_adds = count_multiply_adds(predictor, image, vocabulary)
    predictor.forget()
    times = part_times(predictor, image, vocabulary, runs, warm=0)
    return VariantCost(times, parameter_counts(predictor.network), multiply_adds)
