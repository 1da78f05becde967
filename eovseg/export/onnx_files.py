"""Image half and word half as ONNX files, checked against torch when written."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.errors import ConfigError
from eovseg.fast import exportable, optimise
from eovseg.fast.halves import STRIDE, FromPixels, ImageHalf, WordHalf
from eovseg.model.network import EOVSeg
from eovseg.model.values import ImageFeatures, TextEmbeddings
from eovseg.whole_files import whole_file

TOLERANCE = 1e-4  # of the range of each output
OPSET = 18
# Height, width and words; other ones than those that are traced, the last so many that they come in several blocks.
_CHECKED = (((96, 160), 7), ((192, 128), 23), ((256, 320), 3_000))
_AXES: dict[str, dict[int, str]] = {
    "pixels": {2: "height", 3: "width"},
    "aggregated": {2: "height_4", 3: "width_4"},
    "dense": {2: "height_32", 3: "width_32"},
    "spatial": {2: "height_s", 3: "width_s"},
    "words": {0: "words"},
    "masks": {2: "height_4", 3: "width_4"},
    "class_logits": {2: "words_and_void"},
    "out_of_vocabulary_logits": {2: "words_and_void"},
    "first_masks": {2: "height_4", 3: "width_4"},
}
ANSWERS = ["masks", "class_logits", "out_of_vocabulary_logits", "first_masks"]


def export(network: EOVSeg, output: Path, whole: bool = True) -> dict[str, float]:
    """Write `image.onnx` and `words.onnx` of a float32 network on the CPU into the folder `output`.

    Returns the largest difference from torch by output, as a share of its range. `whole` False compares the word half
    up to the first masks only: of random weights, hard masks make large differences of tiny ones. Raises `ConfigError`
    where the packages are missing or a difference exceeds 1e-4; then no file is left.
    """
    runtime = _packages()
    names = ["aggregated", "dense", *(["spatial"] if network.spatial_extractor is not None else [])]
    with ExitStack() as stack:
        parts = {name: stack.enter_context(whole_file(output / f"{name}.onnx")) for name in ("image", "words")}
        with torch.no_grad(), _no_fused_attention():
            writable = exportable(network)
            halves = FromPixels(ImageHalf(writable, embeddings=False)).eval(), WordHalf(writable).eval()
            pixels = torch.zeros(1, 3, 3 * STRIDE, 4 * STRIDE)
            features = halves[0](pixels)
            words = F.normalize(torch.ones(5, network.config.embed_dim), dim=-1)
            _trace(halves[0], (pixels,), parts["image"], ["pixels"], names)
            _trace(halves[1], (*features, words), parts["words"], [*names, "words"], ANSWERS)
        return _check(runtime, network, parts, names, whole)


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Without one fused operation of torch's attention, which ONNX lacks."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _packages() -> Any:
    try:
        import onnx  # noqa: F401 (torch's exporter needs it)
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            'Writing ONNX needs packages that are not installed: pip install "eovseg[onnx]" or onnx and onnxruntime.'
        ) from error
    return onnxruntime


def _trace(half: torch.nn.Module, given: tuple[Tensor, ...], path: Path, inputs: list[str], outputs: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: branches on sizes, which the check below covers
        # The tracer, not dynamo: it leaves every size open without having to prove equalities between them.
        torch.onnx.export(
            half,
            given,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: _AXES[name] for name in (*inputs, *outputs) if name in _AXES},
        )


@torch.no_grad()
def _check(runtime: Any, network: EOVSeg, parts: dict[str, Path], names: list[str], whole: bool) -> dict[str, float]:
    """Largest difference of each output from the network itself, over sizes and numbers of words not traced."""
    image = runtime.InferenceSession(str(parts["image"]), providers=["CPUExecutionProvider"])
    word = runtime.InferenceSession(str(parts["words"]), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    largest: dict[str, float] = {}
    for (height, width), count in _CHECKED:
        pixels = torch.randint(0, 256, (1, 3, height, width), generator=generator).float()
        rows = F.normalize(torch.randn(count, network.config.embed_dim, generator=generator), dim=-1)
        features = network.encode_image(pixels)
        given = word_half_inputs(features, rows)
        found = dict(zip(names, image.run(None, {"pixels": pixels.numpy()}), strict=True))
        found |= zip(ANSWERS, word.run(None, given), strict=True)
        wanted = {name: given[name] for name in names} | torch_answers(network, features, rows, whole)
        for name, value in wanted.items():
            largest[name] = max(largest.get(name, 0.0), difference(found[name], value))
    wrong = [f"{name} by {value:.1e}" for name, value in largest.items() if not value <= TOLERANCE]
    if wrong:
        raise ConfigError(f"The ONNX files give other numbers than torch ({', '.join(wrong)} of the range).")
    return largest


def word_half_inputs(features: ImageFeatures, words: Tensor) -> dict[str, np.ndarray]:
    """What `words.onnx` is given, by name: one photo's features and word rows (N, D)."""
    given = {"aggregated": features.aggregated, "dense": features.dense, "spatial": features.spatial, "words": words}
    return {name: value.numpy() for name, value in given.items() if value is not None}


@torch.no_grad()
def torch_answers(network: EOVSeg, features: ImageFeatures, words: Tensor, whole: bool = True) -> dict[str, np.ndarray]:
    """The network's own numbers for what `words.onnx` answers, by name; the first masks only where not `whole`."""
    given = TextEmbeddings(words, torch.arange(len(words)))
    logits = optimise(network).decode(features, given, intermediates=True)
    assert logits.intermediates is not None
    answers = {"first_masks": logits.intermediates.initial_mask_logits}
    if whole:
        answers |= {"masks": logits.mask_logits[-1], "class_logits": logits.class_logits[-1]}
        answers["out_of_vocabulary_logits"] = logits.out_of_vocabulary_logits
    return {name: value.numpy() for name, value in answers.items()}


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference of two arrays as a share of the second one's range."""
    return float(np.abs(found - wanted).max() / max(float(np.ptp(wanted)), 1e-12))
