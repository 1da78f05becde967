"""`python -m eovseg.benchmark.onnx_memory`: time, memory and difference from torch of XS's ONNX word half over words.

Each point runs in a process of its own, with onnxruntime's session loaded and warmed by a small input. VAS's loop holds
a block of words; what grows are the word rows themselves and one score per kernel and word.
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
from eovseg.benchmark.memory import PointCommand, measured, return_free_memory
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
    """Seconds and MB of the word half in onnxruntime, and its outputs' largest differences from torch's, as shares of
    their ranges."""
    import onnxruntime
    import torch
    from torch.nn import functional as F

    from eovseg.benchmark.measure import peak_memory
    from eovseg.export.onnx_files import ANSWERS, difference, torch_answers, word_half_inputs
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
    session.run(None, small)  # what is loaded or allocated once
    inputs = word_half_inputs(features, rows)
    return_free_memory()
    with timed(torch.device("cpu")) as seconds, peak_memory() as memory:
        found = session.run(None, inputs)
    row: dict[str, Any] = {"words (s)": round(seconds[0], 4), "words (MB)": round(memory[0], 1)}
    wanted = torch_answers(network, features, rows)
    for name, value in zip(ANSWERS, found, strict=True):
        row[f"difference {name}"] = float(f"{difference(value, wanted[name]):.1e}")
    return row


def run(options: argparse.Namespace) -> None:
    """Write the ONNX files into a passing folder, measure every point, write the CSV. Raises `ConfigError`."""
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
    """Entry of the command."""
    out = "assets/benchmarks/onnx-memory.csv"
    command = PointCommand(MODULE, __doc__, out, WORDS, lambda point: measure_point(OnnxPoint(**point)), run)
    return command.main(argv)


if __name__ == "__main__":
    sys.exit(main())
