"""`python -m eovseg.training`: train a variant (or one of its ablations) and write checkpoints and a log."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from eovseg.data.batches import BatchSettings, TrainingBatches, batch_stream
from eovseg.data.sources import TrainingSource, xs_sources
from eovseg.errors import EovsegError
from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.network import EOVSeg
from eovseg.training import checkpointing
from eovseg.training.config import TrainConfig, xs_config
from eovseg.training.loop import Trainer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a training run; what is not given keeps the variant's recipe."""
    parser.add_argument("--variant", default="xs", choices=("xs", "s", "m", "l"))
    parser.add_argument("--data", type=Path, required=True, help="one panoptic folder, or the folder of XS's sources")
    parser.add_argument("--output", type=Path, required=True, help="folder of the log and the checkpoints")
    parser.add_argument("--steps", type=int, help="optimiser steps of the whole schedule")
    parser.add_argument("--batch", type=int, help="photos a step")
    parser.add_argument("--accumulate", type=int, help="batches summed up in one step")
    parser.add_argument("--crop", type=int, help="side of a training view in pixels")
    parser.add_argument("--lr", type=float, dest="learning_rate", help="peak learning rate")
    parser.add_argument("--warmup", type=int, help="steps of rising learning rate")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--checkpoint-every", type=int, help="steps between checkpoints")
    parser.add_argument("--vas", action=argparse.BooleanOptionalAction, help="with or without VAS (Table 4)")
    parser.add_argument("--fusion", choices=("none", "EAF", "SDI", "TDEE"), help="instead of the variant's (Table 4)")
    parser.add_argument("--pilots", type=int, help="mask-piloted queries, 0 = none")
    parser.add_argument("--dense", type=float, help="weight of the dense loss on VAS's word similarity, 0 = none")
    parser.add_argument("--resume", action="store_true", help="continue the newest checkpoint in --output")
    parser.add_argument("--start", type=Path, help="checkpoint whose (averaged) weights the run starts from")
    parser.add_argument("--minutes", type=float, help="stop after so much time; the schedule stays that of --steps")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    parser.add_argument("--device", help="cpu, cuda, …; default: cuda where there is one")


def configs(arguments: argparse.Namespace) -> tuple[ModelConfig, TrainConfig]:
    """Model and recipe that the options describe; raises `ConfigError` for values that are not allowed."""
    names = [
        "steps",
        "batch",
        "accumulate",
        "crop",
        "learning_rate",
        "warmup",
        "seed",
        "checkpoint_every",
        "vas",
        "fusion",
    ]
    changes = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    recipe = xs_config(**changes) if arguments.variant == "xs" else TrainConfig(variant=arguments.variant, **changes)
    loss = recipe.loss
    if arguments.pilots is not None:
        loss = replace(loss, pilots=arguments.pilots)
    if arguments.dense is not None:
        loss = replace(loss, dense_weight=arguments.dense)
    model = variant_config(arguments.variant)
    if recipe.vas is not None:
        model = model.with_changes(vas=recipe.vas)
    if recipe.fusion is not None:
        model = model.with_changes(fusion=recipe.fusion)
    return model, replace(recipe, loss=loss, data=(str(arguments.data),))


def train(arguments: argparse.Namespace) -> int:
    """Run the training that the options describe; returns the steps done. Raises `EovsegError` subclasses."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    model_config, recipe = configs(arguments)
    torch.manual_seed(recipe.seed)
    network = EOVSeg(model_config, pretrained=True)
    if arguments.start:
        network.load_trained_state_dict(checkpointing.averaged_weights(arguments.start))
    batches = TrainingBatches(
        sources(arguments.data), BatchSettings(batch_size=recipe.batch, crop_size=recipe.crop), seed=recipe.seed
    )
    trainer = Trainer(
        network, lambda steps: batch_stream(batches, steps, arguments.workers), recipe, arguments.output,
        device=arguments.device,
    )  # fmt: skip
    resumed = arguments.resume and trainer.resume()
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    print(
        f"{model_config.variant}: {count / 1e6:.2f} M trained parameters on {trainer.device}, photos "
        f"{batches.photo_counts()}, " + (f"resumed at step {trainer.step}" if resumed else "from step 0"),
        flush=True,
    )
    return trainer.run(arguments.minutes)


def sources(folder: Path) -> tuple[TrainingSource, ...]:
    """`folder` as one fully labelled source where it is a panoptic folder itself, else XS's sources below it."""
    if (folder / "panoptic.json").exists():
        return (TrainingSource(folder, "panoptic", 1.0),)
    return xs_sources(folder)


def main() -> int:
    """Entry of `python -m eovseg.training`; errors that a person can act on are printed as one sentence."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training", description=__doc__)
    add_arguments(parser)
    try:
        train(parser.parse_args())
    except EovsegError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
