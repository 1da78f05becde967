"""Sources of patch features: the predictor's own encoders, and the paper's three ViT-B models by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from huggingface_hub import try_to_load_from_cache
from torch import nn

from analysis.features import (
    Tap,
    channels_last,
    cnn_features,
    patch_size,
    photo_pixels,
    spatial_features,
    vit_blocks,
    vit_features,
)
from analysis.timing import ReachTimes, spatial_reach_times, tower_reach_times, vit_reach_times
from eovseg.errors import CheckpointError, ConfigError
from eovseg.predictor import Predictor


@dataclass(frozen=True)
class HubModel:
    """A ViT-B of Table 3: its timm name and the size of its weights."""

    timm_name: str
    size: str


HUB_MODELS = {
    "DINOv2 ViT-B/14": HubModel("vit_base_patch14_dinov2.lvd142m", "346 MB"),
    "SAM ViT-B/16": HubModel("samvit_base_patch16.sa1b", "375 MB"),
    "CLIP ViT-B/16": HubModel("vit_base_patch16_clip_quickgelu_224.openai", "345 MB"),
}
# Possible file names in a hub repository: timm's own, its older one, and the one that open_clip downloads.
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")


@dataclass(frozen=True)
class FeatureSource:
    """A named model with named layers; `extract(image, layers)` returns (h, w, C) float32 for each layer.

    `image` is (H, W, 3) uint8. `time(image, runs)` measures how long a photo takes to reach each layer. ViT blocks are
    read at `tap`; CNN stages have no taps. `tapped` returns the same model read at another tap.
    """

    name: str
    layers: tuple[str, ...]
    extract: Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]
    time: Callable[[np.ndarray, int], ReachTimes]
    tap: Tap = "output"
    at_tap: Callable[[Tap], "FeatureSource"] | None = None

    def tapped(self, tap: Tap) -> "FeatureSource":
        """The same model with its blocks read at `tap`; a CNN is returned unchanged."""
        return self if self.at_tap is None else self.at_tap(tap)


def vit_source(name: str, vit: nn.Module, tap: Tap = "output", long_side: int = 512) -> FeatureSource:
    """A timm ViT as a source with layers "block 1" to "block n"."""
    vit = vit.eval()
    layers = tuple(f"block {number}" for number in range(1, len(vit_blocks(vit)) + 1))
    trained: Any = vit.pretrained_cfg
    mean, std = ([255 * value for value in trained[name]] for name in ("mean", "std"))

    def pixels_of(image: np.ndarray) -> torch.Tensor:
        return photo_pixels(image, mean, std, patch_size(vit), long_side).to(next(vit.parameters()).device)

    def extract(image: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        numbers = [_place(name, layers, layer) for layer in wanted]
        found = vit_features(vit, pixels_of(image), numbers, tap)
        return {layer: channels_last(found[number]) for layer, number in zip(wanted, numbers, strict=True)}

    def time(image: np.ndarray, runs: int) -> ReachTimes:
        return vit_reach_times(vit, pixels_of(image), runs, tap=tap)

    return FeatureSource(name, layers, extract, time, tap, lambda other: vit_source(name, vit, other, long_side))


def tower_source(predictor: Predictor, long_side: int = 512) -> FeatureSource:
    """The stages of a predictor's frozen CNN, strides 4 to 32; that of XS needs no download."""
    name = f"{predictor.config.variant.upper()} image encoder"
    layers = tuple(f"stage {number}" for number in range(1, 5))

    def extract(image: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        places = [_place(name, layers, layer) for layer in wanted]
        stages = cnn_features(predictor.network.feature_extractor, encoder_pixels(predictor, image, long_side))
        return {layer: channels_last(stages[place]) for layer, place in zip(wanted, places, strict=True)}

    def time(image: np.ndarray, runs: int) -> ReachTimes:
        return tower_reach_times(predictor, encoder_pixels(predictor, image, long_side), runs)

    return FeatureSource(name, layers, extract, time)


def own_sources(predictor: Predictor) -> list[FeatureSource]:
    """The predictor's own sources: the stages of its image encoder, and its spatial extractor if it has one."""
    own = [tower_source(predictor)]
    return own if predictor.network.spatial_extractor is None else [*own, spatial_source(predictor)]


def spatial_source(predictor: Predictor, tap: Tap = "output", long_side: int = 512) -> FeatureSource:
    """Every block of a predictor's spatial ViT, exactly as the network runs it; the last block feeds TDEE.

    Raises `ConfigError` for models without a spatial extractor.
    """
    extractor = predictor.network.spatial_extractor
    if extractor is None:
        raise ConfigError("This model was built without a spatial extractor.")
    layers = tuple(f"block {number}" for number in range(1, predictor.config.spatial_block + 2))
    name = f"{predictor.config.variant.upper()} spatial ViT"

    def extract(image: np.ndarray, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        places = [_place(name, layers, layer) for layer in wanted]
        found = spatial_features(extractor, encoder_pixels(predictor, image, long_side), places, tap)
        return {layer: channels_last(found[place]) for layer, place in zip(wanted, places, strict=True)}

    def time(image: np.ndarray, runs: int) -> ReachTimes:
        return spatial_reach_times(predictor, encoder_pixels(predictor, image, long_side), runs, tap=tap)

    return FeatureSource(name, layers, extract, time, tap, lambda other: spatial_source(predictor, other, long_side))


def hub_weights(name: str) -> Path | None:
    """The cached weights of one of `HUB_MODELS`, None if they were never downloaded; makes no network request."""
    # timm's config names the hub repository, which may differ from the model name.
    record = timm.get_pretrained_cfg(_hub_model(name).timm_name)
    folder = getattr(record, "hf_hub_id", None)
    found = (try_to_load_from_cache(folder, file) for file in _WEIGHT_FILES) if folder else ()
    return next((Path(file) for file in found if isinstance(file, str)), None)


def hub_source(name: str, long_side: int = 512, file: Path | None = None) -> FeatureSource:
    """One of `HUB_MODELS` with its published weights, from `file` or else from the hub.

    Raises `ConfigError` for unknown names and `CheckpointError` if the weights are neither cached nor downloadable, or
    if `file` contains other weights.
    """
    model = _hub_model(name)
    # SAM always resamples its positions and does not accept this option.
    options: dict[str, Any] = {} if "samvit" in model.timm_name else {"dynamic_img_size": True}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": str(file)}
    try:
        vit = timm.create_model(model.timm_name, pretrained=True, num_classes=0, **options)
    except Exception as error:  # hub clients and weight readers raise many unrelated types
        if file is not None:
            raise CheckpointError(
                f'"{file.name}" does not hold the weights of {name} ({type(error).__name__}); give the file of '
                f'timm\'s "{model.timm_name}" ({model.size}).'
            ) from error
        raise CheckpointError(
            f"The weights of {name} ({model.size}) are not cached and cannot be downloaded ({type(error).__name__}); "
            "connect to the network and run "
            f'timm.create_model("{model.timm_name}", pretrained=True) once. The encoders of XS need no download.'
        ) from error
    return vit_source(name, vit, long_side=long_side)


def _hub_model(name: str) -> HubModel:
    if name not in HUB_MODELS:
        raise ConfigError(f"Unknown model {name!r}; choose one of {', '.join(HUB_MODELS)}.")
    return HUB_MODELS[name]


def encoder_pixels(predictor: Predictor, image: np.ndarray, long_side: int = 512) -> torch.Tensor:
    """A photo (H, W, 3) uint8 as input of the network's encoders: (1, 3, h, w) normalised, sides multiples of 32."""
    config = predictor.config
    pixels = photo_pixels(image, config.pixel_mean, config.pixel_std, (32, 32), long_side)
    return pixels.to(predictor.device, next(predictor.network.parameters()).dtype)


def _place(name: str, layers: Sequence[str], layer: str) -> int:
    if layer not in layers:
        raise ConfigError(f"{name} has no layer {layer!r}; choose one of {', '.join(layers)}.")
    return list(layers).index(layer)
