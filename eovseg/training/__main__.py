"""`python -m eovseg.training` or `eovseg train`: train a variant or an ablation, writing checkpoints and a log."""

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

from eovseg.choices import OLD_PRECISIONS, Precision
from eovseg.data.data_sets import DATA_SET_NAMES
from eovseg.errors import run_command
from eovseg.model.config import Fusion, Variant
from eovseg.stopping import STOPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a training run; by default, they follow the variant's recipe."""
    parser.add_argument("--variant", choices=get_args(Variant), help="default: xs, or the variant of --config")
    parser.add_argument("--config", type=Path, help="recipe in JSON, e.g. a run's recipe.json; overridden by options")
    parser.add_argument("--output", type=Path, required=True, help="output folder for log, pictures and checkpoints")
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, help="folder of the data set or of XS's sources")
    data.add_argument("--dataset", choices=DATA_SET_NAMES, help="default: detected, for your own folders")
    data.add_argument("--also", type=Path, metavar="FOLDER", help="additional COCO panoptic folder (pseudo_labels)")
    data.add_argument("--also-share", type=float, default=0.25, help="share of that folder in a batch (default: 0.25)")
    data.add_argument("--split", help="default: train, or all for an undivided folder")
    data.add_argument("--vocabulary", help="training classes: preset, file or words (default: those of the data)")
    data.add_argument(
        "--validate",
        type=Path,
        nargs="?",
        const=True,
        metavar="FOLDER",
        help="evaluate during training on FOLDER, of the same format; without FOLDER, on the val split of the data, or "
        "on a fifth of the photos (evaluate --split validation), which is then excluded from training",
    )
    data.add_argument("--evaluate-every", type=int, metavar="STEPS", help="interval of evaluations (with --validate)")
    data.add_argument("--pictures-every", type=int, metavar="STEPS", help="interval of example pictures")
    views = parser.add_argument_group("views of a photo")
    views.add_argument("--crop", type=int, help="size of the training crop in pixels")
    views.add_argument("--short-side", type=int, help="shorter side of photos at inference; saved in the weight file")
    views.add_argument(
        "--augmentation",
        choices=("none", "lsj", "full"),
        help="none; lsj: the paper's scale jitter; full: that of XS, with colour jitter and copy-paste",
    )
    views.add_argument("--copy-paste", type=float, metavar="P", help="probability of pasting instances (0: off)")
    steps = parser.add_argument_group("optimisation")
    steps.add_argument("--steps", type=int, help="total number of optimiser steps")
    steps.add_argument("--batch", type=int, help="batch size, in total over all processes")
    steps.add_argument("--accumulate", type=int, help="batches accumulated per step")
    steps.add_argument("--lr", type=float, dest="learning_rate", help="peak learning rate")
    steps.add_argument("--schedule", choices=("step", "cosine", "constant"), help="schedule of the learning rate")
    steps.add_argument("--decay", type=int, help="number of final steps with falling rate in a constant schedule")
    steps.add_argument("--warmup", type=int, help="number of warm-up steps")
    steps.add_argument("--clip", type=float, help="maximum gradient norm")
    steps.add_argument("--ema", type=float, metavar="DECAY", help="decay of the weights' moving average (0: off)")
    steps.add_argument(
        "--precision", choices=get_args(Precision), type=lambda text: OLD_PRECISIONS.get(text, text),
        help="bfloat16 is only used where the processor has it; float16 needs CUDA",
    )  # fmt: skip
    steps.add_argument("--seed", type=int, help="seed of all random numbers")
    method = parser.add_argument_group("ablations and training aids")
    method.add_argument("--vas", action=argparse.BooleanOptionalAction, help="enable or disable VAS (Table 4)")
    method.add_argument("--fusion", choices=get_args(Fusion), help="fusion of the spatial embeddings (Table 4)")
    method.add_argument("--set", action="append", metavar="NAME=VALUE", help="network setting with a JSON value")
    method.add_argument("--pilots", type=int, help="number of mask-piloted queries (0: off)")
    method.add_argument("--dense", type=float, help="weight of the dense loss on VAS's word similarity (0: off)")
    method.add_argument("--pilot-weight", type=float, help="weight of the losses of mask-piloted queries")
    method.add_argument("--instance", type=float, help="weight of the loss that separates segments (0: off)")
    course = parser.add_argument_group("run")
    course.add_argument(
        "--start", type=Path, help="fine-tune an official .pth, a .safetensors or a training checkpoint"
    )
    course.add_argument(
        "--start-parts",
        nargs="+",
        metavar="NAME",
        help="load only these parts from --start (aggregator, vas, decoder, …)",
    )
    even = "normalise F_agg per channel at the start, with the statistics of N batches"
    course.add_argument("--even-features", type=int, metavar="N", help=even)
    course.add_argument("--hold", nargs="+", metavar="NAME", help="parts to freeze: aggregator, vas, …")
    course.add_argument(
        "--resume",
        action="store_true",
        help="resume from the latest checkpoint in --output, if any, with the settings of its recipe.json where no "
        "option gives others; repeat --validate, --also and --start",
    )
    course.add_argument("--minutes", type=float, help="time limit; does not change the schedule of --steps")
    course.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="interval of checkpoints")
    course.add_argument("--threads", type=int, help="CPU threads")
    course.add_argument("--workers", type=int, default=1, help="processes that load data (default: 1)")
    course.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Trains with the given options; returns the exit code. Raises subclasses of `EovsegError`."""
    try:
        from eovseg.training.command import train

        train(options)
        return 0
    except KeyboardInterrupt:
        saved = sorted(options.output.glob("checkpoint_*.pt"))
        if os.environ.get("RANK", "0") == "0":  # torch may not be imported yet
            kept = f"; the last checkpoint is {saved[-1]}. Add --resume to continue." if saved else ""
            print(f"eovseg: stopped{kept or ' before the first checkpoint, so nothing was saved.'}", file=sys.stderr)
        return STOPPED


def main() -> int:
    """Entry point of `python -m eovseg.training`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training", description=__doc__)
    add_arguments(parser)
    return run_command(parser, run)


if __name__ == "__main__":
    sys.exit(main())
