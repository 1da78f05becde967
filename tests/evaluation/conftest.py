"""A tiny panoptic folder that can be checked by eye, and an untrained XS."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from tests.data.trees import panoptic

CATEGORIES = ((1, "person", 1), (2, "sky", 0), (3, "clouds", 0), (4, "lamp", 1))
# id -> (category, crowd): stripes of a 12 x 8 photo, two pixels wide; columns 10 and 11 are unlabelled.
STRIPES = {1: (1, 0), 2: (1, 1), 3: (2, 0), 4: (3, 0), 5: (4, 0)}


@pytest.fixture(scope="module")
def network() -> EOVSeg:
    torch.manual_seed(0)
    config = variant_config("xs").with_changes(queries=8, short_side=64, overlap_threshold=0.0, void_threshold=1.0)
    return EOVSeg(config)


@pytest.fixture
def predictor(network: EOVSeg) -> Predictor:
    """A new one for each test, since it caches photos and counts its runs."""
    return Predictor(network, ["person", "sky"], device=torch.device("cpu"), text_weights="untrained")


@pytest.fixture
def panoptic_folder(tmp_path: Path) -> Path:
    """Two identical photos of vertical stripes, two pixels wide: person, crowd, sky, clouds, lamp, unlabelled."""
    root = tmp_path / "stripes"
    (root / "images").mkdir(parents=True)
    ids = np.tile(np.repeat(np.array([*STRIPES, 0], dtype=np.uint8), 2), (8, 1))
    for number in (1, 2):
        Image.fromarray(np.stack([ids * 40] * 3, axis=-1)).save(root / "images" / f"{number}.png")
    photos = {f"{number}.png": (number, f"{number}.png", ids, STRIPES) for number in (1, 2)}
    panoptic(root / "panoptic.json", root / "panoptic", CATEGORIES, photos)
    return root
