"""Image half, word half and text encoder as ONNX files, compared with torch when they are written."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from eovseg.assets import asset_path
from eovseg.atomic_files import atomic_file
from eovseg.errors import ConfigError
from eovseg.export.tokenizer import write_tokenizer
from eovseg.fast import exportable, optimise
from eovseg.fast.halves import STRIDE, FromPixels, ImageHalf, TextHalf, WordHalf
from eovseg.fast.vas import WORDS_AT_ONCE
from eovseg.images import load_image
from eovseg.model.network import EOVSeg
from eovseg.model.values import ImageFeatures, TextEmbeddings

TOLERANCE = 1e-4  # relative to the range of each output
# A cell whose mask logit is almost 0 may be inside the hard mask in one engine and outside in the other, as in torch
# with float32 and float64. Right exports then exceed the tolerance for some values of some inputs, wrong ones for
# nearly all inputs.
_AFTER_HARD_MASKS = ("masks", "class_logits", "out_of_vocabulary_logits")
_EQUAL_INPUTS = 0.5  # minimum share of inputs for which such an output is within the tolerance everywhere
_EQUAL_VALUES = 0.9  # minimum share of values within the tolerance, for every input
# Maximum shares, for every input: cells that are in a mask in one engine only, and kernels whose best class differs.
_OTHER_DECISIONS = {"mask cells": 1e-3, "best classes": 0.05}
OPSET = 18
# Height, width and words; unlike those used for tracing, and with several blocks of words in the last one.
_CHECKED = (((96, 160), 7), ((192, 128), 23), ((256, 320), 3_000))
_CHECKED_PHOTOS = ("bear", "bus-street", "kitchen", "loft", "savanna")  # compared at 192 x 256 pixels, with 50 words
_CHECKED_WORDS = (["bear"], ["a narrow street in the old town", "grass"])
FILES = ("image.onnx", "words.onnx", "text.onnx", "tokenizer.json")
WORD_OUTPUTS = ["masks", "class_logits", "out_of_vocabulary_logits", "first_masks"]


def export(network: EOVSeg, output: Path, whole: bool = True) -> dict[str, float]:
    """Exports a float32 network on the CPU: `image.onnx`, `words.onnx`, `text.onnx` and `tokenizer.json` in `output`.

    The metadata `prompts` of `text.onnx` is a JSON list of the prompts. Returns the largest difference from torch by
    output, relative to its range. Without `whole`, the word half is compared up to the first masks only, because with
    random weights, hard masks amplify tiny differences. Raises `ConfigError` if packages are missing or differences
    exceed 1e-4, apart from the few that hard masks explain; then no files are written.
    """
    runtime = _packages()
    names = ["aggregated", "dense", *(["spatial"] if network.spatial_extractor is not None else [])]
    with ExitStack() as stack:
        parts = {name: stack.enter_context(atomic_file(output / name)) for name in FILES}
        write_tokenizer(network.text_encoder, parts["tokenizer.json"])
        with torch.no_grad(), _no_fused_attention():
            writable = exportable(network)
            image = FromPixels(ImageHalf(writable, embeddings=False)).eval()
            pixels = torch.zeros(1, 3, 3 * STRIDE, 4 * STRIDE)
            features = dict(zip(names, image(pixels), strict=True))
            _write(image, parts["image.onnx"], {"pixels": pixels}, {"pixels": _sides(STRIDE)}, names)
            sizes = {name: _sides(value.shape[-2] // 3) for name, value in features.items()}
            given = {**features, "words": F.normalize(torch.ones(2 * WORDS_AT_ONCE, network.config.embed_dim), dim=-1)}
            # With one block, torch would remove the loop. The file also works with fewer words, see `_CHECKED`.
            sizes["words"] = {0: Dim("words", min=WORDS_AT_ONCE)}
            _write(WordHalf(writable).eval(), parts["words.onnx"], given, sizes, WORD_OUTPUTS)
            tokens = {"tokens": torch.ones(3, len(network.config.prompts), 7, dtype=torch.long)}
            text = TextHalf(network.text_encoder).eval()
            open_sizes = {"tokens": {0: Dim("words"), 2: Dim("places", max=text.longest)}}
            prompts = {"prompts": json.dumps(network.config.prompts)}
            _write(text, parts["text.onnx"], tokens, open_sizes, ["rows"], prompts)
        return _check(runtime, network, parts, names, whole)


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Disables torch's fused attention, which ONNX does not support."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _packages() -> Any:
    try:
        import onnx  # noqa: F401 (torch's exporter needs onnx and onnxscript)
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'The ONNX export needs the package {error.name}. In the checkout, run pip install -e ".[onnx]".'
        ) from error
    return onnxruntime


def _sides(stride: int) -> dict[int, Any]:
    """Height and width of a map in which `stride` cells (or pixels) correspond to 32 pixels of the photo."""
    return {2: stride * Dim("h"), 3: stride * Dim("w")}


def _write(
    half: nn.Module,
    path: Path,
    given: dict[str, Tensor],
    sizes: dict[str, dict[int, Any]],
    outputs: list[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Exports a module; `given` has an example of each input, `sizes` its dynamic dimensions."""
    from onnxscript import optimizer

    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # it warns of operators that it does not fold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of torch's exporter about its own code
        program = torch.export.export(
            half,
            (),
            given,
            dynamic_shapes=sizes,
            # Some branches are shortcuts for one size, but the general branch is also correct for that size.
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        # `optimize` would treat the 1e-8 that prevents 0 / 0 in the mean of an empty mask as zero and remove it.
        written = torch.onnx.export(program, opset_version=OPSET, output_names=outputs, verbose=False, optimize=False)
        assert written is not None
        optimizer.inline(written.model)
        optimizer.fold_constants(written.model)
        optimizer.remove_unused_nodes(written.model)
    written.model.metadata_props.update(metadata or {})
    written.save(path, external_data=False)


@torch.no_grad()
def _check(runtime: Any, network: EOVSeg, parts: dict[str, Path], names: list[str], whole: bool) -> dict[str, float]:
    """Largest difference of each output from that of the network, for noise and photos of several sizes.

    Raises `ConfigError` if an output is wrong.
    """
    tokenizer = Tokenizer.from_file(str(parts["tokenizer.json"]))
    image, word, text = (
        runtime.InferenceSession(parts[name], providers=["CPUExecutionProvider"]) for name in FILES[:3]
    )
    generator = torch.Generator().manual_seed(0)
    apart: dict[str, list[np.ndarray]] = {}

    def compare(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
        apart.setdefault(name, []).append(differences(found, wanted))

    for typed in _CHECKED_WORDS:
        tokens = prompt_tokens(tokenizer, typed, network.config.prompts)
        compare("rows", text.run(None, {"tokens": tokens})[0], network.encode_words(typed).numpy())
    other: dict[str, list[float]] = {}
    noise = ((torch.randint(0, 256, (1, 3, *size), generator=generator).float(), count) for size, count in _CHECKED)
    for pixels, count in (*noise, *((_photo(name), 50) for name in _CHECKED_PHOTOS)):
        rows = F.normalize(torch.randn(count, network.config.embed_dim, generator=generator), dim=-1)
        features = network.encode_image(pixels)
        given = word_half_inputs(features, rows)
        found = dict(zip(names, image.run(None, {"pixels": pixels.numpy()}), strict=True))
        found |= zip(WORD_OUTPUTS, word.run(None, given), strict=True)
        wanted = {name: given[name] for name in names} | torch_outputs(network, features, rows, whole)
        for name, value in wanted.items():
            compare(name, found[name], value)
        if whole:
            decisions = ((one["masks"] > 0, one["class_logits"].argmax(-1)) for one in (found, wanted))
            for what, ours, theirs in zip(_OTHER_DECISIONS, *decisions, strict=True):
                other.setdefault(what, []).append(float((ours != theirs).mean()))
    largest = {name: float(np.max([values.max() for values in inputs])) for name, inputs in apart.items()}
    wrong = [
        f"{name} by {largest[name]:.1e} of the range" for name, inputs in apart.items() if not _equal(name, inputs)
    ]
    wrong += [f"{max(n):.1%} of the {what}" for what, n in other.items() if max(n) > _OTHER_DECISIONS[what]]
    if wrong:
        raise ConfigError(f"The ONNX files differ too much from torch ({', '.join(wrong)}).")
    return largest


def _equal(name: str, inputs: Sequence[np.ndarray]) -> bool:
    """Whether an output is right, given its differences for each input; NaN is wrong."""
    within = np.array([(values <= TOLERANCE).mean() for values in inputs])
    if any(np.isnan(values).any() for values in inputs) or name not in _AFTER_HARD_MASKS:
        return bool((within == 1).all())
    return bool((within == 1).mean() >= _EQUAL_INPUTS and (within >= _EQUAL_VALUES).all())


def _photo(name: str) -> Tensor:
    """Pixels (1, 3, 192, 256) of an example photo."""
    pixels = Image.fromarray(load_image(asset_path(f"photos/{name}.jpg"))).resize((256, 192))
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()


def prompt_tokens(tokenizer: Tokenizer, words: Sequence[str], prompts: Sequence[str]) -> np.ndarray:
    """Input of `text.onnx`: token ids (words, prompts, places)."""
    encoded = tokenizer.encode_batch([prompt.format(word) for word in words for prompt in prompts])
    return np.array([prompt.ids for prompt in encoded]).reshape(len(words), len(prompts), -1)


def word_half_inputs(features: ImageFeatures, words: Tensor) -> dict[str, np.ndarray]:
    """Inputs of `words.onnx` by name: one photo's features and word rows (N, D)."""
    given = {"aggregated": features.aggregated, "dense": features.dense, "spatial": features.spatial, "words": words}
    return {name: value.numpy() for name, value in given.items() if value is not None}


@torch.no_grad()
def torch_outputs(network: EOVSeg, features: ImageFeatures, words: Tensor, whole: bool = True) -> dict[str, np.ndarray]:
    """The network's values for the outputs of `words.onnx`, by name; without `whole`, only the first masks."""
    given = TextEmbeddings(words, torch.arange(len(words)))
    logits = optimise(network).decode(features, given, intermediates=True)
    assert logits.intermediates is not None
    answers = {"first_masks": logits.intermediates.initial_mask_logits}
    if whole:
        answers |= {"masks": logits.mask_logits[-1], "class_logits": logits.class_logits[-1]}
        answers["out_of_vocabulary_logits"] = logits.out_of_vocabulary_logits
    return {name: value.numpy() for name, value in answers.items()}


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference of two arrays, relative to the range of the second one."""
    return float(differences(found, wanted).max())


def differences(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Absolute differences of two arrays, relative to the range of the second one."""
    apart: np.ndarray = np.abs(found - wanted) / max(float(np.ptp(wanted)), 1e-12)
    return apart
