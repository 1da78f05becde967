"""Cost of a photo: frames per second at batch size 1, parameters without the text encoder, multiply-adds, memory."""

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
    """Cost of one photo at batch size 1, with embedded words.

    `frames_per_second` includes the network and the panoptic result of a photo of `image_size` (H, W), after a warm-up
    and with GPU synchronisation. `parameters` are by part of the network, without the text encoder. `multiply_adds` are
    called FLOPs by the paper's tool; on GPUs, deformable convolutions are missing, because torch cannot count them.
    `peak_memory_bytes` is the peak of the GPU, or of the process on CPUs; None if the system does not report it.
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
    """Cost of segmenting `image` (H, W, 3) uint8; time is the median of `runs` runs after `warm` warm-up runs."""
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
    """Number of parameters of each part of the network, by name, without the text encoder."""
    parts: dict[str, nn.Module] = dict(network.named_children())
    del parts["text_encoder"]
    return {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}


def count_multiply_adds(predictor: Predictor, image: np.ndarray, vocabulary: Vocabulary) -> int:
    """Multiply-adds of the network, without the text encoder, for a photo (H, W, 3) uint8 that must not be cached."""
    predictor.text_embeddings(vocabulary)  # before counting, because new words run the text encoder
    trained = [parameter for parameter in predictor.network.parameters() if parameter.requires_grad]
    # torch's counter accesses the gradients of parameters that require them, which fails in inference mode.
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with FlopCounterMode(display=False) as counter:
            predictor.decode(predictor.encode_image(image), vocabulary)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return counter.get_total_flops() // 2  # torch counts multiplications and additions


def _unknown_photo(image: np.ndarray, number: int) -> np.ndarray:
    """The photo with a different corner pixel, so that the predictor does not use its cache."""
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
