"""From a photo and words to segments: what people, the page, the notebooks and the command line call.

Three steps that can each be kept and reused: `encode_image` (photo only), `decode` (words too), `compose` (alpha, beta,
ensemble, thresholds). `Predictor.__call__` does all three and keeps the last photos' image halves.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from eovseg.background import merge_background, with_background
from eovseg.choices import Dtype
from eovseg.composer import Composer, KeptMasks, PanopticRule
from eovseg.embeddings import EmbeddingCache
from eovseg.errors import ConfigError
from eovseg.fast import FastEOVSeg, optimise
from eovseg.images import load_image, resize_for_network
from eovseg.kept_photos import KeptPhotos
from eovseg.model.classifier import class_log_probabilities
from eovseg.model.config import Composition, Ensemble, ModelConfig, check_calibration
from eovseg.model.network import EOVSeg
from eovseg.model.text import text_key
from eovseg.model.values import ImageFeatures, Intermediates, Logits, TextEmbeddings
from eovseg.result import Result
from eovseg.vocabulary import Vocabulary

ImageSource = str | Path | Image.Image | np.ndarray
Words = Vocabulary | str | None
Task = Literal["panoptic", "semantic", "instance"]
Calibration = tuple[float, float] | Literal[False] | None  # slope and bias, none, or the model's own
KEPT_PHOTOS = 4
KEPT_BYTES = 640 * 2**20  # of pixels and features: four photos of XS (36 MB and the pixels), two of S (292 MB), M or L


@dataclass(eq=False)
class ImageState:
    """A photo's image half: the photo as it was given (H, W, 3) uint8 and the features at network size."""

    image: np.ndarray
    features: ImageFeatures = field(repr=False)
    name: str = ""
    seconds: float = 0.0


@dataclass(eq=False)
class Decoded:
    """A photo's word half: logits of every query for every word of the vocabulary."""

    state: ImageState
    vocabulary: Vocabulary
    logits: Logits = field(repr=False)
    text_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def intermediates(self) -> Intermediates | None:
        """Inner values, where `decode(..., intermediates=True)` asked for them."""
        return self.logits.intermediates


@dataclass(eq=False)
class RawOutput:
    """The network's own numbers for one photo: Q queries, K classes, void last, h and w at stride 4, padded."""

    mask_logits: tuple[Tensor, ...]  # a layer: (Q, h, w), last = final
    class_logits: tuple[Tensor, ...]  # a layer: (Q, K+1)
    out_of_vocabulary_logits: Tensor  # (Q, K+1)
    class_log_probabilities: Tensor  # (Q, K+1)
    valid_masks: Tensor  # (Q,) bool


