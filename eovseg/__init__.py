"""EOV-Seg (AAAI 2025): open-vocabulary panoptic segmentation with your own words.

predictor = eovseg.load("xs")
result = predictor("photo.jpg", "person, people: thing; sky: stuff; car")

Public names, and torch with them, are imported lazily on first use, so importing this package is fast.
"""

from typing import TYPE_CHECKING

from eovseg.errors import CheckpointError, ConfigError, DataError, EovsegError, ImageError, VideoError, VocabularyError
from eovseg.lazy_names import lazy_names

if TYPE_CHECKING:
    from eovseg.loading import load
    from eovseg.model.config import ModelConfig
    from eovseg.predictor import Predictor
    from eovseg.presets import preset_names
    from eovseg.result import Result
    from eovseg.segmented import Segment
    from eovseg.settings import Settings
    from eovseg.stages import Decoded, ImageState, RawOutput
    from eovseg.video import segment_video
    from eovseg.vocabulary import Vocabulary, WordClass
    from eovseg.word import Word
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "eovseg.loading": ("load",),
            "eovseg.model.config": ("ModelConfig",),
            "eovseg.predictor": ("Predictor",),
            "eovseg.result": ("Result",),
            "eovseg.segmented": ("Segment",),
            "eovseg.stages": ("Decoded", "ImageState", "RawOutput"),
            "eovseg.settings": ("Settings",),
            "eovseg.video": ("segment_video",),
            "eovseg.presets": ("preset_names",),
            "eovseg.vocabulary": ("Vocabulary", "WordClass"),
            "eovseg.word": ("Word",),
        },
    )

__version__ = "0.2.0"

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Decoded",
    "EovsegError",
    "ImageError",
    "ImageState",
    "ModelConfig",
    "Predictor",
    "RawOutput",
    "Result",
    "Segment",
    "Settings",
    "VideoError",
    "Vocabulary",
    "VocabularyError",
    "Word",
    "WordClass",
    "load",
    "preset_names",
    "segment_video",
]
