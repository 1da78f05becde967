"""`python -m eovseg.benchmark.onnx_memory`: time, memory and difference from torch of XS's ONNX word half over words.

Each point is measured in a new process, after onnxruntime's session has been loaded and warmed up with a small input.
VAS's loop processes a block of words; only the word rows and one score per kernel and word grow with the words.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.assets import asset_path
from eovseg.benchmark.memory import measured, point_command, return_free_memory
from eovseg.errors import ConfigError

MODULE = "eovseg.benchmark.onnx_memory"
WORDS = (20, 150, 1_000, 5_000, 10_000)
SIZE = (512, 384)  # width and height of the photo, multiples of 32


@dataclass(frozen=True)
class OnnxPoint:
    """Folder of the ONNX files and number of words."""

    folder: str
    words: int


def measure_point(point: OnnxPoint) -> dict[str, Any]:
    """Seconds and MB of the word half in onnxruntime, and the largest difference of each output from torch, relative
    to its range."""
    import onnxruntime
    import torch
    from torch.nn import functional as F

    from eovseg.benchmark.measure import peak_memory
    from eovseg.export.onnx_files import WORD_OUTPUTS, difference, torch_outputs, word_half_inputs
    from eovseg.loading import load
    from eovseg.timing import timed

    network = load("xs", device="cpu").network
    session = onnxruntime.InferenceSession(Path(point.folder) / "words.onnx")
    with Image.open(asset_path("photos/bus-street.jpg")) as photo:
        pixels = np.array(photo.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(point.words, network.config.embed_dim, generator=generator), dim=-1)
    given = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        small = word_half_inputs(network.encode_image(given[..., :64, :64]), rows[:3])
        features = network.encode_image(given)
    session.run(None, small)  # warm-up
    inputs = word_half_inputs(features, rows)
    return_free_memory()
    with timed(torch.device("cpu")) as seconds, peak_memory() as memory:
        found = session.run(None, inputs)
    row: dict[str, Any] = {"words (s)": round(seconds[0], 4), "words (MB)": round(memory[0], 1)}
    wanted = torch_outputs(network, features, rows)
    for name, value in zip(WORD_OUTPUTS, found, strict=True):
        row[f"difference {name}"] = float(f"{difference(value, wanted[name]):.1e}")
    return row


def run(options: argparse.Namespace) -> None:
    """Writes the ONNX files to a temporary folder, measures every point and writes the CSV. Raises `ConfigError`."""
    from eovseg.benchmark.command import machine, write_rows
    from eovseg.export.onnx_files import export
    from eovseg.loading import load

    if min(options.words) < 3:
        raise ConfigError(f"--words is {min(options.words)}; give whole numbers of at least 3.")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export(load("xs", device="cpu").network, Path(folder))
        for count in options.words:
            found = measured(MODULE, asdict(OnnxPoint(folder, count)))
            rows.append({"width": SIZE[0], "height": SIZE[1], "words": count, **machine("cpu"), **found})
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    write_rows(options.out, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    out = "assets/benchmarks/onnx-memory.csv"
    return point_command(MODULE, __doc__, out, WORDS, lambda point: measure_point(OnnxPoint(**point)), run, argv)


if __name__ == "__main__":
    sys.exit(main())
