"""Losses of the three decoder layers (Sec. 4.1, released criterion), extended to partly labelled photos.

For fully labelled photos, the losses equal the released ones. For others, three rules exclude unlabelled content: mask
losses and costs use only points on `valid` pixels; classes unknown to a photo's source are excluded from its softmax;
and an unmatched query whose predicted mask lies mostly on unlabelled pixels is excluded from the no-object loss.
Normalisers (targets, weights, pixels) are summed over all processes, so that the mean over processes is the loss of the
full batch. Masks, matching and losses use float32 even under autocast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg import distributed
from eovseg.training.config import LossConfig
from eovseg.training.dense import dense_word_loss
from eovseg.training.matcher import Match, match
from eovseg.training.points import PointSource, look_up, sample_at, sample_rows, uncertain_points, uniform_points


class TargetLike(Protocol):
    """Interface of a photo's labels (`eovseg.data.batches.Target`)."""

    labels: Tensor  # (M,) long, class index
    masks: Tensor  # (M, H, W) bool
    valid: Tensor  # (H, W) bool, pixels where mask losses apply
    labelled: Tensor  # (H, W) bool, pixels whose class is known
    known_classes: Tensor  # (K,) bool, classes that compete in this photo
    semantic: Tensor  # (H, W) long, class index or -1


class LogitsLike(Protocol):
    """Interface of the network's output (`eovseg.fast.values.FastLogits`)."""

    mask_logits: tuple[Tensor, ...]  # per layer: (B, Q, h, w)
    class_logits: tuple[Tensor, ...]  # per layer: (B, Q, K + 1), void last
    pixel_embeddings: Tensor | None  # (B, D, h, w)
    word_rows: Tensor | None  # (N + 1, D), void row last
    extra_mask_logits: tuple[Tensor, ...]  # as above for P pilots, empty without pilots
    extra_class_logits: tuple[Tensor, ...]


@dataclass
class _Labels:
    """The batch's targets, padded to the mask grid."""

    labels: list[Tensor]
    masks: list[Tensor]  # (M, H, W) bool
    stacked: Tensor  # (sum of M, H, W) bool
    starts: list[int]  # index of each photo's first mask in `stacked`
    valid: Tensor | None  # (B, H, W) bool; None if all pixels are valid
    unlabelled: Tensor | None  # (B, h, w) float32 at mask stride; None if all pixels are labelled
    unknown: Tensor | None  # (B, K + 1) bool; None if all classes are known
    cells: Tensor | None = None  # `stacked` as fraction of each cell (sum of M, h, w); None if points are sampled
    valid_cells: Tensor | None = None  # (B, h, w) float 0 or 1; None if all cells are valid


