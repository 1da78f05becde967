"""Evaluation of a predictor on a folder of labelled photos: one pass, any of the tasks, one report."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from eovseg import distributed
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Photo
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.calibration import absence_curve, reliability
from eovseg.evaluation.categories import Truth, class_of_category, load_truth, preset_of, with_kinds_of
from eovseg.evaluation.classification import ClassificationReport, classification_accuracy
from eovseg.evaluation.cost import measure_cost
from eovseg.evaluation.instances import InstanceAveragePrecision
from eovseg.evaluation.panoptic_quality import PanopticQuality
from eovseg.evaluation.report import Report
from eovseg.evaluation.semantic import ConfusionMatrix
from eovseg.evaluation.true_masks import CLASSIFIERS, masks_on_grid, true_mask_scores, void_probabilities
from eovseg.model.config import Ensemble, ModelConfig
from eovseg.predictor import Decoded, Predictor, Task
from eovseg.result import Result
from eovseg.vocabulary import Vocabulary

Extra = Literal["true masks", "absent words", "cost"]


@dataclass(frozen=True)
class Settings:
    """How the network's scores become segments; none of these needs the network to run again. All lie in 0..1."""

    alpha: float
    beta: float
    ensemble: Ensemble
    score_threshold: float
    overlap_threshold: float
    void_threshold: float | None

    @classmethod
    def of(cls, config: ModelConfig) -> "Settings":
        """The defaults of a model."""
        return cls(
            config.alpha,
            config.beta,
            config.ensemble,
            config.score_threshold,
            config.overlap_threshold,
            config.void_threshold,
        )


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo's logits and its truth: all that another setting needs."""

    decoded: Decoded
    truth: Truth

    def logits_only(self) -> "DecodedPhoto":
        """The same without features and earlier layers, which are most of the memory and which settings do not need."""
        logits, state = self.decoded.logits, self.decoded.state
        nothing = torch.empty(0)
        features = replace(state.features, aggregated=nothing, levels=(), spatial=None, dense=nothing)
        last = replace(logits, mask_logits=logits.mask_logits[-1:], class_logits=logits.class_logits[-1:])
        return DecodedPhoto(replace(self.decoded, logits=last, state=replace(state, features=features)), self.truth)


