"""Options that commands share: the model, the settings of a result and the words, each declared and read in one place.

Nothing here loads a network before `chosen_model` is called.
"""

import argparse
import sys
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from eovseg.choices import Backend, Dtype, Task
from eovseg.model.config import SHARES, Composition, Ensemble, Variant
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.predictor import Predictor

_SETTINGS = ("task", "ensemble", *SHARES, "composition", "edges", "calibration")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which network a command runs, and how: what `chosen_model` reads."""
    group = parser.add_argument_group("model")
    group.add_argument("--variant", choices=get_args(Variant), help="default: that of --checkpoint, else xs")
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="an official .pth or a converted .safetensors file; default: the variant's own",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (auto)")
    group.add_argument("--dtype", default="float32", choices=get_args(Dtype), help="default: float32")
    group.add_argument("--backend", default="torch", choices=get_args(Backend), help="openvino is fastest on CPUs")


def chosen_model(options: argparse.Namespace, device: str | None = None) -> "Predictor":
    """The predictor that the options ask for, on `device` where that is given; raises as `eovseg.load` does."""
    from eovseg.loading import load

    return load(options.variant, options.checkpoint, device or options.device, options.dtype, options.backend)


def add_settings_options(parser: argparse.ArgumentParser, task: bool = True) -> None:
    """The settings of a result: what `chosen_settings` reads; without `task` results of all tasks are made."""
    group = parser.add_argument_group("settings of a result, by default the model's own")
    if task:
        group.add_argument("--task", choices=get_args(Task), help="default: panoptic")
    group.add_argument("--ensemble", choices=get_args(Ensemble))
    for name in SHARES:
        group.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="0..1")
    group.add_argument("--composition", choices=get_args(Composition), help="how kernels become panoptic segments")
    group.add_argument(
        "--edges", action=argparse.BooleanOptionalAction, help="masks follow the photo's edges (panoptic only)"
    )
    group.add_argument(
        "--no-calibration", dest="calibration", action="store_const", const=False, help="segments' scores as they are"
    )


def chosen_settings(options: argparse.Namespace) -> Settings:
    """The settings that were given; raises `ConfigError` for values that are not allowed."""
    return Settings.chosen(None, **{name: getattr(options, name, None) for name in _SETTINGS})


def add_word_options(parser: argparse.ArgumentParser) -> None:
    """The words of a result: what `chosen_words` reads."""
    words = 'words ("dog; mug.word; sky: stuff"), a preset or a file; again: those words too'
    parser.add_argument("-v", "--vocabulary", required=True, action="append", help=words)
    parser.add_argument("--background", help="words that only compete; what they win is one segment, other")


def chosen_words(options: argparse.Namespace, tell: bool = True) -> tuple[Vocabulary, Vocabulary | None]:
    """The words to be named, and those that only compete; what is to be said about them is printed with `tell`."""
    background = read_words(options.background, tell) if options.background else None
    words = reduce(add, map(Vocabulary.read, options.vocabulary))
    _tell_notes(words, tell)
    return words, background


def read_words(text: str, tell: bool = True) -> Vocabulary:
    """`Vocabulary.read(text)`, whose notes are printed where `tell` says so; raises `VocabularyError` as it does."""
    words = Vocabulary.read(text)
    _tell_notes(words, tell)
    return words


def _tell_notes(words: Vocabulary, tell: bool) -> None:
    for note in words.notes if tell else ():
        print(f"eovseg: {note}", file=sys.stderr)
