"""A small untrained XS and hand-made results."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.stages import Decoded
from eovseg.vocabulary import Vocabulary

MakeResult = Callable[[np.ndarray, Sequence[int]], Result]
WORDS = Vocabulary.parse("bus, coach: thing; person: thing; sky: stuff")


def texts(figure: Any) -> list[str]:
    """All texts in a matplotlib figure."""
    return [str(text.get_text()) for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


@pytest.fixture(scope="package")
def predictor() -> Predictor:
    """XS with an untrained head: these tests check structure, not quality."""
    torch.manual_seed(0)
    network = EOVSeg(variant_config("xs"), pretrained=True)
    return Predictor(network, ("bus", "sky"), device=torch.device("cpu"), text_weights="analysis-tests")


@pytest.fixture(scope="package")
def photo() -> np.ndarray:
    """(60, 100, 3): a blue upper half, a red block, and noise elsewhere."""
    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    image[:30] = (90, 150, 240)
    image[35:55, 20:60] = (220, 30, 30)
    return image


@pytest.fixture(scope="package")
def decoded(predictor: Predictor, photo: np.ndarray) -> Decoded:
    return predictor.decode(predictor.encode_image(photo), WORDS, intermediates=True)


@pytest.fixture(scope="package")
def make_result() -> MakeResult:
    """A result from a segment map (ids 1..n) and the class of each segment."""

    def make(segment_map: np.ndarray, classes: Sequence[int]) -> Result:
        segments = []
        for number, class_id in enumerate(classes, start=1):
            rows, columns = np.nonzero(segment_map == number)
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            entry = WORDS.classes[class_id]
            segments.append(Segment(number, class_id, entry.label, entry.is_thing, 0.9, 0.9, 0.9, len(rows), box))
        image = np.zeros((*segment_map.shape, 3), np.uint8)
        return Result(image, segment_map.astype(np.int32), tuple(segments), WORDS)

    return make
