"""How long a photo takes to reach each block or stage, measured here and now (the cost column of Table 3)."""

import platform
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis.features import any_size, patch_size, vit_blocks
from eovseg.errors import ConfigError
from eovseg.model.backbones import ClipConvNeXt, EfficientNetLite2Extractor
from eovseg.predictor import Predictor


@dataclass(frozen=True)
class ReachTimes:
    """Median milliseconds from the pixels to the end of each layer, cumulative, on `machine`."""

    layers: tuple[str, ...]
    milliseconds: np.ndarray
    machine: str


def machine_name(device: torch.device | str = "cpu") -> str:
    """What the numbers were measured on, for labels: the GPU's name, or the processor type and the threads in use."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}), {torch.get_num_threads()} thread{'s'[: torch.get_num_threads() != 1]}"


@torch.inference_mode()
def reach_times(
    model: nn.Module, layers: Sequence[tuple[str, nn.Module]], pixels: Tensor, runs: int = 5, warm: int = 1
) -> ReachTimes:
    """Time to the end of each named layer of `model(pixels)`: the median of `runs` passes after `warm` untimed ones."""
    if runs < 1:
        raise ConfigError(f"runs={runs}; give at least 1.")
    marks: list[float] = []
    ours = threading.get_ident()

    def mark(_module: nn.Module, _given: object, _out: object) -> None:
        if threading.get_ident() == ours:  # others may run the same model meanwhile
            synchronise(pixels.device)
            marks.append(time.perf_counter())

    handles = [layer.register_forward_hook(mark) for _, layer in layers]
    rows = []
    try:
        for _ in range(warm + runs):
            marks.clear()
            synchronise(pixels.device)
            start = time.perf_counter()
            model(pixels)
            rows.append([1000 * (moment - start) for moment in marks])
    finally:
        for handle in handles:
            handle.remove()
    median = np.median(np.array(rows[warm:]), axis=0)
    return ReachTimes(tuple(name for name, _ in layers), median, machine_name(pixels.device))


def vit_reach_times(vit: nn.Module, pixels: Tensor, runs: int = 5, warm: int = 1) -> ReachTimes:
    """Time to reach each block of a timm or open_clip ViT, named "block 1" to "block n", at any input size."""
    height, width = patch_size(vit)
    sized = any_size(vit, (pixels.shape[-2] // height, pixels.shape[-1] // width))
    blocks = [(f"block {number}", block) for number, block in enumerate(vit_blocks(sized), start=1)]
    return reach_times(sized, blocks, pixels, runs, warm)


def tower_reach_times(predictor: Predictor, pixels: Tensor, runs: int = 5, warm: int = 1) -> ReachTimes:
    """Time to reach each stage of a predictor's CNN, named "stage 1" to "stage 4" (strides 4 to 32).

    `pixels` as `analysis.sources.own_pixels` makes them.
    """
    extractor = predictor.network.feature_extractor
    if isinstance(extractor, EfficientNetLite2Extractor):
        stages = [extractor.tower.network.blocks[index] for index in extractor.tower.stages]
    elif isinstance(extractor, ClipConvNeXt):
        stages = list(extractor.visual.trunk.stages)
    else:
        visual = extractor.visual
        stages = [visual.layer1, visual.layer2, visual.layer3, visual.layer4]
    names = [(f"stage {number}", stage) for number, stage in enumerate(stages, start=1)]
    return reach_times(extractor, names, pixels, runs, warm)


def spatial_reach_times(predictor: Predictor, pixels: Tensor, runs: int = 5, warm: int = 1) -> ReachTimes:
    """Time to reach the spatial block of a predictor; `ConfigError` for models without one."""
    extractor = predictor.network.spatial_extractor
    if extractor is None:
        raise ConfigError("This model was built without a spatial extractor.")
    name = f"block {predictor.config.spatial_block + 1}"
    return reach_times(extractor, [(name, extractor)], pixels, runs, warm)


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU still has to do, so that the clock shows it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