class Evaluator:
    """Counts of all tasks over any number of photos of one folder.

    `vocabulary` is the given one with thing or stuff as the folder has it; `seen` (K,) bool marks the classes that
    share a word with the training vocabulary. AP's true masks are the folder's segments, which do not overlap, and
    mIoU's classes theirs, unless the data set has files of its own for them. The own words of a known data set are its
    classes by place; other words by `class_of_category`.
    Counts of several processes are joined with `merge(other.state())`.
    Raises `DataError` for categories without a class and for tasks that the folder's labels do not allow.
    """

    def __init__(
        self,
        folder: LabelledFolder,
        vocabulary: Vocabulary,
        seen: np.ndarray,
        tasks: Sequence[Task] | None = None,
        ignore_unmapped: bool = False,
    ) -> None:
        self.folder = folder
        if folder.table and folder.table.vocabulary == vocabulary:
            self.mapping = {i: folder.table.class_index[i] for i in folder.categories}
        else:
            self.mapping = class_of_category(folder.categories, vocabulary, ignore_unmapped)
        self.vocabulary = with_kinds_of(vocabulary, folder.categories, self.mapping)
        self.seen = seen
        self.tasks = _allowed_tasks(folder, tasks)
        self.panoptic = PanopticQuality(self.vocabulary.is_thing)
        self.semantic = ConfusionMatrix(len(self.vocabulary))
        self.instance = InstanceAveragePrecision(self.vocabulary.is_thing)
        self._confidence: list[float] = []
        self._correct: list[bool] = []
        self._photos = 0

    def truth(self, photo: Photo) -> Truth:
        """A photo's labels in the classes of the vocabulary."""
        return load_truth(self.folder, photo, self.mapping, self.vocabulary.is_thing)

    def decode(self, predictor: Predictor, photos: Iterable[Photo]) -> Iterator[DecodedPhoto]:
        """Run the network once on each photo."""
        for photo in photos:
            state = predictor.encode_image(self.folder.load_image(photo))
            yield DecodedPhoto(predictor.decode(state, self.vocabulary), self.truth(photo))

    def compose(self, predictor: Predictor, decoded: Decoded, settings: Settings) -> dict[Task, Result]:
        """The result of each task; instances whatever their score, because AP ranks them."""
        results: dict[Task, Result] = {}
        for task in self.tasks:
            used = replace(settings, score_threshold=0.0) if task == "instance" else settings
            results[task] = predictor.compose(decoded, task=task, **asdict(used))
        return results

    def add(self, truth: Truth, results: Mapping[Task, Result]) -> None:
        """Count one photo: its truth and the result of each task."""
        self._photos += 1
        if "panoptic" in self.tasks:
            result = results["panoptic"]
            classes = {segment.id: segment.class_id for segment in result.segments}
            matching = self.panoptic.add(result.segment_map, classes, truth.segment_map, truth.classes, truth.crowd)
            right = {match.predicted_id for match in matching.matches}
            for segment in result.segments:
                if segment.id not in matching.forgiven:
                    self._confidence.append(segment.score)
                    self._correct.append(segment.id in right)
        if "semantic" in self.tasks:
            self.semantic.add(_class_map(results["semantic"]), truth.class_map())
        if "instance" in self.tasks:
            result, true = results["instance"], self._true_instances(truth)
            assert result.instance_masks is not None
            self.instance.add(
                result.instance_masks,
                [segment.class_id for segment in result.segments],
                [segment.score for segment in result.segments],
                np.array([one.mask for one in true], dtype=bool).reshape(-1, *truth.segment_map.shape),
                [one.category_id for one in true],
                [place for place, one in enumerate(true) if one.is_crowd],
                [one.area for one in true],
            )

    def _true_instances(self, truth: Truth) -> tuple[InstanceMask, ...]:
        if truth.instances is not None:
            return truth.instances
        things = [i for i, class_index in truth.classes.items() if self.vocabulary.is_thing[class_index]]
        masks = _masks(truth, things)
        return tuple(
            InstanceMask(mask, truth.classes[i], i in truth.crowd, float(mask.sum()))
            for i, mask in zip(things, masks, strict=True)
        )

    def state(self) -> dict[str, Any]:
        """All counts so far, to send to another process."""
        return {
            "panoptic": self.panoptic.state(),
            "semantic": self.semantic.state(),
            "instance": self.instance.state(),
            "confidence": list(self._confidence),
            "correct": list(self._correct),
            "photos": self._photos,
        }

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the counts that an evaluator of the same folder and vocabulary gave with `state`."""
        self.panoptic.merge(state["panoptic"])
        self.semantic.merge(state["semantic"])
        self.instance.merge(state["instance"])
        self._confidence += state["confidence"]
        self._correct += state["correct"]
        self._photos += state["photos"]

    def report(self, variant: str, settings: Settings, **parts: Any) -> Report:
        """The report of everything added; `parts` are further fields of `Report`."""
        panoptic = "panoptic" in self.tasks
        return Report(
            data=self.folder.name,
            photos=self._photos,
            variant=variant,
            vocabulary=preset_of(self.vocabulary) or "own words",
            labels=self.vocabulary.labels,
            is_thing=self.vocabulary.is_thing,
            seen=self.seen,
            settings=asdict(settings),
            panoptic=self.panoptic.compute(self.seen) if panoptic else None,
            semantic=self.semantic.compute(self.seen) if "semantic" in self.tasks else None,
            instance=self.instance.compute() if "instance" in self.tasks else None,
            reliability=reliability(np.array(self._confidence), np.array(self._correct)) if panoptic else None,
            notes=self.folder.notes,
            **parts,
        )


def evaluate(
    predictor: Predictor,
    folder: LabelledFolder,
    photos: Sequence[Photo],
    vocabulary: Vocabulary,
    tasks: Sequence[Task] | None = None,
    *,
    settings: Settings | None = None,
    extras: Sequence[Extra] = (),
    ignore_unmapped: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Evaluate a predictor on photos of a folder, the network running once a photo.

    `tasks` defaults to all that the folder's labels allow, `settings` to the model's. `extras`: "true masks" scores the
    classifiers on the true regions, "absent words" decodes each photo twice more with half of its own words left out,
    "cost" times the first photo. `progress(done, total)` is called after each photo. Several processes share the photos
    and all return the report of the whole. Raises as `Evaluator` does.
    """
    if not photos:
        raise DataError(f"There is no photo of {folder.name} to evaluate on.")
    settings = settings or Settings.of(predictor.config)
    evaluator = Evaluator(folder, vocabulary, predictor.seen(vocabulary), tasks, ignore_unmapped)
    regions = _Regions(predictor, evaluator, settings)
    own = distributed.own(photos)
    for done, kept in enumerate(evaluator.decode(predictor, own), 1):
        evaluator.add(kept.truth, evaluator.compose(predictor, kept.decoded, settings))
        if "true masks" in extras:
            regions.name_true_masks(kept)
        if "absent words" in extras:
            regions.leave_words_out(kept)
        if progress:
            progress(done, len(own))
    states = distributed.gather((evaluator.state(), regions.state()))

    def report() -> Report:
        for counts, names in (states or [])[1:]:
            evaluator.merge(counts)
            regions.merge(names)
        absent = "absent words" in extras
        cost = None
        if "cost" in extras:
            cost = measure_cost(predictor, folder.load_image(photos[0]), evaluator.vocabulary)
        return evaluator.report(
            predictor.config.variant,
            settings,
            classification=regions.classification(),
            absence=absence_curve(np.array(regions.void), np.array(regions.absent)) if absent else None,
            cost=cost,
        )

    return distributed.from_main(report)


