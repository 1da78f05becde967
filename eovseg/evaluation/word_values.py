"""The network's outputs for labelled photos with several word lists, as input of `eovseg.evaluation.advice`.

The lists of a photo are COCO's 133 classes; the same without half of the photo's classes, and without the other half,
as with `eovseg evaluate --absent-words`; and the photo's classes with random others, 60 and 20 in total.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from eovseg.advice.nouns import noun_rows
from eovseg.data.labelled_folder import LabelledFolder
from eovseg.evaluation.categories import Truth, classes_of_folder, load_truth
from eovseg.evaluation.true_masks import masks_on_grid
from eovseg.predictor import Predictor
from eovseg.presets import TRAINING_PRESET
from eovseg.stages import Decoded
from eovseg.vocabulary import Vocabulary

SIZES = (60, 20)  # lengths of the shorter lists
_STRIDE = 4  # every 4th cell of VAS's map, in each direction, is used


@dataclass(frozen=True)
class FoundSegment:
    """A panoptic segment: its class in the full list, its kernel, and its number of pixels of each true class (K,)."""

    class_id: int
    query: int
    true_pixels: np.ndarray


@dataclass(frozen=True)
class ListValues:
    """One photo with one list of the `classes` (L,), which are indices into the full list.

    For each kernel, there are the void probability, both embeddings, both classifiers' logits and the hard mask.
    """

    classes: np.ndarray
    void: np.ndarray  # (Q,)
    inside: np.ndarray  # (Q, L)
    outside: np.ndarray  # (Q, L)
    class_embeddings: np.ndarray  # (Q, D), unit length
    frozen_embeddings: np.ndarray  # (Q, D), unit length
    valid: np.ndarray  # (Q,) bool
    masks: np.ndarray  # packed bits of (Q, h, w) bool
    grid: tuple[int, int]
    segments: tuple[FoundSegment, ...]


@dataclass(frozen=True)
class PhotoValues:
    """The values of one photo: its word lists (`full`, `without`, `shorter`) and what does not depend on them.

    `share` (K,) is the share of pixels of each true class. `regions` are the classes of the M true regions, without
    crowds, and `region_masks` packed bits of (M, h, w) bool.
    `cells` (P, D) are the image encoder's unit embeddings of its grid cells, and `whole` (D,) that of the whole photo.
    `vas` is VAS's similarity of nouns, each (N,): its maximum over cells and the mean over the best 2 % of the cells.
    """

    name: str
    share: np.ndarray
    regions: np.ndarray
    region_masks: np.ndarray
    full: ListValues
    without: tuple[ListValues, ...]
    shorter: tuple[ListValues, ...]
    cells: np.ndarray
    whole: np.ndarray
    vas: tuple[np.ndarray, np.ndarray]


def collect(predictor: Predictor, folder: LabelledFolder, path: Path) -> None:
    """Writes the values of every photo of `folder` to `path`, one by one."""
    mapping, vocabulary = classes_of_folder(folder, Vocabulary.preset(TRAINING_PRESET))
    rows = torch.from_numpy(noun_rows(predictor)).to(predictor.device)
    with path.open("wb") as file, torch.inference_mode():
        for number, photo in enumerate(tqdm(folder.photos, unit="photo", disable=None)):
            truth = load_truth(folder, photo, mapping, vocabulary.is_thing)
            random = np.random.default_rng(number)
            pickle.dump(
                _values(predictor, folder.load_image(photo), photo.file_name, truth, vocabulary, rows, random), file
            )
            file.flush()


def read(path: Path) -> Iterator[PhotoValues]:
    """Reads the values written by `collect`. Only read files that you trust, because pickles can run code."""
    with path.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)
            except EOFError:
                return


def _values(
    predictor: Predictor,
    image: np.ndarray,
    name: str,
    truth: Truth,
    vocabulary: Vocabulary,
    rows: torch.Tensor,
    random: np.random.Generator,
) -> PhotoValues:
    state = predictor.encode_image(image, keep=False)
    features, network = state.features, predictor.network
    class_map, regions = truth.class_map(), truth.regions()
    count = len(vocabulary)
    share = np.bincount(class_map[class_map >= 0], minlength=count) / class_map.size

    def of_list(classes: list[int], compose: bool = True) -> ListValues:
        decoded = predictor.decode(state, Vocabulary(tuple(vocabulary.classes[i] for i in classes)))
        return _list_values(predictor, decoded, np.array(classes), class_map if compose else None, count)

    present = sorted({truth.classes[i] for i in regions})
    without = [
        of_list([i for i in range(count) if i not in omitted], compose=False)
        for omitted in (set(present[::2]), set(present[1::2]))
        if len(omitted) < count
    ]
    there = np.flatnonzero(share)
    others = random.permutation(np.flatnonzero(share == 0))
    shorter = [of_list(sorted([*there, *others[: max(0, size - len(there))]])) for size in SIZES]
    encoder: Any = network.feature_extractor
    dense = features.dense[0].flatten(1)  # (C, P)
    cells = F.normalize(encoder.joint_space(dense.T), dim=-1)
    whole = F.normalize(encoder.joint_space(dense.mean(1)), dim=-1)
    similarity = vas_similarity(predictor, features, rows)
    return PhotoValues(
        name,
        share,
        np.array([truth.classes[i] for i in regions]),
        np.packbits(masks_on_grid(truth.masks(regions), features).cpu().numpy()) if regions else np.zeros(0, np.uint8),
        of_list(list(range(count))),
        tuple(without),
        tuple(shorter),
        cells.cpu().numpy(),
        whole.cpu().numpy(),
        (
            similarity.amax(1).cpu().numpy(),
            similarity.topk(max(1, similarity.shape[1] // 50), 1)[0].mean(1).cpu().numpy(),
        ),
    )


def vas_similarity(predictor: Predictor, features: Any, rows: torch.Tensor) -> torch.Tensor:
    """VAS's scaled dot product, mean over heads, of word rows (N, D) with a subset of a photo's cells: (N, P)."""
    vas = predictor.network.vas
    assert vas is not None
    embedding = features.pixel_embeddings[..., ::_STRIDE, ::_STRIDE]
    return vas.similarity(embedding, rows)[0].mean(0)


def _list_values(
    predictor: Predictor, decoded: Decoded, classes: np.ndarray, class_map: np.ndarray | None, count: int
) -> ListValues:
    logits = decoded.logits
    masks = logits.mask_logits[-1]
    segments: list[FoundSegment] = []
    if class_map is not None:
        result = predictor.compose(decoded)
        for segment, query in zip(result.segments, result.queries, strict=True):
            true = class_map[result.segment_map == segment.id]
            pixels = np.bincount(true[true >= 0], minlength=count)
            segments.append(FoundSegment(int(classes[segment.class_id]), query, pixels))
    return ListValues(
        classes,
        logits.class_logits[-1][0].softmax(-1)[:, -1].cpu().numpy(),
        logits.class_logits[-1][0, :, :-1].cpu().numpy(),
        logits.out_of_vocabulary_logits[0, :, :-1].cpu().numpy(),
        F.normalize(logits.class_embeddings[0], dim=-1).cpu().numpy(),
        F.normalize(predictor.network.embed_masks(decoded.state.features, masks)[0], dim=-1).cpu().numpy(),
        logits.valid_masks[0].cpu().numpy(),
        np.packbits((masks[0] > 0).cpu().numpy()),
        (int(masks.shape[-2]), int(masks.shape[-1])),
        tuple(segments),
    )


def unpacked(bits: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Masks (n, h, w) bool from packed bits."""
    cells = grid[0] * grid[1]
    return np.unpackbits(bits).astype(bool)[: len(bits) * 8 // cells * cells].reshape(-1, *grid)
