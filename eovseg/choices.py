"""Choices and defaults that functions and their commands share; apart, so that parsers need import nothing heavy."""

from typing import Literal

Task = Literal["panoptic", "semantic", "instance"]
Dtype = Literal["float32", "float64", "bfloat16"]
Backend = Literal["torch", "openvino", "compile"]

TRACK_MEMORY = 10  # segmented frames of a video that a track waits for its segment
