"""The frozen image encoder in OpenVINO: the same features for one shape; torch handles other shapes."""

import copy
import subprocess
import sys
from pathlib import Path

import torch

from eovseg.fast.towers import FastLite2Extractor
from eovseg.training.frozen_tower import FrozenTower


def test_openvino_gives_the_encoders_own_features() -> None:
    extractor = FastLite2Extractor()
    program = FrozenTower(extractor.tower, (2, 3, 64, 96))
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = extractor(images)
    extractor.program = copy.deepcopy(program)
    first = extractor(images)
    extractor(torch.zeros_like(images))  # the first result is not overwritten by the next
    for found, wanted in zip((*first.levels, first.dense), (*expected.levels, expected.dense), strict=True):
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-4 * (wanted.max() - wanted.min())
    assert program(torch.zeros(1, 3, 64, 96)) is None
    assert extractor(torch.zeros(1, 3, 64, 96)).dense.shape == (1, 1280, 2, 3)


def test_openvino_does_not_report_its_use() -> None:
    code = (
        "import sys; from eovseg.fast.openvino import package; package(); assert not sys.modules['openvino_telemetry']"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
