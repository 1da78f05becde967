"""One row of the benchmark: the plain network and the fast one, alternately, on the same photo and words.

Each row is measured in a new process, so that memory is measured separately and a failing row does not affect others.
"""

import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from eovseg.assets import asset_path
from eovseg.choices import Backend, Dtype
from eovseg.embeddings import default_cache_directory
from eovseg.errors import ConfigError
from eovseg.fast import optimise, plain_network
from eovseg.fast.precision import has_bfloat16
from eovseg.loading import load
from eovseg.model.classifier import class_log_probabilities
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.postprocess import masks_on_photo, panoptic
from eovseg.model.values import TextEmbeddings
from eovseg.predictor import Predictor
from eovseg.stages import Decoded
from eovseg.timing import repeated, timed
from eovseg.vocabulary import Vocabulary

PARTS = ("image", "words", "result")


@dataclass(frozen=True)
class Case:
    """What is measured in one row. The photo has an aspect ratio of 4:3 and a shorter side of `side` pixels, and is not
    resized; there are `words` classes with one name each."""

    variant: str
    backend: Backend = "torch"
    dtype: Dtype = "float32"
    words: int = 150
    side: int = 640
    device: str = "cpu"
    repeats: int = 3

    @property
    def emulated(self) -> bool:
        """Whether bfloat16 is emulated on this device: results are valid, but times are meaningless."""
        return self.dtype == "bfloat16" and not has_bfloat16(torch.device(self.device))

    def unsupported_reason(self) -> str | None:
        """Why this machine cannot run the case, or None."""
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            return "no CUDA device"
        if self.emulated:
            return "no bfloat16 in this processor's hardware"
        if self.backend == "openvino" and self.device != "cpu":
            return "OpenVINO is for CPUs here"
        if self.backend == "compile" and self.device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            return "no C++ compiler for torch.compile"
        return None


def measure(case: Case) -> dict[str, Any]:
    """The row of `case`: seconds of both implementations, ratios of pairs, numeric difference and memory.

    Raises `ConfigError` if this machine cannot run it.
    """
    if reason := case.unsupported_reason():
        raise ConfigError(f"This case cannot run here: {reason}.")
    fast, slow = _both(case)
    memory = {}
    cold = {}
    for name, side in (("plain", slow), ("fast", fast)):
        with peak_memory() as peak:
            started = time.perf_counter()
            side.run()
            cold[name] = time.perf_counter() - started
        memory[name] = peak[0]
    times: dict[str, list[float]] = {}
    for _ in range(case.repeats):
        for name, side in (("plain", slow), ("fast", fast)):
            busy = time.process_time()
            for part, seconds in side.run().items():
                times.setdefault(f"{name} {part}", []).append(seconds)
            times.setdefault(f"{name} processor", []).append(time.process_time() - busy)
        times.setdefault("changed word", []).append(fast.changed_word())
        times.setdefault("changed alpha", []).append(fast.changed_alpha())
    return _row(case, times, cold, memory, _difference(fast, slow)) | _floor(fast.predictor, slow)


def measure_difference(case: Case) -> dict[str, Any]:
    """The numeric difference of `case` from plain float32, for emulated bfloat16, whose time cannot be measured."""
    fast, slow = _both(case)
    fast.run()
    slow.run()
    return _difference_columns(_difference(fast, slow))


def _both(case: Case) -> tuple["_Fast", "_Plain"]:
    predictor, photo = benchmark_predictor(case), benchmark_photo(case)
    words = benchmark_words(case, predictor)
    return _Fast(predictor, photo, *words), _Plain(predictor, photo, *words)


