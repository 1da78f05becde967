"""`eovseg` and `python -m eovseg`: segment photos and videos, download and convert checkpoints, train, evaluate, ...

Only the module of the given command is imported. It defines the parser; heavy imports happen in its `run`. User errors
are printed as one message on standard error. Exit codes: 1 if something failed, 2 for invalid options.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from eovseg import own_packages
from eovseg.errors import any_encoding, exit_code, parse_options
from eovseg.waiting import use_passive_waiting

# Name: (module whose `add_arguments` declares the options and sets `run`, or None for this module; help text).
COMMANDS: dict[str, tuple[str | None, str]] = {
    "segment": ("eovseg.segmenting.commands", "segment photos, folders or glob patterns with your own words"),
    "video": ("eovseg.video.commands", "draw segments into a video, with object tracks and stable colours"),
    "suggest": ("eovseg.advice.suggest_command", "suggest everyday words for the content of photos"),
    "doctor": ("eovseg.advice.doctor_command", "check a list of words against your photos"),
    "download": (None, "download the authors' checkpoint of S, M or L (resumable)"),
    "convert": (None, "convert a checkpoint to safetensors with a config header"),
    "train": ("eovseg.training.__main__", "train a variant or one of its ablations"),
    "export": ("eovseg.training.weight_file", "convert a training checkpoint to a weight file"),
    "export-onnx": ("eovseg.export.options", "export the network and its text encoder as ONNX, checked against torch"),
    "evaluate": ("eovseg.evaluation.__main__", "measure PQ, AP, mIoU and calibration on labelled photos"),
    "benchmark": ("eovseg.benchmark.options", "compare the speed of the variants with that of the reference network"),
    "data": ("eovseg.data.commands", "list, check and prepare data sets"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; returns the exit code."""
    any_encoding()
    use_passive_waiting()
    given = sys.argv[1:] if arguments is None else arguments

    def run() -> int | None:
        if given and given[0] in own_packages.COMMANDS:  # they parse their own options
            return own_packages.run(given[0], given[1:])
        options = parse_options(build_parser(given[0] if given else None), given)
        code: int | None = options.run(options)
        return code

    return exit_code(run, "eovseg: ")


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The command-line parser; only the subparser of `command` has its options."""
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
    parser.add_argument("variant", choices=("s", "m", "l"), help="the variant to download")
    parser.set_defaults(run=_download)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", type=Path, help="official .pth or .safetensors file")
    parser.add_argument("target", metavar="OUT", type=Path, help=".safetensors file to write")
    parser.set_defaults(run=_convert)


_ADD = {"download": _add_download, "convert": _add_convert}


def _download(options: argparse.Namespace) -> None:
    from eovseg.checkpoints import download

    print(download(options.variant))


def _convert(options: argparse.Namespace) -> None:
    from eovseg.checkpoints import convert

    checkpoint = convert(options.source, options.target)
    print(f"{options.target}: EOV-Seg {checkpoint.config.variant.upper()}, {len(checkpoint.tensors)} tensors")
