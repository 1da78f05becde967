"""ONNX files give torch's results for any size and number of words, and can be used without torch."""

import copy
import io
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import open_clip
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch.nn import functional as F

from eovseg.assets import asset_path
from eovseg.cli import main
from eovseg.errors import ConfigError
from eovseg.export import onnx_files
from eovseg.export.onnx_files import TOLERANCE, WORD_OUTPUTS, export, prompt_tokens, torch_outputs, word_half_inputs
from eovseg.export.tokenizer import clip_tokenizer
from eovseg.fast import exportable
from eovseg.model.classifier import pool_by_masks
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary

WORDS = "bear, ours; grass: stuff; road: stuff"
pytestmark = pytest.mark.slow  # the export takes a minute


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, said = tmp_path_factory.mktemp("onnx"), io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        assert main(["export-onnx", str(out), "-v", WORDS]) == 0
    first, *lines = said.getvalue().splitlines()
    assert first == f"Writing {out} and comparing it with torch takes a minute or two."
    assert all(": differs from torch by at most" in line for line in lines), "only our own sentences"
    return out


def test_a_missing_package_is_named_with_the_command_for_the_checkout(
    tmp_path: Path, xs: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r'package onnxscript\. In the checkout, run pip install -e "\.\[onnx\]"\.$'):
        export(xs.network, tmp_path)


@pytest.mark.parametrize("size", [(160, 224), (256, 96)])
def test_numpy_in_masks_and_classes_out(folder: Path, size: tuple[int, int], xs: Predictor) -> None:
    image = onnxruntime.InferenceSession(folder / "image.onnx")
    words = onnxruntime.InferenceSession(folder / "words.onnx")
    with np.load(folder / "words.npz") as file:
        rows, class_of_word, labels = file["words"], file["class_of_word"], file["labels"]
    photo = np.asarray(Image.open(asset_path("photos/bear.jpg")).convert("RGB").resize(size[::-1]))
    features = image.run(None, {"pixels": photo.transpose(2, 0, 1)[None].astype(np.float32)})
    names = [entry.name for entry in image.get_outputs()]
    masks, logits, *_ = words.run(None, dict(zip(names, features, strict=True)) | {"words": rows})
    starts = np.unique(class_of_word, return_index=True)[1]
    classes = np.maximum.reduceat(logits, [*starts, len(class_of_word)], axis=-1)  # maximum over synonyms; void is last
    assert list(labels) == ["bear", "grass", "road"]
    raw = xs.raw(photo, WORDS)
    for found, wanted in ((masks[0], raw.mask_logits[-1]), (classes[0], raw.class_logits[-1])):
        assert_equal_but_for_cells(found, wanted.numpy())


@pytest.mark.parametrize(("size", "count"), [((256, 320), 150), ((96, 160), 10_000), ((352, 320), 10_000)])
def test_any_number_of_words_gives_torchs_numbers(
    folder: Path, size: tuple[int, int], count: int, xs: Predictor
) -> None:
    network = xs.network
    photo = np.array(Image.open(asset_path("photos/bear.jpg")).convert("RGB").resize(size[::-1]))
    rows = F.normalize(torch.randn(count, network.config.embed_dim, generator=torch.Generator().manual_seed(1)), dim=-1)
    with torch.inference_mode():
        features = network.encode_image(torch.from_numpy(photo).permute(2, 0, 1)[None].float())
        wanted = torch_outputs(network, features, rows)
    words = onnxruntime.InferenceSession(folder / "words.onnx")
    found = dict(zip(WORD_OUTPUTS, words.run(None, word_half_inputs(features, rows)), strict=True))
    assert found["class_logits"].shape[-1] == count + 1
    for name, value in wanted.items():
        assert_equal_but_for_cells(found[name], value)


