"""Choices and defaults that functions and commands share, in a module that parsers can import without torch."""

from typing import Literal

Task = Literal["panoptic", "semantic", "instance"]
Dtype = Literal["float32", "float64", "bfloat16", "int8"]
Backend = Literal["torch", "openvino", "compile"]

TRACK_MEMORY = 10  # segmented frames of a video that a track waits for its segment
