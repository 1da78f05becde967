"""ONNX files equal torch: one file for every size and number of words, used with onnxruntime and numpy alone."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eovseg.assets import asset_path
from eovseg.cli import main
from eovseg.export.halves import exportable
from eovseg.export.onnx_files import TOLERANCE, export
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import load

onnxruntime = pytest.importorskip("onnxruntime")
WORDS = "bear, ours; grass: stuff; road: stuff"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    assert main(["export-onnx", str(out), "-v", WORDS]) == 0
    return out


@pytest.mark.parametrize("size", [(160, 224), (256, 96)])
def test_numpy_in_masks_and_classes_out(folder: Path, size: tuple[int, int]) -> None:
    image = onnxruntime.InferenceSession(folder / "image.onnx")
    words = onnxruntime.InferenceSession(folder / "words.onnx")
    with np.load(folder / "words.npz") as file:
        rows, class_of_word, labels = file["words"], file["class_of_word"], file["labels"]
    photo = np.asarray(Image.open(asset_path("photos/bear.jpg")).convert("RGB").resize(size[::-1]))
    features = image.run(None, {"pixels": photo.transpose(2, 0, 1)[None].astype(np.float32)})
    names = [entry.name for entry in image.get_outputs()]
    masks, logits, *_ = words.run(None, dict(zip(names, features, strict=True)) | {"words": rows})
    starts = np.unique(class_of_word, return_index=True)[1]
    classes = np.maximum.reduceat(logits, [*starts, len(class_of_word)], axis=-1)  # synonyms: their best; void last
    assert list(labels) == ["bear", "grass", "road"]
    raw = load("xs", device="cpu").raw(photo, WORDS)
    for found, wanted in ((masks[0], raw.mask_logits[-1]), (classes[0], raw.class_logits[-1])):
        assert np.abs(found - wanted.numpy()).max() <= TOLERANCE * np.ptp(wanted.numpy())


def test_the_readme_example_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    code = re.search(r"### ONNX\n.*?```python\n(.*?)```", readme, re.DOTALL)
    assert code is not None
    shutil.copytree(folder, tmp_path / "onnx")
    shutil.copy(asset_path("photos/bear.jpg"), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    found: dict[str, np.ndarray] = {}
    exec(code[1], found)
    queries = found["masks"].shape[1]
    assert found["masks"].shape[-2:] == (96, 128)
    assert found["logits"].shape[1:] == (queries, 5)  # four words and void
    assert found["classes"].shape[1:] == (queries, 4)  # three classes and void


def test_the_network_is_itself_again_afterwards(folder: Path) -> None:
    network = load("xs", device="cpu").network
    before = {id(module): dict(module.__dict__) for module in network.modules()}
    with exportable(network):
        assert any(dict(module.__dict__) != before[id(module)] for module in network.modules())
    assert all(module.__dict__.keys() == before[id(module)].keys() for module in network.modules())


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["s", "m", "l"])
def test_random_weights_up_to_the_first_masks(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    largest = export(EOVSeg(variant_config(variant)).eval(), tmp_path, whole=False)
    assert set(largest) == {"aggregated", "dense", "spatial", "first_masks"}
    assert max(largest.values()) <= TOLERANCE
