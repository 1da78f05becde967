"""Interactive training on a small folder, for notebook 06."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path

from eovseg.data.augment import Augmentation
from eovseg.data.batches import BatchSettings, TrainingBatches, batch_stream
from eovseg.data.classes import TrainingClasses
from eovseg.data.sources import TrainingSource
from eovseg.predictor import Predictor
from eovseg.training.config import LossConfig, TrainConfig
from eovseg.training.loop import Trainer
from eovseg.vocabulary import Vocabulary


def small_trainer(
    predictor: Predictor,
    folder: Path,
    vocabulary: Vocabulary,
    output: Path,
    *,
    steps: int = 60,
    batch: int = 4,
    crop: int = 128,
) -> Trainer:
    """A trainer that starts from a copy of the predictor's network and learns the classes of a fully labelled folder.

    Log and checkpoints are written to `output`. Raises `DataError` for invalid folders and `ConfigError` for invalid
    settings.
    """
    batches = TrainingBatches(
        [TrainingSource(folder, "panoptic", 1.0)],
        BatchSettings(batch, crop, Augmentation(), keep_absent=(1.0, 1.0), keep_label=1.0),
        classes=TrainingClasses(vocabulary.classes),
    )
    config = TrainConfig(
        variant=predictor.config.variant,
        data=(folder.name,),
        steps=steps,
        batch=batch,
        crop=crop,
        learning_rate=2e-3,
        schedule="cosine",
        warmup=min(5, steps),
        warmup_factor=0.1,
        clip=1.0,
        precision="bfloat16",
        checkpoint_every=steps,
        keep=1,
        log_every=1,
        loss=LossConfig(points=768, dense_weight=2.0, pilots=8, repeats=(2, 1, 1)),
    )
    network = copy.deepcopy(predictor.network)
    return Trainer(
        network, lambda span: batch_stream(batches, span, workers=0), config, output, device=predictor.device
    )


def train_in_parts(trainer: Trainer, seconds: float = 10.0) -> Iterator[list[dict[str, float]]]:
    """Runs a trainer to its end and yields all log records so far every `seconds`, for a live curve."""
    while trainer.step < trainer.config.steps:
        before = trainer.step
        trainer.run(minutes=seconds / 60)
        yield read_log(trainer.output)
        if trainer.step == before:  # interrupted
            return


def read_log(output: Path) -> list[dict[str, float]]:
    """The records of `log.jsonl`, oldest first."""
    return [json.loads(line) for line in (output / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def trained_predictor(trainer: Trainer, before: Predictor, vocabulary: Vocabulary) -> Predictor:
    """A predictor with the trained network; the vocabulary's words now count as seen.

    The text encoder is frozen, so the word embeddings of `before` are reused; its cached photos are not.
    """
    after = Predictor(
        trainer.network.eval(),
        vocabulary.words,
        device=trainer.device,
        dtype=before.dtype,
        text_weights="small-training",
    )
    after.words = before.words
    return after
