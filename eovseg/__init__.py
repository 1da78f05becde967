"""EOV-Seg: open-vocabulary panoptic segmentation with the words that you type (AAAI 2025).

predictor = eovseg.load("xs")
result = predictor("photo.jpg", "person, people: thing; sky: stuff; car")
"""

from eovseg.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EovsegError,
    ImageError,
    VideoError,
    VocabularyError,
)
from eovseg.loading import load
from eovseg.model.config import ModelConfig
from eovseg.predictor import Decoded, ImageState, Predictor, RawOutput
from eovseg.result import Result, Segment
from eovseg.settings import Settings
from eovseg.video.files import segment_video
from eovseg.vocabulary import Vocabulary, WordClass, preset_names

__version__ = "0.1.0"

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
    "WordClass",
    "load",
    "preset_names",
    "segment_video",
]
