"""Choices and defaults shared by functions and commands, importable without torch."""

from typing import Literal

Task = Literal["panoptic", "semantic", "instance"]
Dtype = Literal["float32", "float64", "bfloat16"]
Backend = Literal["torch", "openvino", "compile"]

TRACK_MEMORY = 10  # segmented video frames that a track survives without a matching segment