class Predictor:
    """An EOV-Seg network with the settings that people change; safe to share between threads.

    `network` may be one of `eovseg.fast.optimise` or a readable one, which is then made fast but for its image half.
    `image_halves` and `word_halves` count how often each half ran.
    """

    def __init__(
        self,
        network: EOVSeg,
        training_words: Sequence[str],
        *,
        device: torch.device,
        dtype: Dtype = "float32",
        text_weights: str,
        cache_directory: Path | None = None,
    ) -> None:
        self.network = (network if isinstance(network, FastEOVSeg) else optimise(network)).eval()
        self.config: ModelConfig = network.config
        self.training_words = tuple(training_words)
        self.device = device
        self.dtype = dtype
        self.image_halves = 0
        self.word_halves = 0
        self.words = EmbeddingCache(
            f"{text_key(self.config, text_weights)}-{dtype}", self.config.embed_dim, self._encode_words, cache_directory
        )
        self._kept: KeptPhotos[ImageState] = KeptPhotos(KEPT_PHOTOS, KEPT_BYTES)
        self._masks = KeptMasks()
        self._lock = threading.Lock()

    def _encode_words(self, words: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return self.network.encode_words(words).cpu().numpy()

    def _precision(self) -> AbstractContextManager[Any]:
        # bfloat16: matrix products and convolutions only; weights, norms, softmax and sums stay in float32.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")

    def text_embeddings(self, vocabulary: Vocabulary | str) -> TextEmbeddings:
        """Word rows of a vocabulary on the predictor's device; words seen before are not encoded again."""
        vocabulary = Vocabulary.coerce(vocabulary)
        rows = torch.from_numpy(self.words.embed(vocabulary.words)).to(self.device)
        return TextEmbeddings(rows, torch.from_numpy(np.array(vocabulary.class_of_word)).to(self.device))

    def seen(self, vocabulary: Vocabulary | str) -> np.ndarray:
        """(K,) bool: the class shares a word with the training vocabulary of these weights."""
        return Vocabulary.coerce(vocabulary).seen(self.training_words)

    def encode_image(self, image: ImageSource, resize: bool = True, keep: bool = True) -> ImageState:
        """The image half of one photo. Without `resize` the photo goes in at its own size.

        The last photos are kept, at most `KEPT_PHOTOS` and `KEPT_BYTES` but always the latest, so the same photo with
        other words costs the word half only. With `keep` False this one is not, as suits a video's frames: none comes
        back, and they would push the others out.
        Raises `ImageError` for files that are no photo.
        """
        pixels = load_image(image)
        name = Path(image).name if isinstance(image, str | Path) else ""
        digest = hashlib.sha256(repr((pixels.shape, resize)).encode() + pixels.tobytes()).digest() if keep else b""
        with self._lock:
            if (known := self._kept.get(digest)) is not None:
                return replace(known, name=name)  # the same pixels may lie in two files
        started = time.perf_counter()
        given = resize_for_network(pixels, self.config.short_side, self.config.long_side) if resize else pixels
        tensor = torch.from_numpy(np.ascontiguousarray(given)).permute(2, 0, 1)[None]
        wide = torch.float64 if self.dtype == "float64" else torch.float32
        with torch.inference_mode(), self._precision():
            features = self.network.encode_image(self._on_device(tensor).to(wide))
        state = ImageState(pixels, features, name, time.perf_counter() - started)
        with self._lock:
            self.image_halves += 1
            if keep:
                self._kept.put(digest, state)
        return state

    def forget(self) -> None:
        """Drop the kept photos; the next call runs the image half again."""
        with self._lock:
            self._kept.clear()

    def _on_device(self, pixels: Tensor) -> Tensor:
        # Bytes travel, not floats; to a GPU from pinned memory, so that the copy does not hold up the CPU.
        pinned = self.device.type == "cuda"
        return (pixels.pin_memory() if pinned else pixels).to(self.device, non_blocking=pinned)

    def decode(
        self,
        state: ImageState,
        vocabulary: Vocabulary | str,
        *,
        intermediates: bool = False,
        every_layer: bool = False,
    ) -> Decoded:
        """The word half: logits of a vocabulary on an encoded photo.

        The last layer's only, which is all that a result needs, unless `every_layer` or `intermediates` is asked for.
        """
        vocabulary = Vocabulary.coerce(vocabulary)
        started = time.perf_counter()
        text = self.text_embeddings(vocabulary)
        encoded = time.perf_counter()
        with torch.inference_mode(), self._precision():
            logits = self.network.decode(
                state.features, text, intermediates=intermediates, final_only=not (intermediates or every_layer)
            )
        with self._lock:
            self.word_halves += 1
        return Decoded(state, vocabulary, logits, encoded - started, time.perf_counter() - encoded)

    def log_probabilities(
        self,
        decoded: Decoded,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        ensemble: Ensemble | None = None,
    ) -> Tensor:
        """Class log-probabilities of one photo's queries (Q, K+1), void last; None keeps the model's default."""
        seen = torch.from_numpy(self.seen(decoded.vocabulary)).to(self.device)
        config = self.config
        with torch.inference_mode():
            return class_log_probabilities(
                decoded.logits,
                seen,
                _share("alpha", alpha, config.alpha),
                _share("beta", beta, config.beta),
                ensemble or config.ensemble,
            )[0]

    def compose(
        self,
        decoded: Decoded,
        *,
        task: Task = "panoptic",
        alpha: float | None = None,
        beta: float | None = None,
        ensemble: Ensemble | None = None,
        score_threshold: float | None = None,
        overlap_threshold: float | None = None,
        void_threshold: float | None = None,
        composition: Composition | None = None,
        mask_threshold: float | None = None,
        pixel_threshold: float | None = None,
        edges: bool | None = None,
        calibration: Calibration = None,
    ) -> Result:
        """The third step: a result from logits, without running the network. None keeps the model's default.

        `void_threshold` (0..1): kernels whose probability of "none of these words" exceeds it are dropped.
        Panoptic results alone read the last five: `composition` chooses between the rules of
        eovseg/composition/panoptic.py, the two thresholds (0..1) belong to "best-first", with `edges` masks follow the
        photo's edges, and `calibration`, a slope above 0 and a bias, makes the segments' scores shares (`shown_score`);
        False leaves the scores as they are. Thresholds read the score before it.
        Raises `ConfigError` for values outside 0 to 1, unknown tasks or compositions, and what is no calibration.
        """
        if task not in get_args(Task):
            raise ConfigError(f"task={task!r} is not allowed; choose one of {', '.join(get_args(Task))}.")
        if composition is not None and composition not in get_args(Composition):
            allowed = ", ".join(get_args(Composition))
            raise ConfigError(f"composition={composition!r} is not allowed; choose one of {allowed}.")
        started = time.perf_counter()
        config = self.config
        void = config.void_threshold
        if void_threshold is not None:
            void = _share("void_threshold", void_threshold, 1.0)
        rule = PanopticRule(
            composition=composition or config.composition,
            score_threshold=_share("score_threshold", score_threshold, config.score_threshold),
            overlap_threshold=_share("overlap_threshold", overlap_threshold, config.overlap_threshold),
            void_threshold=void,
            mask_threshold=_share("mask_threshold", mask_threshold, config.mask_threshold),
            pixel_threshold=_share("pixel_threshold", pixel_threshold, config.pixel_threshold),
            edges=config.edges if edges is None else edges,
            calibration=_calibration(calibration, config.calibration),
        )
        scores = self.log_probabilities(decoded, alpha=alpha, beta=beta, ensemble=ensemble)
        state = decoded.state
        size = state.image.shape[0], state.image.shape[1]
        masks = self._masks.of(decoded.logits, state.features, size)
        composer = Composer(decoded.vocabulary, decoded.logits, masks, scores)
        if task == "panoptic":
            made = composer.panoptic(rule, state.image)
        elif task == "semantic":
            made = composer.semantic(void)
        else:
            made = composer.instances(rule.score_threshold)
        timings = {
            "image": state.seconds,
            "words": decoded.text_seconds,
            "decoder": decoded.seconds,
            "result": time.perf_counter() - started,
        }
        return Result(
            state.image,
            made.segment_map,
            made.segments,
            decoded.vocabulary,
            task,
            timings,
            made.masks,
            state.name,
            made.queries,
        )

    def raw(self, image: ImageSource, vocabulary: Vocabulary | str, resize: bool = False) -> RawOutput:
        """The network's numbers for one photo, before any threshold; by default the photo is not resized."""
        decoded = self.decode(self.encode_image(image, resize), vocabulary, every_layer=True)
        logits = decoded.logits
        return RawOutput(
            mask_logits=tuple(masks[0] for masks in logits.mask_logits),
            class_logits=tuple(scores[0] for scores in logits.class_logits),
            out_of_vocabulary_logits=logits.out_of_vocabulary_logits[0],
            class_log_probabilities=self.log_probabilities(decoded),
            valid_masks=logits.valid_masks[0],
        )

    @overload
    def __call__(
        self,
        photos: ImageSource,
        vocabulary: Vocabulary | str,
        *,
        background: Words = None,
        keep: bool = True,
        **settings: Any,
    ) -> Result: ...
    @overload
    def __call__(
        self,
        photos: Sequence[ImageSource],
        vocabulary: Vocabulary | str,
        *,
        background: Words = None,
        keep: bool = True,
        **settings: Any,
    ) -> list[Result]: ...
    def __call__(
        self,
        photos: ImageSource | Sequence[ImageSource],
        vocabulary: Vocabulary | str,
        *,
        background: Words = None,
        keep: bool = True,
        **settings: Any,
    ) -> Result | list[Result]:
        """Segment one photo (path, PIL image or array) or a list of photos.

        `settings` are those of `compose`: task, alpha, beta, ensemble, score_threshold, overlap_threshold,
        void_threshold, composition, mask_threshold, pixel_threshold, edges, calibration.
        `vocabulary` is a `Vocabulary`, a preset's name or words ("person, people: thing; sky").
        `background`: words that compete without being named; what they win is one segment "other".
        `keep`: as in `encode_image`.
        """
        words = Vocabulary.coerce(vocabulary)
        wide = words if background is None else with_background(words, background)

        def segment(photo: ImageSource) -> Result:
            result = self.compose(self.decode(self.encode_image(photo, keep=keep), wide), **settings)
            return result if background is None else merge_background(result, words)

        if isinstance(photos, Sequence) and not isinstance(photos, str):
            return [segment(photo) for photo in photos]
        return segment(photos)


def _share(name: str, value: Any, default: float) -> float:
    if value is None:
        return default
    if not isinstance(value, int | float | np.floating) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name}={value!r} is outside 0 to 1.")
    return float(value)


def _calibration(given: Calibration, default: tuple[float, float] | None) -> tuple[float, float] | None:
    if given is None or given is False:
        return default if given is None else None
    pair = tuple(given) if isinstance(given, Sequence) else given
    check_calibration(pair, "False for scores as they are")
    return pair[0], pair[1]
