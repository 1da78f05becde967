"""The architecture (paper Tables 3, 4, 5 and 10), thresholds and preprocessing of a model in one typed dataclass.

The defaults are those of the published L checkpoint; `variant_config` returns the four variants.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_type_hints

from eovseg.errors import ConfigError
from eovseg.typed_settings import check_words, checked_fraction, fits, shown, unknown_name

Variant = Literal["xs", "s", "m", "l"]
Backbone = Literal["convnext_large_d_320", "RN50x4", "RN50", "efficientnet_lite2"]
Fusion = Literal["none", "EAF", "SDI", "TDEE"]
Interaction = Literal["DDA", "CA"]
Scales = Literal["single", "multi"]
SpatialExtractorKind = Literal["CLIP", "DINOv2", "SAM", "own"]
Ensemble = Literal["geometric", "arithmetic"]
MaskBias = Literal["none", "constant", "quadratic"]
Composition = Literal["released", "best-first"]
JointMaps = Literal["dense", "fine"]

# Fields with values from 0 to 1.
SHARES = (
    "alpha", "beta", "score_threshold", "overlap_threshold", "void_threshold", "mask_threshold", "pixel_threshold",
)  # fmt: skip
_LARGEST = 16_384  # upper bound of widths, counts and side lengths in pixels

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

# The 14 prompts of the released implementation, where prompts two to five have no final full stop either.
PROMPTS = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    *(f"a photo of a {size} {{}}." for size in ("small", "medium", "large")),
    *(f"This is a photo of a {size} {{}}." for size in ("small", "medium", "large")),
    *(f"There is a {size} {{}} in the scene." for size in ("small", "medium", "large")),
)


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of one EOV-Seg model: widths, optional parts, and default thresholds.

    `backbone` is the frozen image encoder: an open_clip CNN ("convnext_large_d_320", "RN50x4", "RN50") or
    "efficientnet_lite2" (XS). Raises `ConfigError` for invalid values.
    """

    variant: Variant = "l"
    backbone: Backbone = "convnext_large_d_320"
    pretrained: str = "laion2b_s29b_b131k_ft_soup"
    quick_gelu: bool = False
    embed_dim: int = 768  # D, width of the text embedding
    aggregator_dim: int = 96
    lateral_channels: tuple[int, int, int, int] | None = None  # at strides 4, 8, 16, 32; None: half of the encoder's
    initialisation: Literal["released", "short"] = "released"  # "short": for short runs, see `EOVSeg` in network.py
    hidden_dim: int = 256  # C
    queries: int = 100  # Q, object kernels
    decoder_layers: int = 3
    attention_heads: int = 8
    ffn_dim: int = 2048
    vas: bool = True
    vas_heads: int = 1
    vas_offset: bool = True  # False: the offset of Alg. 1 stays 0, which suppresses pixels that match no word
    fusion: Fusion = "TDEE"
    interaction: Interaction = "DDA"
    scales: Scales = "single"
    # Term that each mask kernel adds to the dot product with F_vs: none (as released), a constant, or a quadratic
    # function of the position, which can separate two similar objects.
    mask_bias: MaskBias = "none"
    mask_regression: bool = False  # masks are averaged with their fit on F_agg, see `MaskRegression`
    class_dropout: float = 0.0  # training only: dropout rate of E_I + kernels before the class embedding
    attention_positions: bool = False  # CA adds a sine position encoding to its input, like Mask2Former
    attention_stride: int = 1  # CA reads F_vs average-pooled by this factor
    # XS: what the joint space pools inside a mask: the encoder's last map, or also those at strides 4, 8 and 16.
    joint_maps: JointMaps = "dense"
    spatial_extractor: SpatialExtractorKind = "CLIP"
    spatial_block: int = 0
    spatial_dim: int = 768
    ensemble: Ensemble = "geometric"
    alpha: float = 0.4
    beta: float = 0.8
    ensemble_on_valid_masks: bool = False
    score_threshold: float = 0.0
    overlap_threshold: float = 0.8
    void_threshold: float | None = None  # None: a kernel is void if void is its most probable class
    composition: Composition = "released"  # rule that makes segments, see `eovseg.composition.panoptic`
    mask_threshold: float = 0.5  # best-first only: mask probability above which a cell belongs to the kernel
    pixel_threshold: float = 0.5  # best-first only: minimum mask probability of a labelled pixel
    large_score_factor: float = 1.0  # best-first only: multiplies the score threshold of large masks
    semantic_word_weight: float = 0.0  # semantic task: weight of VAS's word softmax, averaged with the kernels' scores
    edges: bool = False  # align masks with the photo's edges, see `composition/edges.py`
    # Slope and bias that calibrate a panoptic segment's score to the probability that it is correct, see `shown_score`;
    # None: uncalibrated. Does not affect which segments are found.
    calibration: tuple[float, float] | None = None
    prompts: tuple[str, ...] = PROMPTS
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD
    short_side: int = 640
    long_side: int = 2560

    def __post_init__(self) -> None:
        check_words(self)
        for name in (*SHARES, "large_score_factor", "semantic_word_weight", "class_dropout"):
            if name != "void_threshold" or self.void_threshold is not None:
                checked_fraction(name, getattr(self, name))
        if self.calibration is not None:
            check_calibration(self.calibration)
        if self.spatial_block not in range(12):
            raise ConfigError(f"spatial_block={self.spatial_block} is not allowed; a ViT-B has the blocks 0 to 11.")
        if self.attention_stride not in (1, 2, 4, 8):
            raise ConfigError(f"attention_stride={self.attention_stride} is not allowed; choose 1, 2, 4 or 8.")
        uneven = (
            self.hidden_dim % self.attention_heads,
            self.hidden_dim % self.vas_heads,
            self.embed_dim % self.vas_heads,
        )
        if any(uneven):
            raise ConfigError(
                f"hidden_dim={self.hidden_dim} must be a multiple of attention_heads={self.attention_heads} and of "
                f"vas_heads={self.vas_heads}, and embed_dim={self.embed_dim} of vas_heads."
            )

    def with_changes(self, **changes: Any) -> "ModelConfig":
        """A copy with some fields replaced (an ablation of Table 3, 4, 5 or 10); lists become tuples."""
        names = [field.name for field in fields(self)]
        if unknown := set(changes) - set(names):
            raise unknown_name(min(unknown), names)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in changes.items()}
        return replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON header; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Inverse of `to_dict`. Raises `ConfigError` for values of the wrong type or range."""
        default, hints = cls(), get_type_hints(cls)
        for name, value in values.items():
            if name in hints and not (fits(value, hints[name]) and (hints[name] is float or _in_range(name, value))):
                raise ConfigError(
                    f"{name}={shown(value)} is not allowed; give a value like {getattr(default, name)!r}."
                )
        return default.with_changes(**values)


def _in_range(name: str, value: object) -> bool:
    """Whether an integer is plausible for building a network."""
    return type(value) is not int or (0 if name == "spatial_block" else 1) <= value <= _LARGEST


def check_calibration(calibration: object, otherwise: str = "null") -> None:
    """Raises `ConfigError` unless given a slope and a bias; `otherwise` is the value that disables calibration."""
    numbers = calibration if isinstance(calibration, tuple) else ()
    finite = [isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers]
    if finite != [True, True] or numbers[0] <= 0:
        raise ConfigError(
            f"calibration={calibration!r} is not allowed; "
            f"give two numbers, a positive slope and a bias, or {otherwise}."
        )


# What S and M have in common.
_RESNET = ModelConfig(pretrained="openai", quick_gelu=True, aggregator_dim=128, ensemble_on_valid_masks=True)
_VARIANTS: dict[str, ModelConfig] = {
    "l": ModelConfig(),
    "m": replace(_RESNET, variant="m", backbone="RN50x4", embed_dim=640),
    "s": replace(_RESNET, variant="s", backbone="RN50", embed_dim=1024),
    "xs": ModelConfig(
        variant="xs",
        backbone="efficientnet_lite2",
        pretrained="imagenet",
        embed_dim=384,
        aggregator_dim=96,
        lateral_channels=(48, 64, 96, 160),
        initialisation="short",
        hidden_dim=128,
        queries=64,
        ffn_dim=512,
        interaction="CA",
        attention_stride=2,
        mask_bias="quadratic",
        mask_regression=True,
        attention_positions=True,
        attention_heads=4,
        vas_offset=False,
        spatial_extractor="own",
        spatial_dim=192,
        joint_maps="fine",
        prompts=("{}",),
        pixel_mean=(127.0, 127.0, 127.0),
        pixel_std=(128.0, 128.0, 128.0),
        short_side=384,
        long_side=1536,
    ),
}


def variant_config(variant: str) -> ModelConfig:
    """The configuration of variant "xs", "s", "m" or "l" (any case); raises `ConfigError` for other names."""
    try:
        return _VARIANTS[variant.lower()]
    except KeyError:
        raise ConfigError(f"Unknown variant {variant!r}; choose one of {', '.join(_VARIANTS)}.") from None
