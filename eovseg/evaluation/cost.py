"""What a photo costs: frames a second at batch 1, parameters without the text tower, floating-point work, memory."""

import sys
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.timing import repeated
from eovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Cost:
    """What one photo takes at batch 1, with the words' embeddings known.

    `frames_per_second` covers network and panoptic result of one photo of `image_size` (H, W), warm and synchronised.
    `parameters` counts by part of the network, the text tower left out. `multiply_adds` is what the paper's tool calls
    FLOPs; torch's counter knows no deformable convolution, so on a GPU those are missing. `peak_memory_bytes` is the
    GPU's peak, on a CPU the process's, None where the system does not tell.
    """

    device: str
    image_size: tuple[int, int]
    frames_per_second: float
    parameters: dict[str, int]
    multiply_adds: int
    peak_memory_bytes: int | None


def measure_cost(
    predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary, runs: int = 10, warm: int = 2
) -> Cost:
    """Cost of segmenting `image` (H, W, 3) uint8: the median of `runs` timed runs after `warm` untimed ones."""
    device = predictor.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def segment(run: int) -> None:
        photo = _unknown_photo(image, run)
        predictor.compose(predictor.decode(predictor.encode_image(photo), vocabulary), task="panoptic")

    seconds = repeated(segment, device, runs, warm)
    return Cost(
        device=str(device),
        image_size=(image.shape[0], image.shape[1]),
        frames_per_second=1 / float(np.median(seconds)),
        parameters=parameter_counts(predictor.network),
        multiply_adds=count_multiply_adds(predictor, _unknown_photo(image, warm + runs), vocabulary),
        peak_memory_bytes=_peak_memory(device),
    )


def parameter_counts(network: EOVSeg) -> dict[str, int]:
    """Parameters of each part of the network by its name, the text tower left out."""
    parts: dict[str, nn.Module] = dict(network.named_children())
    del parts["text_encoder"]
    return {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}


def count_multiply_adds(predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary) -> int:
    """Multiply-adds of the network without the text tower on one photo (H, W, 3) uint8, which must be new to it."""
    predictor.text_embeddings(vocabulary)  # outside the counter: words that are new would run the text tower
    trained = [parameter for parameter in predictor.network.parameters() if parameter.requires_grad]
    # torch's counter looks for the gradients of what requires them, and inference mode has none.
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with FlopCounterMode(display=False) as counter:
            predictor.decode(predictor.encode_image(image), vocabulary)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() // 2  # torch counts both halves


def _unknown_photo(image: np.ndarray, number: int) -> np.ndarray:
    """The photo with another corner pixel, because the predictor does not run twice on a photo that it knows."""
    photo = image.copy()
    photo[0, 0] = (number % 256, number // 256 % 256, 255 - image[0, 0, 2])
    return photo


def _peak_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
