"""`python -m eovseg.training`, also `eovseg train`: train a variant (or an ablation), write checkpoints and a log."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from eovseg import distributed
from eovseg.data.augment import Augmentation
from eovseg.data.batches import TrainingBatches, batch_stream
from eovseg.data.data_sets import DATA_SET_NAMES
from eovseg.errors import ConfigError, DataError, any_encoding, exit_code
from eovseg.model.network import EOVSeg
from eovseg.training.config import TrainConfig, recipe, setting
from eovseg.training.data_choice import ChosenData, choose_data
from eovseg.training.loop import Trainer
from eovseg.training.monitor import Monitor, PresentWeights, ShownPhoto, shown_photos, validation
from eovseg.training.starting import even_features, starting_network
from eovseg.vocabulary import Vocabulary
from eovseg.whole_files import write_whole

AUGMENTATIONS = {"none": Augmentation.unchanged, "lsj": Augmentation.released, "full": Augmentation}
RECIPE_FILE = "recipe.json"
# Options that replace a setting of the recipe of the same name.
_PLAIN = (
    "even_features", "hold", "dataset", "split", "vocabulary", "vas", "fusion", "short_side", "steps", "batch",
    "accumulate", "crop", "seed", "learning_rate", "schedule", "decay", "warmup", "clip", "ema", "evaluate_every",
    "pictures_every", "checkpoint_every",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a training run; what is not given keeps the variant's recipe."""
    parser.add_argument("--variant", choices=("xs", "s", "m", "l"), help="default: xs, or the variant of --config")
    parser.add_argument("--config", type=Path, help=f"a recipe in JSON, such as a run's {RECIPE_FILE}; options win")
    parser.add_argument("--output", type=Path, required=True, help="folder of the log, pictures and checkpoints")
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="the data set's folder, or the folder of XS's sources")
    data.add_argument("--dataset", choices=DATA_SET_NAMES, help="default: found out, for an own folder")
    data.add_argument("--also", type=Path, metavar="FOLDER", help="a further COCO-panoptic folder (pseudo_labels)")
    data.add_argument("--also-share", type=float, default=0.25, help="that folder's part of a batch; default: 0.25")
    data.add_argument("--split", help="default: train, or all of an own folder")
    data.add_argument("--vocabulary", help="preset, file or words of the training classes; default: the data's own")
    data.add_argument(
        "--validate",
        type=Path,
        nargs="?",
        const=True,
        metavar="FOLDER",
        help="evaluate during training: on FOLDER, of the same kind; without FOLDER on the data's val split, else on a "
        "fifth of the photos (evaluate --split validation), which training then leaves out",
    )
    data.add_argument("--evaluate-every", type=int, metavar="STEPS")
    data.add_argument("--pictures-every", type=int, metavar="STEPS", help="steps between pictures of the same photos")
    views = parser.add_argument_group("views of a photo")
    views.add_argument("--crop", type=int, help="side of a training view in pixels")
    views.add_argument("--short-side", type=int, help="shorter side of a photo at inference; goes into the weight file")
    views.add_argument(
        "--augmentation", choices=AUGMENTATIONS, help="none; the paper's scale jitter; XS's, with colour and copy-paste"
    )
    views.add_argument("--copy-paste", type=float, metavar="P", help="probability of pasted instances, 0 = none")
    steps = parser.add_argument_group("optimisation")
    steps.add_argument("--steps", type=int, help="optimiser steps of the whole schedule")
    steps.add_argument("--batch", type=int, help="photos a batch, of all processes together")
    steps.add_argument("--accumulate", type=int, help="batches summed up in one step")
    steps.add_argument("--lr", type=float, dest="learning_rate", help="peak learning rate")
    steps.add_argument("--schedule", choices=("step", "cosine", "constant"))
    steps.add_argument("--decay", type=int, help="last steps of a constant schedule, in which the rate falls")
    steps.add_argument("--warmup", type=int, help="steps of rising learning rate")
    steps.add_argument("--clip", type=float, help="largest gradient norm")
    steps.add_argument("--ema", type=float, metavar="DECAY", help="moving average of the weights, 0 = none")
    steps.add_argument("--precision", choices=("float32", "bf16", "fp16"), help="bf16 where faster, fp16 on CUDA only")
    steps.add_argument("--seed", type=int)
    method = parser.add_argument_group("ablations and training aids")
    method.add_argument("--vas", action=argparse.BooleanOptionalAction, help="with or without VAS (Table 4)")
    method.add_argument("--fusion", choices=("none", "EAF", "SDI", "TDEE"), help="instead of the variant's (Table 4)")
    method.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="a setting of the network, its value as JSON"
    )
    method.add_argument("--pilots", type=int, help="mask-piloted queries, 0 = none")
    method.add_argument("--dense", type=float, help="weight of the dense loss on VAS's word similarity, 0 = none")
    method.add_argument("--pilot-weight", type=float, help="weight of the pilots' losses")
    method.add_argument("--instance", type=float, help="weight of the loss that sets segments apart, 0 = none")
    run = parser.add_argument_group("the run")
    run.add_argument("--start", type=Path, help="fine-tune: official .pth, .safetensors, or a training checkpoint")
    run.add_argument(
        "--start-parts",
        nargs="+",
        metavar="NAME",
        help="take only these parts of --start (aggregator, vas, decoder, …), the rest begins anew",
    )
    even = "rescale F_agg at the start to mean 0 and deviation 1 a channel over so many batches"
    run.add_argument("--even-features", type=int, metavar="N", help=even)
    run.add_argument("--hold", nargs="+", metavar="NAME", help="parts that stay as they are: aggregator, vas, …")
    run.add_argument("--resume", action="store_true", help="continue the newest checkpoint in --output")
    run.add_argument("--minutes", type=float, help="stop after so much time; the schedule stays that of --steps")
    run.add_argument("--checkpoint-every", type=int, metavar="STEPS")
    run.add_argument("--threads", type=int, help="CPU threads")
    run.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    run.add_argument("--device", help="cpu, cuda, …; default: cuda where there is one")


