"""Ways to compute the image half; the numbers stay those of `eovseg.model`."""

from pathlib import Path

from eovseg.backends import openvino
from eovseg.backends.compiled import CompiledImageHalf
from eovseg.backends.folded import FoldedImageHalf
from eovseg.choices import Backend, Dtype
from eovseg.model.network import EOVSeg

ImageHalf = FoldedImageHalf | CompiledImageHalf | openvino.OpenVINOImageHalf


def image_half(network: EOVSeg, backend: Backend, dtype: Dtype, cache: Path | None) -> ImageHalf:
    """The image half of a network whose weights stay as they are; `cache` is a folder for converted models."""
    if backend == "openvino":
        return openvino.load(network, cache, dtype == "bfloat16")
    return CompiledImageHalf(network) if backend == "compile" else FoldedImageHalf(network)