class _Fast:
    """The network as predictors run it, step by step."""

    def __init__(self, predictor: Predictor, photo: np.ndarray, vocabulary: Vocabulary, text: TextEmbeddings) -> None:
        self.predictor, self.photo, self.vocabulary, self.text = predictor, photo, vocabulary, text
        self.changes = 0

    def run(self) -> dict[str, float]:
        """Seconds of each part, with empty caches."""
        self.predictor.clear_cache()
        with timed(self.predictor.device) as image:
            self.state = self.predictor.encode_image(self.photo, resize=False)
        with timed(self.predictor.device) as words:
            self.decoded = self._decode(self.text)
        with timed(self.predictor.device) as result:
            self._compose()
        return {"image": image[0], "words": words[0], "result": result[0]}

    def changed_word(self) -> float:
        """Seconds from a new word to the new result, with the photo and all other words already encoded."""
        self.changes += 1
        with timed(self.predictor.device) as spent:
            row = self.predictor.network.encode_words([f"unheard-of thing number {self.changes}"])
            rows = torch.cat([self.text.embeddings[:-1], row.to(self.text.embeddings)])
            self._compose(self._decode(TextEmbeddings(rows, self.text.class_index)))
        return spent[0]

    def changed_alpha(self) -> float:
        """Seconds from another alpha to the new result."""
        self.changes += 1
        with timed(self.predictor.device) as spent:
            self._compose(alpha=0.3 + 0.001 * self.changes)
        return spent[0]

    def _decode(self, text: TextEmbeddings) -> Decoded:
        network = self.predictor.network
        with torch.inference_mode(), self.predictor._precision():
            logits = network.decode(self.state.features, text, final_only=True)
        return Decoded(self.state, self.vocabulary, logits)

    def _compose(self, decoded: Decoded | None = None, alpha: float = 0.4) -> None:
        # The released rule without edge alignment, like `eovseg.model`, regardless of the configuration.
        rule: dict[str, Any] = {"composition": "released", "edges": False, **_thresholds(self.predictor)}
        self.result = self.predictor.compose(decoded or self.decoded, alpha=alpha, **rule)


class _Plain:
    """The same network as in `eovseg.model`, step by step; all masks and words are in memory at once."""

    def __init__(self, predictor: Predictor, photo: np.ndarray, vocabulary: Vocabulary, text: TextEmbeddings) -> None:
        self.network, self.text, self.device = plain_network(predictor.network), text, predictor.device
        self.pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].to(self.device, torch.float32)
        self.seen = torch.from_numpy(predictor.seen(vocabulary)).to(self.device)
        self.is_thing = torch.from_numpy(np.array(vocabulary.is_thing))
        self.thresholds = _thresholds(predictor)

    @torch.inference_mode()
    def run(self) -> dict[str, float]:
        """Seconds of each part."""
        config = self.network.config
        with timed(self.device) as image:
            features = self.network.encode_image(self.pixels)
        with timed(self.device) as words:
            self.logits = self.network.decode(features, self.text)
        size = self.pixels.shape[-2], self.pixels.shape[-1]
        with timed(self.device) as result:
            scores = class_log_probabilities(self.logits, self.seen, config.alpha, config.beta)[0]
            masks = masks_on_photo(self.logits.mask_logits[-1][0], features.padded_size, features.image_size, size)
            panoptic(scores, masks, self.is_thing, overlap_threshold=config.overlap_threshold, **self.thresholds)
        return {"image": image[0], "words": words[0], "result": result[0]}


def _thresholds(predictor: Predictor) -> dict[str, Any]:
    """XS's own thresholds; with random weights, those that keep every kernel, which is the worst case."""
    config = predictor.config
    if config.variant == "xs" and config.void_threshold is not None:
        return {"score_threshold": config.score_threshold, "void_threshold": config.void_threshold}
    return {"score_threshold": 0.0, "void_threshold": 1.0}


def _row(
    case: Case, times: dict[str, list[float]], cold: dict[str, float], memory: dict[str, float], difference: list[float]
) -> dict[str, Any]:
    whole = {
        name: [sum(values) for values in zip(*(times[f"{name} {part}"] for part in PARTS), strict=True)]
        for name in ("plain", "fast")
    }
    seconds = {name: statistics.median(values) for name, values in times.items()}

    def ratio(above: list[float], below: list[float], of: Callable[[list[float]], float] = statistics.median) -> float:
        return round(of([a / b for a, b in zip(above, below, strict=True)]), 2)

    row: dict[str, Any] = {}
    for name in ("plain", "fast"):
        row |= {f"{name} {part} (s)": round(seconds[f"{name} {part}"], 4) for part in PARTS}
        row[f"{name} whole (s)"] = round(statistics.median(whole[name]), 4)
        row[f"{name} processor (s)"] = round(seconds[f"{name} processor"], 4)  # of all threads
        row[f"{name} first run (s)"] = round(cold[name], 4)
        row[f"{name} memory (MB)"] = round(memory[name])
    for part in PARTS:
        row[f"ratio {part}"] = ratio(times[f"plain {part}"], times[f"fast {part}"])
    row["ratio whole"] = ratio(whole["plain"], whole["fast"])
    row["ratio whole min"], row["ratio whole max"] = (ratio(whole["plain"], whole["fast"], of) for of in (min, max))
    row["ratio processor"] = ratio(times["plain processor"], times["fast processor"])
    for change in ("changed word", "changed alpha"):
        row[f"{change} (s)"] = round(seconds[change], 4)
        row[f"ratio {change}"] = ratio(whole["plain"], times[change])
    row["FPS"] = round(1 / row["fast whole (s)"], 2)
    return row | _difference_columns(difference)


