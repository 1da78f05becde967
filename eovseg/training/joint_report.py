"""Evaluation of the joint space on ground-truth masks: on trained words, on unseen words, and for each of its parts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation.classification import Accuracy, classification_accuracy
from eovseg.model.joint_space import JointSpace
from eovseg.training.joint_features import Regions
from eovseg.vocabulary import Vocabulary

Scores = dict[str, float | int]
Encode = Callable[[Sequence[str]], Tensor]
THINGS = 80  # the first classes of COCO panoptic
LARGE = 0.02  # minimum fraction of the photo covered by a large object; 96² of 640 × 480 pixels (COCO) are 0.03


@dataclass(frozen=True)
class UnseenTest:
    """Regions of classes that share no word with the training vocabulary; `labels` (M,) index `words` (n, D)."""

    regions: Regions
    labels: Tensor
    words: Tensor


def similarities(embeddings: Tensor, class_words: Sequence[Tensor]) -> Tensor:
    """Maximum cosine of (M, D) with the words of each of K classes: (M, K)."""
    unit = F.normalize(embeddings, dim=-1)
    return torch.stack([(unit @ words.T).amax(-1) for words in class_words], dim=-1)


def parts(space: JointSpace) -> dict[str, Callable[[Tensor], Tensor]]:
    """The embeddings to compare: untrained ConSE, the learned projection, and their sum, which is used by XS."""
    return {"conse": space.conse, "projection": space.project, "sum": space}


def seen_report(
    space: JointSpace,
    validation: Regions,
    labels: Tensor,
    class_words: Sequence[Tensor],
    short_sides: Sequence[int],
) -> dict[str, dict[str, dict[str, Scores]]]:
    """Accuracy of every part at every size: on all 133 classes, and on (large) things among the 80 thing labels."""
    report: dict[str, dict[str, dict[str, Scores]]] = {}
    labels_only = [words[:1] for words in class_words[:THINGS]]
    for side in short_sides:
        at_side = torch.from_numpy(validation.short_sides == side)
        large = torch.from_numpy(validation.areas >= LARGE)
        report[str(side)] = {}
        for name, embed in parts(space).items():
            things = at_side & (labels < THINGS)
            report[str(side)][name] = {
                "coco_133": _accuracy(embed, validation, at_side, labels, class_words),
                "things_among_80": _accuracy(embed, validation, things, labels, labels_only),
                "large_things_among_80": _accuracy(embed, validation, things & large, labels, labels_only),
            }
    return report


def unseen_test(regions: Regions, folder: PanopticFolder, seen: Vocabulary, encode: Encode) -> UnseenTest:
    """The classes of `folder` that share no word with `seen`; parenthesised remarks are removed from their names."""
    known = {word.lower() for word in seen.words}
    names = {c.id: re.sub(r"\s*\([^)]*\)", "", c.name).strip() for c in folder.categories.values()}
    unseen = [
        c.id for c in folder.categories.values() if c.name.lower() not in known and names[c.id].lower() not in known
    ]
    # COCO classes with other spellings ("scissors", "remote") have ids below 201 and are also seen.
    unseen = [i for i in unseen if i > 200]
    keep = np.isin(regions.category_ids, unseen)
    position = {category: index for index, category in enumerate(unseen)}
    labels = torch.tensor([position[i] for i in regions.category_ids[keep].tolist()])
    return UnseenTest(regions.select(keep), labels, encode([names[i] for i in unseen]))


def unseen_report(
    space: JointSpace, test: UnseenTest, class_words: Sequence[Tensor], short_sides: Sequence[int]
) -> dict[str, dict[str, dict[str, Scores]]]:
    """Accuracy on unseen classes: among those that occur, among all unseen ones, and with the seen ones added."""
    occurring, position = torch.unique(test.labels, return_inverse=True)
    everywhere = list(test.words.split(1))
    report: dict[str, dict[str, dict[str, Scores]]] = {}
    for side in short_sides:
        at_side = torch.from_numpy(test.regions.short_sides == side)
        large = at_side & torch.from_numpy(test.regions.areas >= LARGE)
        report[str(side)] = {}
        for name, embed in parts(space).items():
            among = [everywhere[i] for i in occurring.tolist()]
            report[str(side)][name] = {
                f"among_{len(among)}": _accuracy(embed, test.regions, at_side, position, among),
                f"large_among_{len(among)}": _accuracy(embed, test.regions, large, position, among),
                f"among_{len(everywhere)}": _accuracy(embed, test.regions, at_side, test.labels, everywhere),
                "with_coco_133": _accuracy(embed, test.regions, at_side, test.labels, [*everywhere, *class_words]),
            }
    return report


def choose_held_out(labels: Tensor, count: int, seed: int) -> list[int]:
    """Draws `count` classes for the control experiment from those with 2 to 60 regions in `labels`."""
    regions = torch.bincount(labels).numpy()
    candidates = np.flatnonzero((regions >= 2) & (regions <= 60))
    return sorted(np.random.default_rng(seed).choice(candidates, min(count, len(candidates)), replace=False).tolist())


def held_out_report(
    space: JointSpace, features: Tensor, labels: Tensor, class_words: Sequence[Tensor], hidden: dict[int, str]
) -> dict[str, object]:
    """Accuracy of a space trained without the `hidden` classes, on these and on the others, among all classes."""
    is_seen = np.array([k not in hidden for k in range(len(class_words))])
    report: dict[str, object] = {"classes": list(hidden.values())}
    for name, embed in parts(space).items():
        scores = similarities(embed(features.float()), class_words).numpy()
        result = classification_accuracy(scores, labels.numpy(), is_seen)
        report[name] = {"held_out": _rounded(result.unseen), "trained": _rounded(result.seen)}
    return report


def _accuracy(
    embed: Callable[[Tensor], Tensor], regions: Regions, keep: Tensor, labels: Tensor, class_words: Sequence[Tensor]
) -> Scores:
    scores = similarities(embed(regions.features[keep].float()), class_words).numpy()
    return _rounded(classification_accuracy(scores, labels[keep].numpy(), np.ones(len(class_words), bool)).all)


def _rounded(accuracy: Accuracy) -> Scores:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(accuracy).items()}
