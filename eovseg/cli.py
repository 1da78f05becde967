"""`eovseg` and `python -m eovseg`: segment photos and videos, fetch and convert checkpoints, train, evaluate, ...

A command's module is imported when it is asked for: it holds the parser, and its `run` imports what the work needs.
Errors that a person can act on are one sentence on standard error; exit code 1 when something failed, 2 for wrong
options.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from eovseg import own_packages
from eovseg.errors import EovsegError, any_encoding, refused

# By name: the module whose `add_arguments` declares its options and sets `run`, None for this one; what it is for.
COMMANDS: dict[str, tuple[str | None, str]] = {
    "segment": ("eovseg.segmenting.commands", "segment photos, folders or globs with your words"),
    "video": ("eovseg.video.commands", "draw the segments into a video, with tracks and steady colours"),
    "suggest": ("eovseg.advice.suggest_command", "everyday words for what photos hold"),
    "doctor": ("eovseg.advice.doctor_command", "what is odd about a list of words on your photos"),
    "download": (None, "fetch the authors' checkpoint of S, M or L (resumes)"),
    "convert": (None, "turn a checkpoint into safetensors with a config header"),
    "train": ("eovseg.training.__main__", "train a variant or one of its ablations"),
    "export": ("eovseg.training.export", "turn a training checkpoint into a weight file"),
    "export-onnx": ("eovseg.export.options", "write both halves as ONNX files, checked against torch"),
    "evaluate": ("eovseg.evaluation.__main__", "PQ, AP, mIoU and calibration on labelled photos"),
    "benchmark": ("eovseg.benchmark.options", "speed of the variants beside the readable network"),
    "data": ("eovseg.data.commands", "list, check and prepare data sets"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code."""
    any_encoding()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in own_packages.COMMANDS:  # they have options of their own
            return own_packages.run(given[0], given[1:])
        options = build_parser(given[0] if given else None).parse_args(given)
        code = options.run(options) or 0
        sys.stdout.flush()
        return code
    except (EovsegError, OSError) as error:
        return refused(error, "eovseg: ")
    except KeyboardInterrupt:
        print("eovseg: stopped; what was finished is kept.", file=sys.stderr)
        return 130


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The command line, with the options of `command` alone."""
    parser = argparse.ArgumentParser(prog="eovseg", description="Open-vocabulary panoptic segmentation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, purpose) in COMMANDS.items():
        own = commands.add_parser(name, help=purpose)
        if name == command:
            (import_module(module).add_arguments if module else _ADD[name])(own)
    for name, (*_, purpose) in own_packages.COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)
    return parser


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("variant", choices=("s", "m", "l"))
    parser.set_defaults(run=_download)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path)
    parser.add_argument("target", metavar="OUT", type=Path)
    parser.set_defaults(run=_convert)


_ADD = {"download": _add_download, "convert": _add_convert}


def _download(options: argparse.Namespace) -> None:
    from eovseg.checkpoints import download

    print(download(options.variant))


def _convert(options: argparse.Namespace) -> None:
    from eovseg.checkpoints import convert

    checkpoint = convert(options.source, options.target)
    print(f"{options.target}: EOV-Seg {checkpoint.config.variant.upper()}, {len(checkpoint.tensors)} tensors")