def _difference_columns(difference: list[float]) -> dict[str, Any]:
    names = ("difference F_vs", "difference first masks")
    return {name: float(f"{value:.2e}") for name, value in zip(names, difference, strict=True)}


def _floor(predictor: Predictor, slow: "_Plain") -> dict[str, Any]:
    """Lower bound of the image half's time: its multiply-adds at the machine's rate for matrix products.

    The rate is measured with one large matrix product in the predictor's precision. torch's counter includes all of the
    image half except its three deformable convolutions. Empty on GPUs, whose convolutions may use a lower precision.
    """
    device = predictor.device
    if device.type != "cpu":
        return {}
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        slow.network.encode_image(slow.pixels)
    with torch.inference_mode(), predictor._precision():
        one, other = torch.randn(2, 4096, 2048, device=device)
        seconds = repeated(lambda _: one @ other.T, device, runs=5)
    rate = 2 * 4096 * 4096 * 2048 / min(seconds)
    work = counter.get_total_flops()
    return {
        "image multiply-adds (G)": round(work / 2e9),
        "matrix product (GFLOP/s)": round(rate / 1e9),
        "image floor (s)": round(work / rate, 4),
    }


def _difference(fast: _Fast, slow: _Plain) -> list[float]:
    """Largest difference of F_vs and of the first masks, relative to their range in the plain network."""
    network = fast.predictor.network
    with torch.inference_mode(), fast.predictor._precision():
        logits = network.decode(fast.state.features, fast.text, intermediates=True)
    inside, wanted = logits.intermediates, slow.logits.intermediates
    assert inside is not None and wanted is not None
    pairs = (
        (inside.selected, wanted.selected),
        (inside.initial_mask_logits, wanted.initial_mask_logits),
    )
    return [float((found - plain).abs().max() / (plain.max() - plain.min())) for found, plain in pairs]


def benchmark_predictor(case: Case) -> Predictor:
    """XS with its own weights; S, M and L with random weights (fixed seed), which only affects the time of the
    result."""
    if case.variant == "xs":
        return load("xs", device=case.device, dtype=case.dtype, backend=case.backend)
    torch.manual_seed(0)
    device = torch.device(case.device)
    network = EOVSeg(variant_config(case.variant)).to(device).eval()
    fast = optimise(network, case.backend, case.dtype, default_cache_directory())
    return Predictor(fast, (), device=device, dtype=case.dtype, text_weights="random")


def benchmark_photo(case: Case) -> np.ndarray:
    from PIL import Image

    with Image.open(asset_path("photos/bus-street.jpg")) as photo:
        return np.asarray(photo.convert("RGB").resize((case.side * 4 // 3, case.side), Image.Resampling.BILINEAR))


def benchmark_words(case: Case, predictor: Predictor) -> tuple[Vocabulary, TextEmbeddings]:
    """The first classes of ADE20K. For more than its 150, and for random weights, word rows are random unit vectors:
    their values do not affect the time, and the text encoder need not run."""
    listed = Vocabulary.preset("ade20k-150")
    if case.variant == "xs" and case.words <= len(listed):
        listed = Vocabulary(tuple(replace(entry, names=entry.names[:1]) for entry in listed.classes[: case.words]))
        return listed, predictor.text_embeddings(listed)
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(case.words, predictor.config.embed_dim, generator=generator), dim=-1)
    text = TextEmbeddings(rows.to(predictor.device), torch.arange(case.words, device=predictor.device))
    return Vocabulary.parse("; ".join(f"thing {number}: thing" for number in range(case.words))), text


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Peak increase in resident memory during the block in MB, sampled every 2 ms."""
    import psutil

    process = psutil.Process()
    start = process.memory_info().rss
    peak, ended = [start], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    found: list[float] = []
    try:
        yield found
    finally:
        ended.set()
        watcher.join()
        found.append((max(peak[0], process.memory_info().rss) - start) / 1e6)