class SetCriterion:
    """Weighted losses of a batch: `criterion(logits, targets)` -> {name: scalar}, to be summed.

    Names: `layer0_class`, `layer0_mask`, `layer0_dice` (one set per decoder layer), `pilot0_class`, … and `dense`.
    `draw` supplies random points, by default from torch's global generator; `matches` holds the assignment of each
    layer in the last call.
    """

    def __init__(self, config: LossConfig, draw: PointSource | None = None) -> None:
        self.config = config
        self.draw = draw
        self.matches: list[list[Match]] = []

    def __call__(
        self,
        logits: LogitsLike,
        targets: Sequence[TargetLike],
        class_index: Tensor | None = None,
        pilots: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Losses of one batch.

        class_index (N,) long: the class of each of `word_rows` (needed for the dense loss);
        pilots (B, P) long: the target of each pilot query, -1 for none.
        """
        with torch.autocast(logits.mask_logits[0].device.type, enabled=False):
            return self._losses(logits, targets, class_index, pilots)

    def _losses(
        self, logits: LogitsLike, targets: Sequence[TargetLike], class_index: Tensor | None, pilots: Tensor | None
    ) -> dict[str, Tensor]:
        prepared = _prepare(targets, logits.mask_logits[0].shape[-2:], logits.mask_logits[0].device)
        if not self.config.points:
            _add_cells(prepared)
        losses: dict[str, Tensor] = {}
        self.matches = []
        for layer, (class_logits, mask_logits) in enumerate(zip(logits.class_logits, logits.mask_logits, strict=True)):
            values = self._layer(_known_only(class_logits, prepared), mask_logits.float(), prepared, layer)
            losses |= {f"layer{layer}_{name}": value for name, value in values.items()}
        if pilots is not None:
            matches = _fixed_matches(pilots)
            extra = zip(logits.extra_class_logits, logits.extra_mask_logits, strict=True)
            for layer, (class_logits, mask_logits) in enumerate(extra):
                values = self._pilots(_known_only(class_logits, prepared), mask_logits.float(), prepared, matches)
                losses |= {f"pilot{layer}_{name}": self.config.pilot_weight * value for name, value in values.items()}
        embeddings, rows = logits.pixel_embeddings, logits.word_rows
        if self.config.dense_weight and embeddings is not None and rows is not None and class_index is not None:
            semantic, known = (
                torch.stack([t.semantic for t in targets]),
                torch.stack([t.known_classes for t in targets]),
            )
            dense = dense_word_loss(embeddings, rows, class_index, semantic, known, self.config, self.draw)
            losses["dense"] = self.config.dense_weight * dense
        return losses

    def _layer(self, class_logits: Tensor, mask_logits: Tensor, prepared: _Labels, layer: int) -> dict[str, Tensor]:
        repeats = self.config.repeats[layer] if layer < len(self.config.repeats) else 1
        sampled, truth, weight = self._matching_points(mask_logits.detach(), prepared)
        matches = match(class_logits.detach(), sampled, prepared.labels, truth, weight, self.config, repeats)
        self.matches.append(matches)
        # The number of targets, as released, or of pairs if targets are matched repeatedly.
        count = _pairs(matches) if repeats > 1 else sum(labels.numel() for labels in prepared.labels)
        losses = {"class": self._class_loss(class_logits, mask_logits, prepared, matches)}
        return losses | self._mask_losses(mask_logits, prepared, matches, _fair_count(count, mask_logits.device))

    @torch.no_grad()
    def _matching_points(self, mask_logits: Tensor, prepared: _Labels) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """Mask logits (B, Q, P), true masks (M, P) of each photo and weights (B, P) at the points used for matching."""
        if prepared.cells is not None:
            weight = None if prepared.valid_cells is None else prepared.valid_cells.flatten(1)
            counts = [len(masks) for masks in prepared.masks]
            return mask_logits.flatten(2), list(prepared.cells.flatten(1).split(counts)), weight
        batch = len(mask_logits)
        points = self._draw(mask_logits)([1] * batch, self.config.points)  # (B, P, 2), uniform
        weight = None
        if prepared.valid is not None:
            weight = look_up(prepared.valid, torch.arange(batch, device=points.device), points).float()
        truth = [
            sample_rows(masks, torch.arange(len(masks), device=points.device), own.expand(len(masks), -1, -1))
            for masks, own in zip(prepared.masks, points, strict=True)
        ]
        return sample_at(mask_logits, points), truth, weight

    def _draw(self, like: Tensor) -> PointSource:
        return self.draw or uniform_points(like.device)

    def _class_loss(self, class_logits: Tensor, mask_logits: Tensor, prepared: _Labels, matches: list[Match]) -> Tensor:
        """Cross-entropy over K + 1 classes, weighted mean: 1 for a matched query, `no_object_weight` for the others."""
        void = class_logits.shape[-1] - 1
        wanted = torch.full(class_logits.shape[:2], void, device=class_logits.device)  # (B, Q)
        for index, (queries, columns) in enumerate(matches):
            wanted[index, queries] = prepared.labels[index][columns]
        weights = torch.where(wanted == void, self.config.no_object_weight, 1.0)
        if prepared.unlabelled is not None:
            excused = mostly_unlabelled(mask_logits.detach(), prepared.unlabelled) & (wanted == void)
            weights = weights.masked_fill(excused, 0.0)
        cross_entropy = F.cross_entropy(class_logits.flatten(0, 1), wanted.flatten(), reduction="none")
        total = distributed.divisor_per_process(weights.sum(), self.config.no_object_weight)
        return self.config.class_weight * (cross_entropy * weights.flatten()).sum() / total

    def _pilots(
        self, class_logits: Tensor, mask_logits: Tensor, prepared: _Labels, matches: list[Match]
    ) -> dict[str, Tensor]:
        """The same losses for queries with a known target; pilots without a target have no loss."""
        total = _fair_count(_pairs(matches), mask_logits.device)
        rows, columns = _flat(matches), _flat_labels(matches, prepared.labels)
        cross_entropy = F.cross_entropy(class_logits[rows], columns, reduction="sum") / total
        losses = self._mask_losses(mask_logits, prepared, matches, total)
        return {"class": self.config.class_weight * cross_entropy} | losses

    def _mask_losses(
        self, mask_logits: Tensor, prepared: _Labels, matches: list[Match], total: Tensor
    ) -> dict[str, Tensor]:
        """Sigmoid cross-entropy and dice loss of the matched masks, at mostly uncertain points or at every cell."""
        photos, queries = _flat(matches)
        predicted = mask_logits[photos, queries]  # (n, h, w)
        rows = torch.cat([columns + start for (_, columns), start in zip(matches, prepared.starts, strict=True)])
        if prepared.cells is not None:
            logits, truth = predicted.flatten(1), prepared.cells[rows].flatten(1)
            weight = None if prepared.valid_cells is None else prepared.valid_cells[photos].flatten(1)
        else:
            logits, truth, weight = self._sample(predicted, prepared, photos, rows, [len(q) for q, _ in matches])
        cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, weight, reduction="none").sum(1)
        counted = logits.shape[1] if weight is None else weight.sum(1).clamp(min=1)
        inside = logits.sigmoid()
        if weight is not None:
            inside, truth = inside * weight, truth * weight
        overlap, area = 2 * (inside * truth).sum(1), inside.sum(1) + truth.sum(1)
        dice = (1 - (overlap + 1) / (area + 1)).sum() / total
        mask = (cross_entropy / counted).sum() / total
        return {"mask": self.config.mask_weight * mask, "dice": self.config.dice_weight * dice}

    def _sample(
        self, predicted: Tensor, prepared: _Labels, photos: Tensor, rows: Tensor, counts: list[int]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits, truth and weights (n, P) of matched masks (n, h, w) at mostly uncertain points."""
        valid, config = prepared.valid, self.config
        is_valid = None if valid is None else lambda points: look_up(valid, photos, points)
        points = uncertain_points(
            predicted, is_valid, config.points, config.oversample, config.importance, self._draw(predicted), counts
        )
        with torch.no_grad():
            truth = sample_rows(prepared.stacked, rows, points)  # (n, P)
            weight = None if is_valid is None else is_valid(points).float()
        return sample_at(predicted[:, None], points)[:, 0], truth, weight


def mostly_unlabelled(mask_logits: Tensor, unlabelled: Tensor) -> Tensor:
    """Queries with more than half of their positive pixels in unlabelled areas.

    mask_logits (B, Q, h, w), unlabelled (B, h, w) fraction of each cell -> (B, Q) bool; False for an empty mask.
    """
    positive = (mask_logits > 0).float().flatten(2)  # (B, Q, hw)
    outside = torch.einsum("bqp,bp->bq", positive, unlabelled.flatten(1))
    return outside > 0.5 * positive.sum(2)


def _prepare(targets: Sequence[TargetLike], grid: Sequence[int], device: torch.device) -> _Labels:
    """Targets in the form needed by the losses, padded on the right and bottom to four times the mask grid."""
    height, width = targets[0].valid.shape
    right, bottom = max(0, 4 * grid[1] - width), max(0, 4 * grid[0] - height)
    stacked = F.pad(torch.cat([t.masks for t in targets]).to(device), (0, right, 0, bottom))
    counts = [t.labels.numel() for t in targets]
    valid = F.pad(torch.stack([t.valid for t in targets]).to(device), (0, right, 0, bottom), value=True)
    labelled = F.pad(torch.stack([t.labelled for t in targets]).to(device), (0, right, 0, bottom), value=True)
    known = F.pad(torch.stack([t.known_classes for t in targets]).to(device), (0, 1), value=True)  # (B, K + 1)
    for row, target in zip(known, targets, strict=True):
        row[target.labels.to(device)] = True  # otherwise the loss of the label would be infinite
    unlabelled = None
    if not labelled.all():
        unlabelled = F.avg_pool2d((~labelled).float(), 4)
    return _Labels(
        labels=[t.labels.to(device) for t in targets],
        masks=list(stacked.split(counts)),
        stacked=stacked,
        starts=[sum(counts[:index]) for index in range(len(counts))],
        valid=None if valid.all() else valid,
        unlabelled=unlabelled,
        unknown=None if known.all() else ~known,
    )


def _add_cells(prepared: _Labels) -> None:
    """Adds masks and validity on the mask grid, with cells of 4x4 pixels."""
    prepared.cells = prepared.stacked.float().unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).mean((2, 4))
    if prepared.valid is not None:
        prepared.valid_cells = (F.avg_pool2d(prepared.valid.float(), 4) > 0.5).float()


