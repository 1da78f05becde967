"""`eovseg train`: builds the recipe from the options and runs the training."""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from eovseg import distributed
from eovseg.atomic_files import write_atomically
from eovseg.data.augment import Augmentation
from eovseg.data.batches import TrainingBatches, batch_stream
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.categories import SHOWN_CATEGORIES, classes_of_folder
from eovseg.loading import chosen_device
from eovseg.model.network import EOVSeg
from eovseg.training import checkpointing
from eovseg.training.config import TrainConfig, differences, recipe, setting
from eovseg.training.data_choice import ChosenData, choose_data
from eovseg.training.loop import Trainer
from eovseg.training.monitor import Monitor, PredictorsInTraining, ShownPhoto, shown_photos, validation
from eovseg.training.starting import even_features, starting_network
from eovseg.vocabulary import Vocabulary

RECIPE_FILE = "recipe.json"
AUGMENTATIONS = {"none": Augmentation.unchanged, "lsj": Augmentation.released, "full": Augmentation}
# Options that override the recipe's setting of the same name.
_PLAIN = (
    "even_features", "hold", "dataset", "split", "vocabulary", "vas", "fusion", "short_side", "steps", "batch",
    "accumulate", "crop", "seed", "learning_rate", "schedule", "decay", "warmup", "clip", "ema", "precision",
    "evaluate_every", "pictures_every", "checkpoint_every",
)  # fmt: skip


