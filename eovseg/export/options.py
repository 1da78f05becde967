"""`eovseg export-onnx`: image half, word half, text encoder and its tokenizer as files."""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np

from eovseg.atomic_files import atomic_file
from eovseg.command_options import read_words
from eovseg.model.config import Variant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of an ONNX export."""
    parser.add_argument("output", type=Path, help="folder for image.onnx, words.onnx, text.onnx and tokenizer.json")
    parser.add_argument("--variant", choices=get_args(Variant), help="default: the variant of --checkpoint, else xs")
    parser.add_argument("--checkpoint", type=Path, help="an official .pth or a converted .safetensors file")
    parser.add_argument("-v", "--vocabulary", help="also write the embeddings of these words to words.npz")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the files according to the options; raises subclasses of `EovsegError`."""
    from eovseg.export.onnx_files import export
    from eovseg.loading import load

    vocabulary = read_words(options.vocabulary) if options.vocabulary else None
    predictor = load(options.variant, options.checkpoint, "cpu")
    print(f"Writing {options.output} and comparing it with torch takes a minute or two.", flush=True)
    largest = export(predictor.network, options.output)
    for name, difference in largest.items():
        print(f"{name}: differs from torch by at most {difference:.1e} of its range")
    if vocabulary is not None:
        rows = predictor.text_embeddings(vocabulary)
        with atomic_file(options.output / "words.npz") as part, part.open("wb") as file:
            np.savez(
                file,
                words=rows.embeddings.numpy(),
                class_of_word=vocabulary.class_of_word,
                labels=np.array(vocabulary.labels),
                is_thing=vocabulary.is_thing,
            )
