"""How long a photo takes to reach each block or stage, measured when called (compare the FPS column of Table 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis.features import Tap, patch_size, resized_to_grid, tap_module, vit_blocks
from eovseg.errors import ConfigError
from eovseg.model.backbones import ClipConvNeXt, EfficientNetLite2Extractor
from eovseg.predictor import Predictor
from eovseg.timing import Clock


@dataclass(frozen=True)
class ReachTimes:
    """Median cumulative milliseconds from the pixels to the end of each layer, on `machine`."""

    layers: tuple[str, ...]
    milliseconds: np.ndarray
    machine: str


def machine_name(device: torch.device | str = "cpu") -> str:
    """The machine of a measurement, for labels: the name of the GPU, or that of the CPU and the number of threads."""
    from eovseg.benchmark.command import machine  # imported here because it loads the whole benchmark

    row = machine(str(device))
    if torch.device(device).type == "cuda":
        return str(row["hardware"])
    return f"{row['hardware']}, {row['threads']} thread{'s'[: row['threads'] != 1]}"


@torch.inference_mode()
def reach_times(
    model: nn.Module, layers: Sequence[tuple[str, nn.Module]], pixels: Tensor, runs: int = 5, entered: bool = False
) -> ReachTimes:
    """Time to the end of each named layer of `model(pixels)`: the median of `runs` passes after one warm-up.

    With `entered`, the time to its beginning.
    """
    if runs < 1:
        raise ConfigError(f"runs={runs}; give at least 1.")
    marks = [(layer, name) for name, layer in layers]
    rows = []
    for _ in range(1 + runs):
        clock = Clock(pixels.device)
        with clock.marked(before=marks) if entered else clock.marked(after=marks):
            model(pixels)
        rows.append(np.cumsum(list(clock.laps.values())))
    median = np.median(np.array(rows[1:]), axis=0)
    return ReachTimes(tuple(name for name, _ in layers), median, machine_name(pixels.device))


def vit_reach_times(vit: nn.Module, pixels: Tensor, runs: int = 5, tap: Tap = "output") -> ReachTimes:
    """Time to reach a tap of each block of a timm ViT, "block 1" to "block n", at any input size."""
    height, width = patch_size(vit)
    sized = resized_to_grid(vit, (pixels.shape[-2] // height, pixels.shape[-1] // width))
    return _block_times(sized, sized, pixels, runs, tap)


def tower_reach_times(predictor: Predictor, pixels: Tensor, runs: int = 5) -> ReachTimes:
    """Time to reach each stage of a predictor's CNN, named "stage 1" to "stage 4" (strides 4 to 32).

    `pixels` come from `analysis.sources.encoder_pixels`.
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
    return reach_times(extractor, names, pixels, runs)


def spatial_reach_times(predictor: Predictor, pixels: Tensor, runs: int = 5, tap: Tap = "output") -> ReachTimes:
    """Time to reach a tap of each block of a predictor's spatial ViT; raises `ConfigError` if it has none."""
    extractor = predictor.network.spatial_extractor
    if extractor is None:
        raise ConfigError("This model was built without a spatial extractor.")
    return _block_times(extractor, extractor.vit, pixels, runs, tap)


def _block_times(model: nn.Module, vit: nn.Module, pixels: Tensor, runs: int, tap: Tap) -> ReachTimes:
    """Times to a tap of each block of `vit` while `model(pixels)` runs."""
    taps = [tap_module(block, tap) for block in vit_blocks(vit)]
    names = [(f"block {number}", module) for number, (module, _) in enumerate(taps, start=1)]
    return reach_times(model, names, pixels, runs, taps[0][1])
