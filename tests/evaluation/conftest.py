"""A tiny panoptic folder that can be checked by eye, and an untrained XS."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor

CATEGORIES = {1: ("person", 1), 2: ("sky", 0), 3: ("clouds", 0), 4: ("lamp", 1)}
# id -> (columns, category, crowd): stripes of a 12 x 8 photo; columns 10 and 11 are unlabelled.
STRIPES = {1: ((0, 2), 1, 0), 2: ((2, 4), 1, 1), 3: ((4, 6), 2, 0), 4: ((6, 8), 3, 0), 5: ((8, 10), 4, 0)}


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
    (root / "panoptic").mkdir()
    ids = np.zeros((8, 12), dtype=np.uint8)
    for segment, ((left, right), _, _) in STRIPES.items():
        ids[:, left:right] = segment
    segments = [
        {"id": segment, "category_id": category, "iscrowd": crowd, "area": 8 * (right - left)}
        for segment, ((left, right), category, crowd) in STRIPES.items()
    ]
    images, annotations = [], []
    for number in (1, 2):
        Image.fromarray(np.stack([ids * 40] * 3, axis=-1)).save(root / "images" / f"{number}.png")
        Image.fromarray(np.stack([ids, ids * 0, ids * 0], axis=-1)).save(root / "panoptic" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 8, "width": 12})
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
    categories = [{"id": i, "name": name, "isthing": thing} for i, (name, thing) in CATEGORIES.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(document))
    return root