def settings(arguments: argparse.Namespace) -> TrainConfig:
    """The recipe given by the options and, if a run is resumed, its own; raises `ConfigError` for invalid values."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    variant, config = given.get("variant"), given.get("config")
    resumed = given.get("resume") and config is None and checkpointing.checkpoints(arguments.output)
    before = _recipe_of_run(arguments.output) if resumed else None
    chosen = before if before and variant in (None, before.variant) else _recipe(variant, config)
    changes: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
    added = given.get("set", ())
    changes["model"] = (*(one for one in chosen.model if one not in added), *added)
    loss, views = chosen.loss, chosen.views
    aids = {
        "pilots": "pilots", "pilot_weight": "pilot_weight", "dense": "dense_weight", "instance": "instance_weight",
    }  # fmt: skip
    loss = replace(loss, **{field: given[option] for option, field in aids.items() if option in given})
    if "augmentation" in given:
        views = replace(views, augmentation=AUGMENTATIONS[given["augmentation"]]())
    if "copy_paste" in given:
        views = replace(views, augmentation=replace(views.augmentation, paste_probability=given["copy_paste"]))
    data = tuple(str(folder) for folder in (arguments.data, arguments.also) if folder)
    return replace(chosen, **changes, loss=loss, views=views, data=data)


def _recipe(variant: str | None, config: Path | None) -> TrainConfig:
    if config is None:
        return recipe(variant or "xs")
    try:
        chosen = TrainConfig.from_json(config.read_text(encoding="utf-8-sig"), variant or "xs")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {config} cannot be read ({error}).") from error
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from error
    if variant not in (None, chosen.variant):
        raise ConfigError(f"The recipe {config} is for variant {chosen.variant!r}, not {variant!r}; omit --variant.")
    return chosen


def _recipe_of_run(output: Path) -> TrainConfig | None:
    """The recipe in the folder of a run, or None if it is missing or damaged; checkpoints do not need it."""
    try:
        return TrainConfig.from_json((output / RECIPE_FILE).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, ConfigError):
        return None


def train(arguments: argparse.Namespace) -> None:
    """Runs a training with the given options.

    Raises subclasses of `EovsegError`, and `KeyboardInterrupt` if a signal stopped the run, after its last checkpoint.
    """
    for name, least in (("threads", 1), ("workers", 0)):
        if (value := getattr(arguments, name)) is not None and value < least:
            raise ConfigError(f"--{name} is {value}; give an integer of at least {least}.")
    distributed.start(arguments.device)
    device = chosen_device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    chosen = settings(arguments)
    if chosen.batch % distributed.count():
        raise ConfigError(f"The batch size {chosen.batch} is not divisible by {distributed.count()} processes.")
    if (note := distributed.run_on_main(lambda: check_output(arguments, chosen))) and distributed.is_main():
        print(note, flush=True)
    hold_out = arguments.validate is True  # --validate without a folder
    validate = None if hold_out else arguments.validate
    data = choose_data(
        arguments.data, chosen.dataset, chosen.split, chosen.vocabulary, validate, hold_out, arguments.also,
        arguments.also_share,
    )  # fmt: skip
    batches = _batches(data, chosen)
    check_targets(batches)
    if chosen.vocabulary and (note := check_vocabulary(batches)) and distributed.is_main():
        print(f"eovseg: {note}", file=sys.stderr)
    if data.validation:
        classes_of_folder(data.validation.folder, data.validation.vocabulary, ignore_unmapped=True)
    vocabulary = Vocabulary(tuple(batches.classes.classes))
    predictors = PredictorsInTraining(vocabulary.words)
    chosen = replace(chosen, words=vocabulary.words)
    torch.manual_seed(chosen.seed)
    changes = {name: getattr(chosen, name) for name in ("vas", "fusion", "short_side")}
    changes = dict(map(setting, chosen.model)) | {name: value for name, value in changes.items() if value is not None}
    network = starting_network(chosen.variant, arguments.start, changes, arguments.start_parts)
    if chosen.even_features and not arguments.resume:
        even_features(network, (batches[step].pixels for step in range(chosen.even_features)))
    network.freeze(chosen.hold)
    trainer = Trainer(
        network,
        lambda steps: batch_stream(batches, steps, arguments.workers),
        chosen,
        arguments.output,
        evaluate=validation(data.validation, predictors) if data.validation else None,
        device=device,
        monitor=Monitor(arguments.output, _photos(batches, data), vocabulary, predictors),
    )
    resumed = arguments.resume and trainer.resume()
    if resumed and trainer.step >= chosen.steps:
        if distributed.is_main():
            print(f"This run is finished; a larger --steps would extend it. {_ending(arguments.output, chosen)}")
        return
    if distributed.is_main():
        write_atomically(arguments.output / RECIPE_FILE, replace(chosen, words=()).to_json() + "\n")
        print(_summary(network, batches, trainer, resumed), flush=True)
    trainer.run(arguments.minutes)
    if trainer.stopped:
        raise KeyboardInterrupt
    if distributed.is_main() and trainer.step:
        print(_ending(arguments.output, chosen))


def check_output(arguments: argparse.Namespace, chosen: TrainConfig) -> str:
    """A sentence for the user about the run to resume, or "".

    Raises `ConfigError` for the folder of another variant, and for one with checkpoints without --resume.
    """
    output, found = arguments.output, checkpointing.checkpoints(arguments.output)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file; give a folder, which need not exist yet.")
    if found and not arguments.resume:
        raise ConfigError(
            f"{output} already has checkpoints up to step {checkpointing.step_of(found[-1])}. Add --resume to "
            "continue, or choose another --output."
        )
    if not found:
        weights = f"{', '.join(arguments.start_parts or ['the weights'])} from {arguments.start}"
        weights = weights if arguments.start else "untrained weights (only the encoders are pretrained)"
        first = f"{output} has no checkpoint yet, so the run starts from step 0 with {weights}."
        return first if arguments.resume else ""
    before = _recipe_of_run(output)
    if before is None:
        return ""
    if before.variant != chosen.variant:
        raise ConfigError(
            f"{output} has a run of variant {before.variant!r}, not {chosen.variant!r}. Choose another --output, or "
            f"resume with --variant {before.variant}."
        )
    changes = differences(*(json.loads(one.to_json()) for one in (before, replace(chosen, words=()))))
    return f"These settings differ from {output / RECIPE_FILE}: {changes}." if changes else ""


def _ending(output: Path, chosen: TrainConfig) -> str:
    """Names the last checkpoint of a run and the command that converts it to a weight file."""
    last = checkpointing.checkpoints(output)[-1]
    command = shlex.join(["eovseg", "export", str(output), f"{output.resolve().name}.safetensors"])
    return (
        f"The last checkpoint is {last} (step {checkpointing.step_of(last)} of {chosen.steps}). Make a weight file of "
        f"it with: {command}"
    )


def _batches(data: ChosenData, chosen: TrainConfig) -> TrainingBatches:
    """This process's share of the batches."""
    rank, count = distributed.rank(), distributed.count()
    views = replace(chosen.views, batch_size=chosen.batch // count)
    return TrainingBatches(data.sources, views, chosen.seed, classes=data.classes, process=rank, processes=count)


def check_targets(batches: TrainingBatches) -> None:
    """Raises `DataError` for a source with class regions of things only, which has no objects to learn from."""
    for source in batches.sources:
        if source.folder.semantic_only and all(c.is_thing for c in source.folder.categories.values()):
            raise DataError(
                f"{source.folder.name} labels regions, not objects, but all its classes are things, so there are no "
                "masks to learn. Mark classes with `: stuff`, or label objects (panoptic folder)."
            )


def check_vocabulary(batches: TrainingBatches) -> str:
    """A sentence with the words of the base vocabulary that are not classes of the data, or "".

    Raises `DataError` if no word is.
    """
    used = {index for source in batches.sources for index in source.class_of_category.values()}
    base = batches.classes.classes[: batches.classes.base_size]
    missing = [word_class.label for index, word_class in enumerate(base) if index not in used]
    if not missing:
        return ""
    names = ", ".join(missing[:SHOWN_CATEGORIES]) + (", …" if missing[SHOWN_CATEGORIES:] else "")
    note = (
        f"{len(missing)} of {len(base)} classes of the vocabulary are not in the data, at least not as the same kind "
        f"(thing or stuff): {names}"
    )
    if len(missing) < len(base):
        return f"{note}; they are trained only as absent words."
    own = [category.name for source in batches.sources for category in source.folder.categories.values()]
    own = list(dict.fromkeys(own))
    listed = ", ".join(own[:SHOWN_CATEGORIES]) + (", …" if own[SHOWN_CATEGORIES:] else "")
    raise DataError(f"{note}. Use words of the data, which has {listed}, or omit --vocabulary.")


def _photos(batches: TrainingBatches, data: ChosenData) -> list[ShownPhoto]:
    """The photos shown during training: two of the first source and, if there are any, two validation photos."""
    photos = shown_photos("training", batches.sources[0].folder, batches.sources[0].photos)
    if data.validation:
        photos += shown_photos("validation", data.validation.folder, data.validation.photos)
    return photos


def _summary(network: EOVSeg, batches: TrainingBatches, trainer: Trainer, resumed: bool) -> str:
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    photos = ", ".join(f"{count} of {name}" for name, count in batches.photo_counts().items())
    return (
        f"{network.config.variant}: {count / 1e6:.2f} M trained parameters on {trainer.device}, photos: {photos}, "
        + (f"resumed at step {trainer.step}" if resumed else "from step 0")
        + f"; log: {trainer.output / 'log.jsonl'}"
    )
