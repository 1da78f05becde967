"""`eovseg` and `python -m eovseg`: segment photos and videos, fetch and convert checkpoints, train, evaluate, ...

Errors that a person can act on are one sentence on standard error; exit code 1 when something failed, 2 for wrong
options.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eovseg import own_packages
from eovseg.benchmark import command as benchmark
from eovseg.data import commands as data_commands
from eovseg.errors import EovsegError, any_encoding, refused
from eovseg.segmenting import commands as segmenting
from eovseg.video import commands as video_commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code."""
    any_encoding()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in own_packages.COMMANDS:  # they have options of their own
            return own_packages.run(given[0], given[1:])
        options = build_parser().parse_args(given)
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except (EovsegError, OSError) as error:
        return refused(error, "eovseg: ")
    except KeyboardInterrupt:
        print("eovseg: stopped; what was finished is kept.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="eovseg", description="Open-vocabulary panoptic segmentation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    segment = commands.add_parser("segment", help="segment photos, folders or globs with your words")
    segmenting.add_arguments(segment)
    segment.set_defaults(run=segmenting.run)
    video = commands.add_parser("video", help="draw the segments into a video, with tracks and steady colours")
    video_commands.add_arguments(video)
    video.set_defaults(run=video_commands.run)
    fetch = commands.add_parser("download", help="fetch the authors' checkpoint of S, M or L (resumes)")
    fetch.add_argument("variant", choices=("s", "m", "l"))
    fetch.set_defaults(run=_download)
    conversion = commands.add_parser("convert", help="turn a checkpoint into safetensors with a config header")
    conversion.add_argument("source", metavar="IN", type=Path)
    conversion.add_argument("target", metavar="OUT", type=Path)
    conversion.set_defaults(run=_convert)
    _add_training(commands)
    speed = commands.add_parser("benchmark", help="speed of the variants beside a plain implementation")
    benchmark.add_arguments(speed)
    speed.set_defaults(run=benchmark.run)
    for name, (_, purpose) in own_packages.COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)
    data = commands.add_parser("data", help="list, check and prepare data sets")
    data_commands.add_arguments(data)
    return parser


def _add_training(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from eovseg.evaluation import __main__ as evaluation
    from eovseg.export import onnx_files
    from eovseg.training import __main__ as training
    from eovseg.training import export

    train = commands.add_parser("train", help="train a variant or one of its ablations")
    training.add_arguments(train)
    train.set_defaults(run=_train)
    exporting = commands.add_parser("export", help="turn a training checkpoint into a weight file")
    export.add_arguments(exporting)
    exporting.set_defaults(run=export.run)
    onnx = commands.add_parser("export-onnx", help="write both halves as ONNX files, checked against torch")
    onnx_files.add_arguments(onnx)
    onnx.set_defaults(run=onnx_files.run)
    evaluate = commands.add_parser("evaluate", help="PQ, AP, mIoU and calibration on labelled photos")
    evaluation.add_arguments(evaluate)
    evaluate.set_defaults(run=evaluation.run)


def _train(options: argparse.Namespace) -> None:
    from eovseg.training.__main__ import train

    train(options)


def _download(options: argparse.Namespace) -> int:
    from eovseg.checkpoints import download

    print(download(options.variant))
    return 0


def _convert(options: argparse.Namespace) -> int:
    from eovseg.checkpoints import convert

    checkpoint = convert(options.source, options.target)
    print(f"{options.target}: EOV-Seg {checkpoint.config.variant.upper()}, {len(checkpoint.tensors)} tensors")
    return 0
