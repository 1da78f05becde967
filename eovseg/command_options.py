"""Options shared by several commands: the model, the settings of a result, and the words.

Only `chosen_model` loads a network.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from eovseg.choices import Backend, Dtype, Task
from eovseg.errors import VocabularyError
from eovseg.model.config import SHARES, Composition, Ensemble, Variant
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.predictor import Predictor

_NO_WORDS = (
    'No words were given: use -v to say what to look for, such as -v "dog; grass: stuff", '
    "or name a preset (-v everyday) or a file of words."
)
_SETTINGS = ("task", "ensemble", *SHARES, "composition", "edges", "calibration")
_SHARES_HELP = {
    "alpha": "weight of the frozen image encoder for seen classes",
    "beta": "weight of the frozen image encoder for unseen classes",
    "score_threshold": "drop kernels with a lower score",
    "overlap_threshold": "drop kernels if less than this share of their mask stays visible",
    "void_threshold": "drop kernels with a higher probability of none of the words",
    "mask_threshold": "best-first: mask probability above which a cell belongs to a kernel",
    "pixel_threshold": "best-first: minimum mask probability of a named pixel",
}


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that select the network and how it runs; read by `chosen_model`."""
    group = parser.add_argument_group("model")
    group.add_argument("--variant", choices=get_args(Variant), help="default: that of --checkpoint, otherwise xs")
    group.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="official .pth or converted .safetensors file (default: the variant's own weights)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    group.add_argument("--dtype", default="float32", choices=get_args(Dtype), help="default: float32")
    group.add_argument("--backend", default="torch", choices=get_args(Backend), help="see docs/speed.md")


def chosen_model(options: argparse.Namespace, device: str | None = None) -> "Predictor":
    """The predictor selected by the options, on `device` if given; raises the errors of `eovseg.load`."""
    from eovseg.loading import load

    return load(options.variant, options.checkpoint, device or options.device, options.dtype, options.backend)


def add_settings_options(parser: argparse.ArgumentParser, task: bool = True) -> None:
    """Adds the settings of a result, read by `chosen_settings`; `task=False` omits --task."""
    group = parser.add_argument_group("result settings (default: the model's own)")
    if task:
        group.add_argument("--task", choices=get_args(Task), help="default: panoptic")
    group.add_argument("--ensemble", choices=get_args(Ensemble), help="how both classifiers are combined")
    for name in SHARES:
        group.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="0..1", help=_SHARES_HELP[name])
    group.add_argument("--composition", choices=get_args(Composition), help="rule that composes panoptic segments")
    group.add_argument(
        "--edges", action=argparse.BooleanOptionalAction, help="align masks with image edges (panoptic only)"
    )
    group.add_argument(
        "--no-calibration", dest="calibration", action="store_const", const=False, help="report uncalibrated scores"
    )


def chosen_settings(options: argparse.Namespace) -> Settings:
    """The settings given on the command line; raises `ConfigError` for invalid values."""
    return Settings.chosen(None, **{name: getattr(options, name, None) for name in _SETTINGS})


def add_word_options(parser: argparse.ArgumentParser) -> None:
    """The words of a result: what `chosen_words` reads."""
    words = 'required: words ("dog; mug.word; sky: stuff"), a preset or a file; repeat the option to add more words'
    parser.add_argument("-v", "--vocabulary", action="append", help=words)
    parser.add_argument(
        "--no-synonyms", dest="synonyms", action="store_false", help="use typed words only as they are written"
    )
    parser.add_argument("--background", help="words that only compete; their pixels become one segment, other")


def chosen_words(options: argparse.Namespace, tell: bool = True) -> tuple[Vocabulary, Vocabulary | None]:
    """The vocabulary and the background, if any; `tell` prints the notes from parsing them."""
    if not options.vocabulary:
        raise VocabularyError(_NO_WORDS)
    words = Vocabulary.coerce(options.vocabulary, options.synonyms, options.background)
    _tell_notes(words, tell)
    background = None
    if options.background:
        background = Vocabulary.coerce(options.background, options.synonyms, words)
        _tell_notes(background, tell)
    return words, background


def read_words(text: str | None, tell: bool = True) -> Vocabulary:
    """`Vocabulary.read(text)`; `tell` prints its notes. Raises `VocabularyError`, also for None."""
    if text is None:
        raise VocabularyError(_NO_WORDS)
    words = Vocabulary.read(text)
    _tell_notes(words, tell)
    return words


def _tell_notes(words: Vocabulary, tell: bool) -> None:
    for note in words.notes if tell else ():
        print(f"eovseg: {note}", file=sys.stderr)