def assert_equal_but_for_cells(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal within 1e-4 of the range, except for one value, or one in a thousand, which may differ by 1 %.

    A cell whose mask logit is almost 0 may be inside the hard mask in one engine and outside in the other.
    """
    apart = np.abs(found - wanted) / np.ptp(wanted)
    assert (apart > TOLERANCE).sum() <= max(1, apart.size // 1000) and apart.max() <= 1e-2, apart.max()


def test_vas_runs_in_a_loop_of_the_graph(folder: Path) -> None:
    graph = onnx.load(folder / "words.onnx").graph
    (loop,) = [node for node in graph.node if node.op_type == "Scan"]
    (body,) = [attribute.g for attribute in loop.attribute if attribute.name == "body"]
    assert "MatMul" in {node.op_type for node in body.node}


def test_words_get_the_same_rows_as_in_torch(folder: Path, xs: Predictor) -> None:
    words = ["bear", "a very long name of a thing that nobody has ever seen", "Straße", "?", "tree"]
    tokens = prompt_tokens(Tokenizer.from_file(str(folder / "tokenizer.json")), words, xs.config.prompts)
    (rows,) = onnxruntime.InferenceSession(folder / "text.onnx").run(None, {"tokens": tokens})
    assert rows == pytest.approx(xs.network.encode_words(words).numpy(), abs=1e-5)


@pytest.mark.parametrize(
    "prompt",
    [
        "a photo of a bear.",
        "Zürich’s café, 2nd  floor!",
        "“naïve” 123 🙂 x",
        "I'll DON'T we've",
        "日本 語",
        "a_b",
        "word " * 99,
    ],
)
def test_clips_tokenizer_gives_open_clips_tokens(prompt: str) -> None:
    given = open_clip.get_tokenizer("RN50")
    found = clip_tokenizer(given).encode(prompt).ids
    assert found + [0] * (77 - len(found)) == given(prompt)[0].tolist()


def test_the_manuals_example_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xs: Predictor) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    code = re.search(r"```python onnx\n(.*?)```", manual, re.DOTALL)
    assert code is not None
    shutil.copytree(folder, tmp_path / "onnx")
    shutil.copy(asset_path("photos/bus-street.jpg"), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    found: dict[str, np.ndarray] = {}
    exec(code[1], found)
    assert "torch" not in code[1]
    assert "bus" in found["found"] and set(found["found"]) <= set(found["names"])
    photo = np.asarray(Image.open("photo.jpg").convert("RGB").resize((512, 384)))
    raw = xs.raw(photo, Vocabulary.parse("; ".join(f"{name}: thing" for name in found["names"])))
    best = raw.class_logits[-1].argmax(-1)
    for number, name in enumerate(found["names"]):
        wanted = (raw.mask_logits[-1][best == number] > 0).numpy()
        assert (len(wanted) > 0) == (name in found["found"])
        if len(wanted):
            assert (found["found"][name] != wanted).mean() < 1e-3


def test_nan_is_refused(monkeypatch: pytest.MonkeyPatch, folder: Path, xs: Predictor) -> None:
    """Runs the check at the end of an export with correct files, but with NaN as the result of torch."""
    right = onnx_files.torch_outputs

    def wrong(*given: Any) -> dict[str, np.ndarray]:
        return {name: np.where(name == "masks", np.nan, value) for name, value in right(*given).items()}

    monkeypatch.setattr(onnx_files, "torch_outputs", wrong)
    parts = {name: folder / name for name in onnx_files.FILES}
    with pytest.raises(ConfigError, match=r"differ too much from torch \(masks by nan of the range, "):
        onnx_files._check(onnxruntime, xs.network, parts, ["aggregated", "dense", "spatial"], True)


def right() -> list[np.ndarray]:
    """Differences of an output for eight inputs."""
    return [np.full(1_000, 1e-6) for _ in range(8)]


def changed(inputs: int, values: int, by: float) -> list[np.ndarray]:
    """`right` with `values` other differences for some inputs."""
    apart = right()
    for one in apart[:inputs]:
        one[:values] = by
    return apart


@pytest.mark.parametrize(
    ("apart", "equal"),
    [
        (right(), True),
        (changed(3, 50, 9e-3), True),  # cells at the edge of hard masks
        (changed(8, 1, 9e-3), False),
        (changed(1, 200, 2e-4), False),
        (changed(1, 1, np.nan), False),
    ],
)
def test_few_differences_for_few_inputs_are_those_of_hard_masks(apart: list[np.ndarray], equal: bool) -> None:
    assert onnx_files._equal("masks", apart) == equal
    assert onnx_files._equal("aggregated", apart) == (max(one.max() for one in apart) <= TOLERANCE)


def without_mask_bias(network: EOVSeg) -> None:
    bias: Any = network.decoder.layers[-1].mask_bias
    bias.weight.data.zero_()
    bias.bias.data.zero_()


def slightly_other_classes(network: EOVSeg) -> None:
    network.decoder.layers[-1].class_embed[-1].weight.data *= 1.01  # type: ignore[index,union-attr,operator]
    network.decoder.layers[-1].class_embed[-1].bias.data += 1e-3  # type: ignore[index,union-attr,operator]


def without_regression(network: EOVSeg) -> None:
    network.config = network.config.with_changes(mask_regression=False)


@pytest.mark.parametrize("change", [without_mask_bias, slightly_other_classes, without_regression])
def test_a_wrong_export_is_refused(change: Callable[[EOVSeg], None], folder: Path, xs: Predictor) -> None:
    """Checks correct files against a network that differs in one term."""
    network = copy.deepcopy(xs.network)
    change(network)
    parts = {name: folder / name for name in onnx_files.FILES}
    with pytest.raises(ConfigError, match="differ too much from torch"):
        onnx_files._check(onnxruntime, network, parts, ["aggregated", "dense", "spatial"], True)


def test_small_masks_pooled_otherwise_are_refused(folder: Path, xs: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concerns only masks that are smaller than a cell, a few percent of all."""
    monkeypatch.setattr("eovseg.model.backbones.pool_by_cover", pool_by_masks)
    parts = {name: folder / name for name in onnx_files.FILES}
    with pytest.raises(ConfigError, match=r"differ too much from torch \(out_of_vocabulary_logits by"):
        onnx_files._check(onnxruntime, xs.network, parts, ["aggregated", "dense", "spatial"], True)


def test_the_exportable_network_has_the_same_tensors(xs: Predictor) -> None:
    network = xs.network
    kinds = {name: type(module) for name, module in network.named_modules()}
    other = exportable(network)
    assert kinds == {name: type(module) for name, module in network.named_modules()}
    assert kinds != {name: type(module) for name, module in other.named_modules()}
    own, shared = network.state_dict(keep_vars=True), other.state_dict(keep_vars=True)
    assert list(own) == list(shared) and all(shared[name] is own[name] for name in own)


@pytest.mark.parametrize("variant", ["s", "l"])  # M is S with other sizes
def test_random_weights_up_to_the_first_masks(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    largest = export(EOVSeg(variant_config(variant)).eval(), tmp_path, whole=False)
    assert set(largest) == {"rows", "aggregated", "dense", "spatial", "first_masks"}
    assert max(largest.values()) <= TOLERANCE
