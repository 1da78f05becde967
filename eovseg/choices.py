"""Choices and defaults shared by functions and commands, importable without torch."""

from typing import Literal

Task = Literal["panoptic", "semantic", "instance"]
Dtype = Literal["float32", "float64", "bfloat16"]
Precision = Literal["float32", "bfloat16", "float16"]  # of a training run
OLD_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}  # names in older commands and recipes
Backend = Literal["torch", "openvino", "compile"]

TRACK_MEMORY = 10  # segmented video frames that a track survives without a matching segment
