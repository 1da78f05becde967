"""A writer of tiny COCO panoptic folders, and an untrained network."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from tests.data.trees import edit_json, panoptic

CATEGORIES = ((1, "person", 1), (17, "cat", 1), (187, "sky", 0), (106, "clouds", 0), (900, "metal", 0))

# file stem -> (id map, {segment id: (category id, is crowd)}); the photo's colours follow from the ids.
Drawing = tuple[np.ndarray, Mapping[int, tuple[int, bool]]]
FolderWriter = Callable[..., Path]


def colour_of(segment_id: int) -> tuple[int, int, int]:
    """The colour of a segment in the tiny photos, very different for ids 0..5."""
    return ((0, 0, 0), (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250))[segment_id]


@pytest.fixture(scope="module")
def network() -> EOVSeg:
    torch.manual_seed(0)
    return EOVSeg(
        variant_config("xs").with_changes(queries=8, short_side=64, overlap_threshold=0.0, void_threshold=1.0)
    )


@pytest.fixture
def write_folder(tmp_path: Path) -> FolderWriter:
    """Writes `drawings` as a panoptic folder `name` and returns its path; `top` are top-level JSON entries."""

    def write(
        name: str,
        drawings: Mapping[str, Drawing],
        categories: Sequence[tuple[int, str, int]] = CATEGORIES,
        coco_ids: Mapping[str, int] | None = None,
        **top: Any,
    ) -> Path:
        root = tmp_path / name
        (root / "images").mkdir(parents=True)
        photos = {}
        for number, (stem, (ids, segments)) in enumerate(drawings.items(), start=1):
            photo = np.zeros((*ids.shape, 3), dtype=np.uint8)
            for segment_id in np.unique(ids):
                photo[ids == segment_id] = colour_of(int(segment_id))
            # PNG photos, because JPEG would change the colours that the tests compare.
            Image.fromarray(photo).save(root / "images" / f"{stem}.png")
            photos[f"{stem}.png"] = (number, f"{stem}.png", ids, segments)
        panoptic(root / "panoptic.json", root / "panoptic", categories, photos)

        def extend(document: dict[str, Any]) -> None:
            document.update(top)
            for image in document["images"] if coco_ids else ():
                image["coco_id"] = coco_ids[Path(image["file_name"]).stem]

        edit_json(root / "panoptic.json", extend)
        return root

    return write


def block_drawing(height: int = 48, width: int = 64) -> Drawing:
    """A person (1), a cat (2), sky (3) and an unlabelled rest (0)."""
    ids = np.zeros((height, width), dtype=np.int32)
    ids[: height // 3] = 3
    ids[height // 2 : height - 4, 4 : width // 3] = 1
    ids[height // 2 : height - 4, width // 2 : width - 6] = 2
    return ids, {1: (1, False), 2: (17, False), 3: (187, False)}