def settings(arguments: argparse.Namespace) -> TrainConfig:
    """The recipe that the options describe; raises `ConfigError` for values that are not allowed."""
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    chosen = _recipe(given.get("variant"), given.get("config"))
    changes: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
    changes["model"] = (*chosen.model, *given.get("set", ()))
    loss, views = chosen.loss, chosen.views
    aids = {
        "pilots": "pilots", "pilot_weight": "pilot_weight", "dense": "dense_weight", "instance": "instance_weight",
    }  # fmt: skip
    loss = replace(loss, **{field: given[option] for option, field in aids.items() if option in given})
    if "augmentation" in given:
        views = replace(views, augmentation=AUGMENTATIONS[given["augmentation"]]())
    if "copy_paste" in given:
        views = replace(views, augmentation=replace(views.augmentation, paste_probability=given["copy_paste"]))
    if "precision" in given:
        changes |= {name: given["precision"] == name for name in ("bf16", "fp16")}
    data = tuple(str(folder) for folder in (arguments.data, arguments.also) if folder)
    return replace(chosen, **changes, loss=loss, views=views, data=data)


def _recipe(variant: str | None, config: Path | None) -> TrainConfig:
    if config is None:
        return recipe(variant or "xs")
    try:
        chosen = TrainConfig.from_json(config.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The recipe {config} cannot be read ({error}).") from error
    if variant not in (None, chosen.variant):
        raise ConfigError(f"The recipe {config} is for variant {chosen.variant!r}, not {variant!r}; give only one.")
    return chosen


def train(arguments: argparse.Namespace) -> int:
    """Run the training that the options describe; returns the steps done. Raises `EovsegError` subclasses."""
    distributed.start(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    chosen = settings(arguments)
    if chosen.batch % distributed.count():
        raise ConfigError(f"A batch of {chosen.batch} photos cannot be parted among {distributed.count()} processes.")
    hold_out = arguments.validate is True  # the option without a folder
    validate = None if hold_out else arguments.validate
    data = choose_data(
        arguments.data, chosen.dataset, chosen.split, chosen.vocabulary, validate, hold_out, arguments.also,
        arguments.also_share,
    )  # fmt: skip
    batches = _batches(data, chosen)
    check_targets(batches)
    vocabulary = Vocabulary(tuple(batches.classes.classes))
    present = PresentWeights(vocabulary.words)
    chosen = replace(chosen, words=vocabulary.words)
    torch.manual_seed(chosen.seed)
    changes = {name: getattr(chosen, name) for name in ("vas", "fusion", "short_side")}
    changes = dict(map(setting, chosen.model)) | {name: value for name, value in changes.items() if value is not None}
    network = starting_network(chosen.variant, arguments.start, changes, arguments.start_parts)
    if chosen.even_features and not arguments.resume:
        even_features(network, (batches[step].pixels for step in range(chosen.even_features)))
    network.hold(chosen.hold)
    trainer = Trainer(
        network,
        lambda steps: batch_stream(batches, steps, arguments.workers),
        chosen,
        arguments.output,
        evaluate=validation(data.validation, present) if data.validation else None,
        device=arguments.device,
        monitor=Monitor(arguments.output, _photos(batches, data), vocabulary, present),
    )
    resumed = arguments.resume and trainer.resume()
    if distributed.is_main():
        write_whole(arguments.output / RECIPE_FILE, replace(chosen, words=()).to_json() + "\n")
        print(_summary(network, batches, trainer, resumed), flush=True)
    return trainer.run(arguments.minutes)


def _batches(data: ChosenData, chosen: TrainConfig) -> TrainingBatches:
    """This process's part of the run's batches."""
    rank, count = distributed.rank(), distributed.count()
    views = replace(chosen.views, batch_size=chosen.batch // count)
    return TrainingBatches(data.sources, views, chosen.seed, classes=data.classes, process=rank, processes=count)


def check_targets(batches: TrainingBatches) -> None:
    """Raise `DataError` for a source that labels areas of things only, which holds no object to learn from."""
    for source in batches.sources:
        if source.folder.semantic_only and all(c.is_thing for c in source.folder.categories.values()):
            raise DataError(
                f"{source.folder.name} labels areas, not objects, and all its classes are things, so there is no mask "
                "to learn; write `: stuff` behind the classes, or label the objects (a panoptic folder)."
            )


def _photos(batches: TrainingBatches, data: ChosenData) -> list[ShownPhoto]:
    """The photos that are drawn during training: two of the first source and two of validation, where there is some."""
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
    )


def main() -> int:
    """Entry of `python -m eovseg.training`; errors that a person can act on are printed as one sentence."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training", description=__doc__)
    add_arguments(parser)
    any_encoding()
    options = parser.parse_args()
    return exit_code(lambda: train(options))


if __name__ == "__main__":
    sys.exit(main())
