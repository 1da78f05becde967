"""From a photo and words to segments, in three steps with reusable outputs.

The steps are `encode_image` (photo), `decode` (words) and `compose` (alpha, beta, ensemble, thresholds).
`Segmenter.__call__` runs all three and caches the last encoded photos.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from eovseg.advice.thresholds import FALSE_ALARMS, AdviceThresholds, verdicts, words_of_kernels
from eovseg.background import merge_background, with_background
from eovseg.choices import Dtype, Task
from eovseg.composer import Composed, Composer
from eovseg.embeddings import EmbeddingCache
from eovseg.fast import FastEOVSeg, optimise
from eovseg.images import ImageSource, load_image, resize_for_network
from eovseg.model.classifier import class_log_probabilities, class_maximum
from eovseg.model.config import Composition, Ensemble, ModelConfig
from eovseg.model.network import EOVSeg
from eovseg.model.values import TextEmbeddings
from eovseg.photo_cache import PhotoCache
from eovseg.result import Result
from eovseg.segmented import Segment, Verdict
from eovseg.settings import Calibration, Settings, SettingsArguments
from eovseg.stages import Decoded, ImageState, RawOutput
from eovseg.typed_settings import suggest_misspelt_names
from eovseg.vocabulary import Vocabulary, Words

CACHED_PHOTOS = 4
CACHED_BYTES = (
    640 * 2**20
)  # pixels and features: enough for four photos with XS (36 MB and the pixels), or two with S (292 MB), M or L


class Segmenter:
    """Runs an EOV-Seg network on photos and words; thread-safe.

    `network` is from `eovseg.fast.optimise`, or a reference network, which is then optimised except for its encoder.
    `image_halves` and `word_halves` count how often the image half and the word half ran.
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
        weights: str = "",
        advice_thresholds: AdviceThresholds | None = None,
    ) -> None:
        self.network = (network if isinstance(network, FastEOVSeg) else optimise(network)).eval()
        self.config: ModelConfig = network.config
        self.training_words = tuple(training_words)
        self.device = device
        self.dtype = dtype
        self.advice_thresholds = advice_thresholds
        self.weights = weights  # SHA-256 of the weight file, "" for none
        self.image_halves = 0
        self.word_halves = 0
        self.words = EmbeddingCache(
            f"{_text_key(self.config, text_weights)}-{dtype}",
            self.config.embed_dim,
            self._encode_words,
            cache_directory,
        )
        self._kept: PhotoCache[ImageState] = PhotoCache(CACHED_PHOTOS, CACHED_BYTES)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(EOV-Seg {self.config.variant.upper()}, {self.device}, {self.dtype})"

    def _encode_words(self, words: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return self.network.encode_words(words).cpu().numpy()

    def _precision(self) -> AbstractContextManager[Any]:
        # bfloat16 only for matrix products and convolutions; weights, norms, softmax and sums stay in float32.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bfloat16")

    def text_embeddings(self, vocabulary: Words) -> TextEmbeddings:
        """Word rows of a vocabulary on the predictor's device; words seen before are not encoded again.

        Raises `VocabularyError` for a word by example of another text space.
        """
        vocabulary = Vocabulary.coerce(vocabulary)
        embedded = self.words.embed(vocabulary.words)
        for place, word in vocabulary.examples.items():
            embedded[place] = word.row(embedded[place], self.config.variant)
        rows = torch.from_numpy(embedded).to(self.device)
        return TextEmbeddings(rows, torch.from_numpy(np.array(vocabulary.class_of_word)).to(self.device))

    def seen(self, vocabulary: Words) -> np.ndarray:
        """(K,) bool: the class shares a word with the training vocabulary of these weights."""
        return Vocabulary.coerce(vocabulary).seen(self.training_words)

    def encode_image(self, image: ImageSource, resize: bool = True, keep: bool = True) -> ImageState:
        """Encodes one photo. Without `resize`, the photo keeps its size.

        The last photos are cached, at most `CACHED_PHOTOS` and `CACHED_BYTES` but always the latest, so trying other
        words on the same photo only runs the decoder. `keep=False` bypasses the cache, e.g. for video frames, which do
        not repeat and would evict all photos.
        Raises `ImageError` for files that are not photos.
        """
        pixels = load_image(image)
        name = Path(image).name if isinstance(image, str | Path) else ""
        digest = hashlib.sha256(repr((pixels.shape, resize)).encode() + pixels.tobytes()).digest() if keep else b""
        with self._lock:
            if (known := self._kept.get(digest)) is not None:
                return replace(known, name=name)  # two files may contain the same pixels
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

    def clear_cache(self) -> None:
        """Clears the photo cache."""
        with self._lock:
            self._kept.clear()

    def _on_device(self, pixels: Tensor) -> Tensor:
        # Transfer bytes, not floats; to a GPU from pinned memory, so that the copy does not block the CPU.
        pinned = self.device.type == "cuda"
        return (pixels.pin_memory() if pinned else pixels).to(self.device, non_blocking=pinned)

    def decode(
        self,
        state: ImageState,
        vocabulary: Words,
        *,
        intermediates: bool = False,
        every_layer: bool = False,
    ) -> Decoded:
        """Decodes an encoded photo: logits for a vocabulary.

        Returns only the last layer's logits, enough for a result, unless `every_layer` or `intermediates` is set.
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
        """Class log-probabilities of one photo's queries (Q, K+1), void last; None uses the model's default."""
        return self._scores(decoded, Settings(alpha=alpha, beta=beta, ensemble=ensemble).applied(self.config))

    @torch.inference_mode()
    def _scores(self, decoded: Decoded, rule: ModelConfig) -> Tensor:
        seen = torch.from_numpy(self.seen(decoded.vocabulary)).to(self.device)
        return class_log_probabilities(decoded.logits, seen, rule.alpha, rule.beta, rule.ensemble)[0]

    @suggest_misspelt_names
    def compose(
        self,
        decoded: Decoded,
        *,
        task: Task | None = None,
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
        settings: Settings | None = None,
    ) -> Result:
        """The third step: a result from logits, without running the network.

        The arguments are the fields of `Settings` and override those of `settings`; unset fields default to the
        model's own. Raises `ConfigError` for invalid values.
        """
        started = time.perf_counter()
        chosen = Settings.chosen(
            settings, task=task, alpha=alpha, beta=beta, ensemble=ensemble, score_threshold=score_threshold,
            overlap_threshold=overlap_threshold, void_threshold=void_threshold, composition=composition,
            mask_threshold=mask_threshold, pixel_threshold=pixel_threshold, edges=edges, calibration=calibration,
        )  # fmt: skip
        state, rule = decoded.state, chosen.applied(self.config)
        composer = Composer(decoded.vocabulary, decoded.logits, decoded.masks, self._scores(decoded, rule))
        if chosen.task == "panoptic":
            made = composer.panoptic(rule, state.image)
        elif chosen.task == "semantic":
            made = composer.semantic(rule, self._word_map(decoded) if rule.semantic_word_weight else None)
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
            self._with_words(made, decoded, rule, chosen.task, composer.scores),
            decoded.vocabulary,
            chosen.task,
            timings,
            made.masks,
            state.name,
            made.queries,
            verdicts=self.verdicts(decoded),
        )

    @torch.inference_mode()
    def _word_map(self, decoded: Decoded) -> Tensor | None:
        """Log-probabilities (K, h, w) of the classes at every cell: VAS's softmax over words, mean over its heads."""
        vas, features = self.network.vas, decoded.state.features
        if vas is None:
            return None
        words = self.text_embeddings(decoded.vocabulary)
        text, _ = self.network.text_rows(words)
        embedding = vas.embed(features.aggregated.to(text.dtype))
        shares = vas.similarity(embedding, text).softmax(2)[0, :, :-1].mean(0)  # (N, hw)
        classes = class_maximum(shares.T, words.class_index, words.classes).T  # (K, hw)
        return classes.clamp(min=1e-6).log().unflatten(1, embedding.shape[-2:])

    def _with_words(
        self, made: Composed, decoded: Decoded, rule: ModelConfig, task: Task, scores: Tensor
    ) -> tuple[Segment, ...]:
        """The segments with the words that include the right one in 90 % of cases, if the settings are the model's."""
        unchanged = replace(rule, edges=self.config.edges, calibration=self.config.calibration) == self.config
        if task != "panoptic" or not unchanged:
            return made.segments
        labels, seen = decoded.vocabulary.labels, self.seen(decoded.vocabulary)
        words = words_of_kernels(self.advice_thresholds, decoded.logits, scores, labels, seen)
        return tuple(
            replace(segment, words=words.get(query, ()))
            for segment, query in zip(made.segments, made.queries, strict=True)
        )

    def verdicts(self, decoded: Decoded, false_alarms: float = FALSE_ALARMS) -> tuple[Verdict, ...]:
        """Which words are in a decoded photo, at a given rate of false alarms; see `eovseg.advice.thresholds`.

        Raises `ConfigError` for a rate that was not measured.
        """
        vocabulary = decoded.vocabulary
        return verdicts(
            self.advice_thresholds,
            decoded.logits,
            vocabulary.labels,
            self.seen(vocabulary),
            self.config.alpha,
            false_alarms,
        )

    def raw(self, image: ImageSource, vocabulary: Words, resize: bool = False) -> RawOutput:
        """The raw network output for one photo, before any threshold; by default the photo is not resized."""
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
    def __call__(  # type: ignore[overload-overlap]  # a str is a sequence of str
        self,
        photos: ImageSource,
        vocabulary: Words,
        *,
        background: Words | None = None,
        keep: bool = True,
        **settings: Unpack[SettingsArguments],
    ) -> Result: ...
    @overload
    def __call__(
        self,
        photos: Sequence[ImageSource],
        vocabulary: Words,
        *,
        background: Words | None = None,
        keep: bool = True,
        **settings: Unpack[SettingsArguments],
    ) -> list[Result]: ...
    @suggest_misspelt_names
    def __call__(
        self,
        photos: ImageSource | Sequence[ImageSource],
        vocabulary: Words,
        *,
        background: Words | None = None,
        keep: bool = True,
        task: Task | None = None,
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
        settings: Settings | None = None,
    ) -> Result | list[Result]:
        """Segments one photo (path, PIL image or array) or a list of photos.

        `task`, `alpha`, ... are the fields of `Settings` and override those of `settings`; unset fields default to the
        model's own.
        `vocabulary` is a `Vocabulary`, a preset's name, words ("person, people: thing; sky"), a `Word` by example, or a
        list of these. Typed words get synonyms (see `Vocabulary.coerce`).
        `background`: words that compete without being named; what they win is one segment "other".
        `keep`: as in `encode_image`.
        """
        chosen = Settings.chosen(
            settings, task=task, alpha=alpha, beta=beta, ensemble=ensemble, score_threshold=score_threshold,
            overlap_threshold=overlap_threshold, void_threshold=void_threshold, composition=composition,
            mask_threshold=mask_threshold, pixel_threshold=pixel_threshold, edges=edges, calibration=calibration,
        )  # fmt: skip
        words = Vocabulary.coerce(vocabulary, apart_from=background)
        wide = words if background is None else with_background(words, background)

        def segment(photo: ImageSource) -> Result:
            result = self.compose(self.decode(self.encode_image(photo, keep=keep), wide), settings=chosen)
            return result if background is None else merge_background(result, words)

        if isinstance(photos, Sequence) and not isinstance(photos, str):
            return [segment(photo) for photo in photos]
        return segment(photos)


def _text_key(config: ModelConfig, weights: str) -> str:
    """Cache key of word embeddings: they depend on the text encoder, its weights and the prompts."""
    text = "\n".join((config.backbone, weights, str(config.quick_gelu), *config.prompts))
    return f"{config.backbone}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
