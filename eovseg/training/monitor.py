"""Training monitor: scalars in TensorBoard, pictures of fixed photos, and evaluation results."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.embeddings import EmbeddingCache
from eovseg.evaluation.evaluate import evaluate
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.segmenting.photos import unique_stems
from eovseg.training.data_choice import MeasuredPhotos
from eovseg.vocabulary import Vocabulary

# Values of a log line that are not losses.
_RUN = ("lr", "seconds_per_step", "skipped", "gradient_norm")
_SHOWN_SIDE = 640


@dataclass(frozen=True)
class ShownPhoto:
    """A photo whose segmentation is drawn at intervals: a name for files and tags, and (H, W, 3) uint8 pixels."""

    name: str
    image: np.ndarray


class Monitor:
    """Writes a run's scalars as TensorBoard events and the segments of a few photos as PNG files, all below `output`.

    The event file is opened at the first value and replaces what an interrupted run wrote from this step on. If
    TensorBoard is not installed, prints a note and writes only the PNG files.
    """

    def __init__(
        self, output: Path, photos: Sequence[ShownPhoto], vocabulary: Vocabulary, predictors: "PredictorsInTraining"
    ) -> None:
        self.output = output
        self.photos = tuple(photos)
        self.vocabulary = vocabulary
        self._predictors = predictors
        self._writer: Any = None

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the values of one line of the run's log."""
        for name, value in values.items():
            if name == "evaluation":
                for measure, number in value.items():
                    self._add("add_scalar", f"evaluation/{measure}", number, step)
            elif name != "step":
                self._add("add_scalar", f"{'run' if name in _RUN else 'losses'}/{name}", value, step)

    def pictures(self, step: int, network: EOVSeg) -> None:
        """Segments the photos with the current network and writes `pictures/<name>-<step>.png`."""
        predictor = self._predictors.predictor(network)
        folder = self.output / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for photo in self.photos:
            overlay = predictor(photo.image, self.vocabulary).overlay()
            overlay.save(folder / f"{photo.name}-{step:07d}.png")
            self._add("add_image", f"pictures/{photo.name}", np.asarray(overlay), step, dataformats="HWC")

    def close(self) -> None:
        """Closes the event file; later values open a new one."""
        if self._writer:
            self._writer.close()
        self._writer = None

    def _add(self, method: str, tag: str, value: Any, step: int, **options: Any) -> None:
        if self._writer is None:
            self._writer = _open_writer(self.output / "tensorboard", step)
        if self._writer:
            getattr(self._writer, method)(tag, value, step, **options)


def _open_writer(folder: Path, step: int) -> Any:
    """A writer that discards earlier events from `step` on, or False without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("No TensorBoard files are written; run pip install tensorboard to get them.", file=sys.stderr)
        return False
    return SummaryWriter(folder, purge_step=step)


class PredictorsInTraining:
    """Predictors for a network in training; they share a word cache, because text encoders are frozen."""

    def __init__(self, training_words: Sequence[str]) -> None:
        self.training_words = tuple(training_words)
        self._words: EmbeddingCache | None = None

    def predictor(self, network: EOVSeg) -> Predictor:
        """A predictor with the current weights and an empty photo cache."""
        device = network.void_embedding.weight.device
        predictor = Predictor(network, self.training_words, device=device, text_weights="in training")
        self._words = predictor.words if self._words is None else self._words
        predictor.words = self._words
        return predictor


def validation(measured: MeasuredPhotos, predictors: PredictorsInTraining) -> Callable[[int, EOVSeg], dict[str, float]]:
    """The trainer's `evaluate`, with all metrics that the labels support.

    Undefined metrics, such as those of unseen classes if all are seen, are omitted.
    """

    def numbers(_step: int, network: EOVSeg) -> dict[str, float]:
        report = evaluate(
            predictors.predictor(network), measured.folder, measured.photos, measured.vocabulary, ignore_unmapped=True
        )
        return {name: round(value, 3) for name, value in report.summary().items() if math.isfinite(value)}

    return numbers


def shown_photos(name: str, folder: LabelledFolder, photos: Sequence[Photo], count: int = 2) -> list[ShownPhoto]:
    """Up to `count` photos, evenly spaced in `photos`, of at most 640 pixels; their names start with `name`."""
    chosen = [photos[len(photos) * place // count] for place in range(min(count, len(photos)))]
    stems = unique_stems([(photo.file_name, "") for photo in chosen])
    return [
        ShownPhoto(f"{name}-{stem}", _smaller(folder.load_image(photo)))
        for photo, stem in zip(chosen, stems, strict=True)
    ]


def _smaller(image: np.ndarray) -> np.ndarray:
    """A copy with a longer side of at most `_SHOWN_SIDE` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
    return np.array(picture)
