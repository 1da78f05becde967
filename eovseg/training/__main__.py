"""`python -m eovseg.training`, also `eovseg train`: train a variant (or an ablation), write checkpoints and a log."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from eovseg.data.data_sets import DATA_SET_NAMES
from eovseg.errors import any_encoding, exit_code
from eovseg.model.config import Fusion, Variant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a training run; what is not given keeps the variant's recipe."""
    parser.add_argument("--variant", choices=get_args(Variant), help="default: xs, or the variant of --config")
    parser.add_argument("--config", type=Path, help="a recipe in JSON, such as a run's recipe.json; options win")
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
        "--augmentation",
        choices=("none", "lsj", "full"),
        help="none; the paper's scale jitter; XS's, with colour and copy-paste",
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
    method.add_argument("--fusion", choices=get_args(Fusion), help="instead of the variant's (Table 4)")
    method.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="a setting of the network, its value as JSON"
    )
    method.add_argument("--pilots", type=int, help="mask-piloted queries, 0 = none")
    method.add_argument("--dense", type=float, help="weight of the dense loss on VAS's word similarity, 0 = none")
    method.add_argument("--pilot-weight", type=float, help="weight of the pilots' losses")
    method.add_argument("--selection", type=float, help="weight of the loss on word similarity after VAS, 0 = none")
    method.add_argument("--instance", type=float, help="weight of the loss that sets segments apart, 0 = none")
    course = parser.add_argument_group("the run")
    course.add_argument("--start", type=Path, help="fine-tune: official .pth, .safetensors, or a training checkpoint")
    course.add_argument(
        "--start-parts",
        nargs="+",
        metavar="NAME",
        help="take only these parts of --start (aggregator, vas, decoder, …), the rest begins anew",
    )
    even = "rescale F_agg at the start to mean 0 and deviation 1 a channel over so many batches"
    course.add_argument("--even-features", type=int, metavar="N", help=even)
    course.add_argument("--hold", nargs="+", metavar="NAME", help="parts that stay as they are: aggregator, vas, …")
    course.add_argument("--resume", action="store_true", help="continue the newest checkpoint in --output")
    course.add_argument("--minutes", type=float, help="stop after so much time; the schedule stays that of --steps")
    course.add_argument("--checkpoint-every", type=int, metavar="STEPS")
    course.add_argument("--threads", type=int, help="CPU threads")
    course.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    course.add_argument("--device", help="cpu, cuda, …; default: cuda where there is one")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train as the options say; raises `EovsegError` subclasses."""
    from eovseg.training.command import train

    train(options)


def main() -> int:
    """Entry of `python -m eovseg.training`; errors that a person can act on are printed as one sentence."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training", description=__doc__)
    add_arguments(parser)
    any_encoding()
    options = parser.parse_args()
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
