"""Evaluation of a predictor on a folder of labelled photos: all tasks in one pass, one report."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from eovseg import distributed
from eovseg.choices import Task
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Photo
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.average_precision import InstanceAveragePrecision, short_float
from eovseg.evaluation.boundaries import boundary_pixels
from eovseg.evaluation.categories import Truth, classes_of_folder, load_truth, preset_of
from eovseg.evaluation.cost import Cost, measure_cost
from eovseg.evaluation.counts import ClassPixels, ClassSegments, Counts, PhotoCounts, ScoredSegment
from eovseg.evaluation.decoded import DecodedPhoto
from eovseg.evaluation.evidence import PhotoEvidence, photo_evidence
from eovseg.evaluation.panoptic_quality import PanopticQuality
from eovseg.evaluation.regions import Regions
from eovseg.evaluation.report import Report
from eovseg.evaluation.semantic import class_pixels
from eovseg.model.config import ModelConfig
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.settings import Settings
from eovseg.stages import Decoded
from eovseg.vocabulary import Vocabulary

Extra = Literal["true masks", "absent words", "mask recall", "cost", "evidence"]


class Evaluator:
    """Counts for all tasks over the photos of one folder.

    `vocabulary` is the given one with the folder's kinds (thing or stuff); `seen` (K,) bool marks the classes that
    share a word with the training vocabulary. True masks for AP and true classes for mIoU come from the folder's
    segments, which do not overlap, unless the data set has separate files for them.
    Counts of several processes are combined by `merge(other.state())`. With `with_evidence`, the verdict on each
    segment is stored too. Raises `DataError` for categories without a class and for tasks the labels do not support.
    """

    def __init__(
        self,
        folder: LabelledFolder,
        vocabulary: Vocabulary,
        seen: np.ndarray,
        tasks: Sequence[Task] | None = None,
        ignore_unmapped: bool = False,
        with_evidence: bool = False,
    ) -> None:
        self.folder = folder
        self.mapping, self.vocabulary = classes_of_folder(folder, vocabulary, ignore_unmapped)
        self.seen = seen
        self.tasks = _allowed_tasks(folder, tasks)
        self._instance = InstanceAveragePrecision(self.vocabulary.is_thing)
        self._photos: list[PhotoCounts] = []
        self._evidence: list[PhotoEvidence] | None = [] if with_evidence else None

    def truth(self, photo: Photo) -> Truth:
        """A photo's labels, with the classes of the vocabulary."""
        return load_truth(self.folder, photo, self.mapping, self.vocabulary.is_thing)

    def decode(self, predictor: Predictor, photos: Iterable[Photo]) -> Iterator[DecodedPhoto]:
        """Runs the network once for each photo."""
        for photo in photos:
            state = predictor.encode_image(self.folder.load_image(photo))
            yield DecodedPhoto(predictor.decode(state, self.vocabulary), self.truth(photo))

    def compose(self, predictor: Predictor, decoded: Decoded, settings: Settings) -> dict[Task, Result]:
        """The result of each task; instances of all scores, because AP ranks them."""
        results: dict[Task, Result] = {}
        for task in self.tasks:
            used = replace(settings, score_threshold=0.0) if task == "instance" else settings
            results[task] = predictor.compose(decoded, settings=replace(used, task=task))
        return results

    def add(self, photo: str, truth: Truth, results: Mapping[Task, Result], **extras: Any) -> None:
        """Adds one photo: its file name, its truth and the result of each task.

        `extras` are further parts of its `PhotoCounts`.
        """
        counts: dict[str, Any] = dict(extras)
        if "panoptic" in self.tasks:
            counts["panoptic"], counts["segments"] = self._panoptic_counts(photo, truth, results["panoptic"])
            counts["boundaries"] = [boundary_pixels(results["panoptic"].segment_map, truth.segment_map)]
        if "semantic" in self.tasks:
            pixels = class_pixels(_class_map(results["semantic"]), truth.class_map(), len(self.vocabulary))
            counts["semantic"] = [ClassPixels(*row) for row in _rows_with_counts(*pixels)]
        if "instance" in self.tasks:
            self._add_instances(truth, results["instance"])
        self._photos.append(PhotoCounts(photo, **counts))

    def _panoptic_counts(
        self, photo: str, truth: Truth, result: Result
    ) -> tuple[list[ClassSegments], list[ScoredSegment]]:
        quality = PanopticQuality(self.vocabulary.is_thing)
        classes = {segment.id: segment.class_id for segment in result.segments}
        matching = quality.add(result.segment_map, classes, truth.segment_map, truth.classes, truth.crowd)
        if self._evidence is not None:
            self._evidence.append(photo_evidence(photo, truth, result, matching))
        state = quality.state()
        right = {match.predicted_id for match in matching.matches}
        scored = [
            ScoredSegment(short_float(segment.score), segment.id in right)
            for segment in result.segments
            if segment.id not in matching.forgiven
        ]
        return [ClassSegments(*row) for row in _rows_with_counts(state["iou_sum"], *state["counts"])], scored

    def _add_instances(self, truth: Truth, result: Result) -> None:
        true = self._true_instances(truth)
        assert result.instance_masks is not None
        self._instance.add(
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
        masks = truth.masks(things)
        return tuple(
            InstanceMask(mask, truth.classes[i], i in truth.crowd, float(mask.sum()))
            for i, mask in zip(things, masks, strict=True)
        )

    def state(self) -> dict[str, Any]:
        """All counts so far, for another process."""
        return {"photos": list(self._photos), "instance": self._instance.state(), "evidence": self._evidence}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Adds the `state` of an evaluator of the same folder and vocabulary."""
        self._photos += state["photos"]
        self._instance.merge(state["instance"])
        if self._evidence is not None:
            self._evidence += state["evidence"]

    def report(self, config: ModelConfig, settings: Settings, cost: Cost | None = None) -> Report:
        """The report on all photos so far, segmented by a network of `config`."""
        photos, instance = self._photos, None
        if "instance" in self.tasks:
            instance = self._instance.compute()
            matches = self._instance.matches()
            photos = [replace(photo, instance=found) for photo, found in zip(photos, matches, strict=True)]
        return Report.of(
            Counts(tuple(photos), self.vocabulary.is_thing, self.seen),
            data=self.folder.name,
            variant=config.variant,
            vocabulary=preset_of(self.vocabulary) or "own words",
            labels=self.vocabulary.labels,
            settings=settings.model_values(),
            network={"fusion": config.fusion, "vas": config.vas},
            instance=instance,
            cost=cost,
            notes=self.folder.notes,
            evidence=None if self._evidence is None else tuple(self._evidence),
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
    """Evaluates a predictor on photos of a folder, running the network once per photo.

    `tasks` defaults to all tasks that the folder's labels support; missing `settings` are those of the model. `extras`:
    "true masks" scores the classifiers on the true regions, "absent words" decodes each photo twice more, each time
    without half of its own words, "mask recall" counts the true segments that masks match, "cost" measures the first
    photo, and "evidence" stores the verdict on each segment for `eovseg.evaluation.html_report`.
    `progress(done, total)` is called after each photo. Several processes divide the photos, and all return the complete
    report. Raises the errors of `Evaluator`.
    """
    if not photos:
        raise DataError(f"There are no photos of {folder.name} to evaluate on.")
    settings = (settings or Settings()).completed(predictor.config)
    evaluator = Evaluator(
        folder, vocabulary, predictor.seen(vocabulary), tasks, ignore_unmapped, with_evidence="evidence" in extras
    )
    for extra, name, option in (
        ("evidence", "The HTML report", "--html"),
        ("mask recall", "Mask recall", "--mask-recall"),
    ):
        if extra in extras and "panoptic" not in evaluator.tasks:
            lacking = f", but {folder.name} has no panoptic labels; omit {option}."
            possible = f"; add it or omit {option}."
            end = possible if "panoptic" in folder.measures else lacking
            raise ConfigError(f"{name} needs the panoptic task{end}")
    regions = Regions(predictor, evaluator.vocabulary, settings)
    own = distributed.local_part(photos)
    for done, (photo, kept) in enumerate(zip(own, evaluator.decode(predictor, own), strict=True), 1):
        results = evaluator.compose(predictor, kept.decoded, settings)
        rows: dict[str, Any] = {}
        if "true masks" in extras:
            rows["regions"] = regions.names(kept)
        if "mask recall" in extras:
            rows["masks"] = regions.masks(kept, results["panoptic"])
        if "absent words" in extras:
            rows["absent"] = regions.without_words(kept)
        evaluator.add(photo.file_name, kept.truth, results, **rows)
        if progress:
            progress(done, len(own))
    states = distributed.gather(evaluator.state())

    def report() -> Report:
        for state in (states or [])[1:]:
            evaluator.merge(state)
        cost = None
        if "cost" in extras:
            cost = measure_cost(predictor, folder.load_image(photos[0]), evaluator.vocabulary)
        return evaluator.report(predictor.config, settings, cost)

    return distributed.run_on_main(report)


def _allowed_tasks(folder: LabelledFolder, tasks: Sequence[Task] | None) -> tuple[Task, ...]:
    """The given tasks, by default all that the folder's labels support."""
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


def _rows_with_counts(*columns: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """(class, its numbers) for every class with a number above 0; `columns` are (K,)."""
    for index in np.flatnonzero(np.any(columns, axis=0)).tolist():
        yield (index, *(column[index].item() for column in columns))


def _class_map(result: Result) -> np.ndarray:
    """Class index of each pixel of a semantic result (H, W) int64, -1 = no class."""
    labels = np.full(int(result.segment_map.max(initial=0)) + 1, -1, dtype=np.int64)
    for segment in result.segments:
        labels[segment.id] = segment.class_id
    return labels[result.segment_map]