def _known_only(class_logits: Tensor, prepared: _Labels) -> Tensor:
    """Class logits in float32, with -inf for classes unknown to the photo's source."""
    class_logits = class_logits.float()
    return class_logits if prepared.unknown is None else class_logits.masked_fill(prepared.unknown[:, None], -torch.inf)


def _fair_count(count: int, device: torch.device) -> Tensor:
    """This process's divisor, where `count` is its part of the total."""
    return distributed.divisor_per_process(torch.tensor(float(count), device=device), 1)


def _pairs(matches: list[Match]) -> int:
    """Number of matched queries of the batch."""
    return sum(queries.numel() for queries, _ in matches)


def _fixed_matches(pilots: Tensor) -> list[Match]:
    """Pilot assignments (B, P) as matches."""
    return [(torch.nonzero(row >= 0)[:, 0], row[row >= 0]) for row in pilots]


def _flat(matches: list[Match]) -> tuple[Tensor, Tensor]:
    """(photo index, query index) of all matches of the batch, each (n,)."""
    photos = torch.cat([torch.full_like(queries, index) for index, (queries, _) in enumerate(matches)])
    return photos, torch.cat([queries for queries, _ in matches])


def _flat_labels(matches: list[Match], labels: list[Tensor]) -> Tensor:
    """Class of all matches of the batch (n,), in the order of `_flat`."""
    return torch.cat([labels[index][columns] for index, (_, columns) in enumerate(matches)])
