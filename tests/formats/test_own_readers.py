"""LabelMe, Label Studio's SDK and Datumaro read exactly the masks that were written."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg.formats import FORMATS
from eovseg.result import Result
from tests import unavailable
from tests.formats.own_readers import READERS
from tests.formats.shapes import NASTY, iou, noise, result_of, with_its_rest

pytestmark = pytest.mark.slow
RESULTS = {name: with_its_rest(mask) for name, mask in NASTY.items()} | {"noise": with_its_rest(noise(3))}
RESULTS["overlapping"] = result_of(
    [NASTY["ring"], NASTY["everything"].repeat(2, 0)[:, [0, 1, 2, 3, 3]]], overlapping=True
)


def readers_folder() -> Path:
    """The folder of `make readers`. Without it, the test is skipped, or fails in continuous integration."""
    folder = Path(os.environ.get("EOVSEG_READERS") or Path(sys.prefix) / "readers")
    if not (folder / "datumaro").is_dir():
        unavailable.skip("the readers of other tools are not installed: make readers")
    return folder


@pytest.fixture(scope="module")
def read_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one folder per result, containing the masks found by each reader."""
    readers, home = readers_folder(), tmp_path_factory.mktemp("read-back")
    for name, result in RESULTS.items():
        result.write(home / name, "photo", list(FORMATS))
        for folder in (home / name, home / name / "labelme"):
            Image.fromarray(result.image).save(folder / "photo.jpg")
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(readers)])}
    command = [sys.executable, "-m", "tests.formats.own_readers", str(home)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return home


PAIRS = [(name, reader) for name in RESULTS for reader in READERS]
PAIRS.remove(("overlapping", "datumaro-coco-panoptic"))  # a panoptic PNG cannot store overlapping instances


@pytest.mark.parametrize(("name", "reader"), PAIRS)
def test_masks_are_reproduced(name: str, reader: str, read_back: Path) -> None:
    result: Result = RESULTS[name]
    with np.load(read_back / name / f"{reader}.npz") as found:
        masks, labels, groups = found["masks"], found["labels"].tolist(), found["groups"].tolist()
    whole: dict[int, np.ndarray] = {}  # the parts of a segment are one group
    named: dict[int, str] = {}
    for mask, label, group in zip(masks, labels, groups, strict=True):
        whole[group] = whole.get(group, np.zeros_like(mask)) | mask
        assert named.setdefault(group, label) == label
    assert len(whole) == len(result.segments)
    for index, segment in enumerate(result.segments):
        own = [mask for group, mask in whole.items() if named[group] == segment.label]
        assert max(iou(mask, result.mask(index)) for mask in own) == 1.0
