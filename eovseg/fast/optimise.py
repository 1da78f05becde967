"""Converts a plain network to the fast one (`optimise`), back (`plain_network`), and for ONNX export (`exportable`)."""

import copy
from pathlib import Path
from typing import Any

from torch import nn

from eovseg.choices import Backend, Dtype
from eovseg.errors import ConfigError
from eovseg.fast import openvino
from eovseg.fast.compiled import CompiledImageHalf
from eovseg.fast.decoder import FastCrossAttention, FastDDA, FastDecoder, FastDecoderLayer
from eovseg.fast.deformable import FastDeformableUpsample, SampledDeformableUpsample
from eovseg.fast.folded import FoldedImageHalf
from eovseg.fast.network import FastEOVSeg, ImageEngine
from eovseg.fast.text import FastClipTextEncoder
from eovseg.fast.towers import FastLite2Extractor
from eovseg.fast.vas import ScannedSelection, StreamedSelection
from eovseg.model import aggregator, backbones, decoder, network, text, vas

Replacements = dict[type[nn.Module], type[nn.Module]]

FAST: Replacements = {
    network.EOVSeg: FastEOVSeg,
    backbones.EfficientNetLite2Extractor: FastLite2Extractor,
    text.ClipTextEncoder: FastClipTextEncoder,
    aggregator.DeformableUpsample: FastDeformableUpsample,
    vas.VocabularyAwareSelection: StreamedSelection,
    decoder.DDAInteraction: FastDDA,
    decoder.CrossAttentionInteraction: FastCrossAttention,
    decoder.DecoderLayer: FastDecoderLayer,
    decoder.Decoder: FastDecoder,
}
# Replacements for an ONNX export; they also apply to a network that is already fast.
EXPORTABLE: Replacements = FAST | {
    aggregator.DeformableUpsample: SampledDeformableUpsample,
    FastDeformableUpsample: SampledDeformableUpsample,
    vas.VocabularyAwareSelection: ScannedSelection,
    StreamedSelection: ScannedSelection,
}


def optimise(
    given: network.EOVSeg, backend: Backend | None = None, dtype: Dtype = "float32", cache: Path | None = None
) -> FastEOVSeg:
    """A faster network with the same tensors (not copies), names and results as `given`, using less memory.

    Weights are shared, so training one network trains the other. With a `backend`, the image half is also prepared for
    inference (folded, compiled or converted) with the current weights. `cache` is the folder for converted models, and
    `dtype` "bfloat16" allows OpenVINO to compute in bfloat16. Raises `ConfigError` if the backend is not available.
    """
    fast: Any = replace_classes(given, FAST)
    arranged = getattr(fast, "image_half", None) is not None
    if fast is given and (backend is not None or arranged):  # `given` must not change
        fast = copy.copy(fast)
    if backend is not None:
        fast.image_half = _image_half(fast, backend, dtype, cache)
    return fast


def plain_network(fast: network.EOVSeg) -> network.EOVSeg:
    """The inverse of `optimise`: the plain network of `eovseg.model` with the same tensors."""
    made = replace_classes(fast, {kind: origin for origin, kind in FAST.items()})
    assert isinstance(made, network.EOVSeg)
    return made


def exportable(any_network: network.EOVSeg) -> FastEOVSeg:
    """The same network, built from operations that every ONNX runtime supports.

    Raises `ConfigError` for multi-scale networks; no published variant is one.
    """
    if any_network.config.scales == "multi":
        raise ConfigError("A model with scales='multi' cannot be exported to ONNX; only single-scale models can.")
    made = replace_classes(any_network, EXPORTABLE)
    assert isinstance(made, FastEOVSeg)
    return made


def replace_classes(module: nn.Module, replacements: Replacements) -> nn.Module:
    """A copy of `module` with classes replaced as `replacements` says; tensors and other modules are shared.

    A module with nothing to replace is returned unchanged.
    """
    children = {name: child and replace_classes(child, replacements) for name, child in module._modules.items()}
    kind = replacements.get(type(module), type(module))
    if kind is type(module) and all(children[name] is child for name, child in module._modules.items()):
        return module
    made = copy.copy(module)
    made._modules = children
    made.__class__ = kind
    return made


def _image_half(fast: FastEOVSeg, backend: Backend, dtype: Dtype, cache: Path | None) -> ImageEngine:
    if backend == "openvino":
        return openvino.load(fast, cache, dtype == "bfloat16")
    return CompiledImageHalf(fast) if backend == "compile" else FoldedImageHalf(fast)
