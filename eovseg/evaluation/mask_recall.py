"""Mask recall: the share of true segments that a mask matches, before and after composition into one map.

A mask matches a true segment if their IoU is above 0.5 at the photo's own size, as for PQ; unlabelled pixels of the
truth are ignored, and crowds do not count as segments. A kernel's mask consists of the pixels with a logit above 0, and
its name is the best word of the ensemble, ignoring void.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from eovseg.composition.geometry import MaskGeometry
from eovseg.evaluation.categories import Truth
from eovseg.evaluation.counts import RegionMasks
from eovseg.evaluation.panoptic_quality import shared_pixels
from eovseg.result import Result
from eovseg.stages import Decoded

LARGE, MEDIUM = 0.03, 0.005  # share of the photo
GROUPS = ("stuff over 3 %", "things over 3 %", "things 0.5 to 3 %", "smaller")
SHARES = {
    "kernel": "masks found",
    "named_kernel": "masks found and named",
    "segment": "left in the result",
    "named_segment": "left in the result and named",
}


@dataclass(frozen=True)
class MaskRecall:
    """Shares in [0, 1] of the `segments` true segments that are matched; NaN if there are none.

    `kernel`: by any kernel's mask; `named_kernel`: by that of a kernel with the right name; `segment` and
    `named_segment`: by a segment of the panoptic result, with any name and with the right one.
    """

    segments: int
    kernel: float
    named_kernel: float
    segment: float
    named_segment: float


def mask_recall(rows: np.ndarray) -> dict[str, MaskRecall]:
    """Recall over "all" and of each size group, from rows (n, 5) of `RegionMasks`."""
    found = {}
    for name, chosen in size_groups(rows).items():
        shares = rows[chosen, 1:].mean(axis=0).tolist() if chosen.any() else [np.nan] * len(SHARES)
        found[name] = MaskRecall(int(chosen.sum()), *shares)
    return found


def size_groups(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Which of the rows (n, 5) of `RegionMasks` belong to "all" and to each size group, (n,) bool."""
    return {"all": np.ones(len(rows), dtype=bool)} | {name: rows[:, 0] == place for place, name in enumerate(GROUPS)}


def share_name(share: str, group: str) -> str:
    """The name in a report of one of `SHARES` for a size group."""
    return SHARES[share] if group == "all" else f"{SHARES[share]}, {group}"


def region_masks(
    decoded: Decoded, log_probabilities: torch.Tensor, truth: Truth, result: Result, is_thing: np.ndarray
) -> list[RegionMasks]:
    """Which true segments of a photo are matched by its kernels and by its panoptic `result`.

    `log_probabilities` (Q, K+1) are those of the kernels, void last, from `Predictor.log_probabilities`.
    """
    ids = truth.regions()
    if not ids:
        return []
    shared, kernel_area, true_area = _kernel_overlap(decoded, truth.segment_map, ids)
    matched = 2 * shared > kernel_area[None] + true_area[:, None] - shared  # IoU above 0.5, without rounding
    names = log_probabilities[:, :-1].argmax(-1).cpu().numpy()
    classes = np.array([truth.classes[i] for i in ids])
    named = matched & (names[None] == classes[:, None])
    found = _found_by_segments(result, truth, ids)
    share = true_area / truth.segment_map.size
    return [
        RegionMasks(
            _group(bool(is_thing[classes[k]]), share[k]), bool(matched[k].any()), bool(named[k].any()), *found[k]
        )
        for k in range(len(ids))
    ]


def _group(is_thing: bool, share: float) -> int:
    if share > LARGE:
        return 1 if is_thing else 0
    return 2 if is_thing and share > MEDIUM else 3


def _kernel_overlap(
    decoded: Decoded, true_map: np.ndarray, ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels that each of M true segments shares with each kernel (M, Q), and both areas, (Q,) and (M,).

    The masks are upsampled one band of rows at a time.
    """
    masks, features = decoded.logits.mask_logits[-1][0], decoded.state.features
    masks = masks.to(torch.promote_types(masks.dtype, torch.float32))
    geometry = MaskGeometry(features.padded_size, features.image_size, (true_map.shape[0], true_map.shape[1]))
    numbers = torch.tensor(ids, device=masks.device)
    truth = torch.from_numpy(np.ascontiguousarray(true_map)).to(masks.device)
    shared = torch.zeros((len(ids), len(masks)), dtype=torch.float64, device=masks.device)
    kernel_area, true_area = shared.new_zeros(len(masks)), shared.new_zeros(len(ids))
    with torch.inference_mode():
        for rows, band in geometry.bands(masks):
            labels = truth[rows].flatten()
            hard = (band > 0).flatten(1)[:, labels != 0].float()  # (Q, labelled pixels)
            own = (labels[labels != 0][None] == numbers[:, None]).float()  # (M, labelled pixels)
            shared += own @ hard.T
            kernel_area += hard.sum(1)
            true_area += own.sum(1)
    return shared.cpu().numpy(), kernel_area.cpu().numpy(), true_area.cpu().numpy()


def _found_by_segments(result: Result, truth: Truth, ids: Sequence[int]) -> list[tuple[bool, bool]]:
    """For each true segment, whether a segment of the result matches it, and whether one of its own class does."""
    pairs = shared_pixels(result.segment_map, truth.segment_map)
    classes = {segment.id: segment.class_id for segment in result.segments}
    true_area: dict[int, int] = {}
    predicted_area: dict[int, int] = {}
    for (true_id, predicted_id), pixels in pairs.items():
        true_area[true_id] = true_area.get(true_id, 0) + pixels
        if true_id:
            predicted_area[predicted_id] = predicted_area.get(predicted_id, 0) + pixels
    by: dict[int, list[int]] = {i: [] for i in ids}
    for (true_id, predicted_id), pixels in pairs.items():
        union = true_area[true_id] + predicted_area.get(predicted_id, 0) - pixels
        if true_id in by and predicted_id and 2 * pixels > union:
            by[true_id].append(classes[predicted_id])
    return [(bool(by[i]), truth.classes[i] in by[i]) for i in ids]