class _Regions:
    """What the network says about the true regions of the photos; crowds are left out."""

    def __init__(self, predictor: Predictor, evaluator: Evaluator, settings: Settings) -> None:
        self.predictor, self.evaluator, self.settings = predictor, evaluator, settings
        self.void: list[float] = []
        self.absent: list[bool] = []
        self._scores: dict[str, list[np.ndarray]] = {name: [] for name in CLASSIFIERS}
        self._labels: list[int] = []

    def name_true_masks(self, kept: DecodedPhoto) -> None:
        """Score every class on every true mask of a photo."""
        segments, grid = self._true_masks(kept)
        if not segments:
            return
        scores = true_mask_scores(
            self.predictor, kept.decoded, grid, self.settings.alpha, self.settings.beta, self.settings.ensemble
        )
        for name, rows in scores.items():
            self._scores[name].append(rows)
        self._labels += [kept.truth.classes[i] for i in segments]

    def leave_words_out(self, kept: DecodedPhoto) -> None:
        """Decode with every other one of the photo's own classes left out, then with the rest of them left out."""
        segments, grid = self._true_masks(kept)
        present = sorted({kept.truth.classes[i] for i in segments})
        for left_out in (set(present[::2]), set(present[1::2])):
            words = tuple(c for i, c in enumerate(self.evaluator.vocabulary.classes) if i not in left_out)
            if not words:
                continue
            decoded = self.predictor.decode(kept.decoded.state, Vocabulary(words))
            self.void += void_probabilities(decoded.logits, grid).tolist()
            self.absent += [kept.truth.classes[i] in left_out for i in segments]

    def state(self) -> dict[str, Any]:
        """All of it so far, to send to another process."""
        return {"void": self.void, "absent": self.absent, "scores": self._scores, "labels": self._labels}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add what the regions of further photos gave with `state`."""
        self.void += state["void"]
        self.absent += state["absent"]
        self._labels += state["labels"]
        for name, rows in state["scores"].items():
            self._scores[name] += rows

    def classification(self) -> dict[str, ClassificationReport]:
        """Accuracy of each classifier; empty when no true mask was scored."""
        if not self._labels:
            return {}
        labels = np.array(self._labels)
        return {
            name: classification_accuracy(np.concatenate(rows), labels, self.evaluator.seen)
            for name, rows in self._scores.items()
        }

    def _true_masks(self, kept: DecodedPhoto) -> tuple[list[int], Tensor]:
        present = set(np.unique(kept.truth.segment_map).tolist())  # a listed segment may be covered by others
        segments = [i for i in kept.truth.classes if i in present and i not in kept.truth.crowd]
        return segments, masks_on_grid(_masks(kept.truth, segments), kept.decoded.state.features)


def _allowed_tasks(folder: LabelledFolder, tasks: Sequence[Task] | None) -> tuple[Task, ...]:
    """The tasks asked for, or all that the folder's labels allow."""
    if tasks is None:
        return folder.measures
    for task in tasks:
        if task not in get_args(Task):
            raise ConfigError(f"There is no task {task!r}; choose from {', '.join(get_args(Task))}.")
        if task not in folder.measures:
            kind = "classes, not instances" if folder.semantic_only else "instances only"
            allowed = ", ".join(folder.measures)
            raise DataError(f"{folder.name} labels {kind}; only the {allowed} task can be evaluated.")
    return tuple(tasks)


def _masks(truth: Truth, segments: Sequence[int]) -> np.ndarray:
    """Masks of some segments, (m, H, W) bool."""
    return truth.segment_map[None] == np.array(segments, dtype=truth.segment_map.dtype)[:, None, None]


def _class_map(result: Result) -> np.ndarray:
    """Class index of each pixel of a semantic result, (H, W) int64, -1 = nothing."""
    labels = np.full(int(result.segment_map.max(initial=0)) + 1, -1, dtype=np.int64)
    for segment in result.segments:
        labels[segment.id] = segment.class_id
    return labels[result.segment_map]
