"""Training batches indexed by step: the batch of step t depends only on the seed and t, so runs resume exactly.

In distributed training, each process builds its share of the batch and knows the vocabulary of the entire batch.
"""

import atexit
import signal
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from eovseg.data.augment import Augmentation, augment
from eovseg.data.classes import TrainingClasses
from eovseg.data.labelled_folder import LabelledFolder
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.sources import UNLABELLED, Sample, TrainingSource, open_sources, xs_sources
from eovseg.errors import ConfigError, EovsegError
from eovseg.vocabulary import WordClass

STRIDE = 4  # masks are predicted at a quarter of the resolution
_ID_COUNT = 65536  # segment maps are uint16

Batch = TypeVar("Batch")


@dataclass
class Target:
    """Ground truth of one photo of (H, W) pixels with M masks; the batch has K classes.

    `labels` (M,) class index of each mask; `masks` (M, H, W); `valid` (H, W) where mask losses apply; `labelled` (H, W)
    where the class is known; `known_classes` (K,) classes that may compete for this photo; `semantic` (H, W) class
    index of each pixel, -1 = unlabelled.
    """

    labels: Tensor
    masks: Tensor
    valid: Tensor
    labelled: Tensor
    known_classes: Tensor
    semantic: Tensor

    def to(self, device: torch.device | str) -> "Target":
        """The same target on another device."""
        return Target(**{name: _move(value, device) for name, value in vars(self).items()})


@dataclass
class TrainingBatch:
    """Photos, targets and vocabulary of one step.

    `pixels` (B, 3, H, W) float32 in 0..255; `class_names` the names of the K classes in this step; `is_thing` (K,).
    """

    pixels: Tensor
    targets: list[Target]
    class_names: list[tuple[str, ...]]
    is_thing: Tensor

    def to(self, device: torch.device | str) -> "TrainingBatch":
        """The same batch on another device."""
        targets = [target.to(device) for target in self.targets]
        return TrainingBatch(_move(self.pixels, device), targets, self.class_names, _move(self.is_thing, device))


def _move(tensor: Any, device: torch.device | str) -> Any:
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True)
class BatchSettings:
    """Size and randomness of batches; `batch_size` is per process, `crop_size` in pixels.

    `keep_absent`: a class of the base vocabulary that no photo of the batch contains is kept with probability p, drawn
    per step from this range ((1, 1) = always the full vocabulary). `keep_present`: the same for the classes that the
    photos contain; segments of a class that is left out belong to none of the step's words. `keep_label`: probability
    that a class's first name is used; its other names are used with a probability drawn per step from `keep_names`.
    `smallest_mask`: masks below this area, in pixels at stride 4, are treated as unlabelled. `unlabelled_is_negative`:
    as in the released code, unlabelled pixels, crowds and padding count as background, and queries that predict
    segments there are penalised.
    `cache_side`: decoded photos are cached with their longer side reduced to at most this, in pixels; 0 disables both
    the resizing and the cache.
    """

    batch_size: int = 12
    crop_size: int = 256
    augmentation: Augmentation = field(default_factory=Augmentation)
    keep_absent: tuple[float, float] = (0.4, 1.0)
    keep_present: tuple[float, float] = (1.0, 1.0)
    keep_label: float = 0.8
    keep_names: tuple[float, float] = (0.0, 1.0)
    smallest_mask: int = 6
    unlabelled_is_negative: bool = False
    cache_side: int = 448

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.crop_size < 32 or (self.cache_side < 32 and self.cache_side != 0):
            raise ConfigError(
                "batch_size must be at least 1, crop_size at least 32, and cache_side at least 32 or 0 (no cache)."
            )
        for name in ("keep_absent", "keep_present", "keep_names"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high <= 1.0:
                raise ConfigError(f"{name} must be a range within [0, 1], got {(low, high)}.")

    @classmethod
    def released(cls) -> "BatchSettings":
        """The released configuration (paper, section 4.1): large-scale jitter, all names of all classes."""
        return cls(
            augmentation=Augmentation.released(),
            keep_absent=(1.0, 1.0),
            keep_label=1.0,
            keep_names=(1.0, 1.0),
            smallest_mask=0,
            unlabelled_is_negative=True,
            cache_side=0,
        )


class TrainingBatches(Dataset[TrainingBatch]):
    """`batches[step]` is the `TrainingBatch` of that step, reproducible from the seed on every machine.

    A step has `processes` · `batch_size` photos; process number `process` builds every `processes`-th of them, so
    together they equal the batch of a single process.
    Raises `DataError` for broken folders and `ConfigError` for invalid settings.
    """

    def __init__(
        self,
        sources: Sequence[TrainingSource],
        settings: BatchSettings | None = None,
        seed: int = 0,
        held_out: Collection[LabelledFolder] = (),
        classes: TrainingClasses | None = None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        if not sources or any(source.share <= 0.0 for source in sources):
            raise ConfigError("Training needs at least one source, each with a share above 0.")
        self.settings = settings or BatchSettings()
        self.seed = seed
        self.process, self.processes = process, processes
        folders = [source.open() for source in sources]
        self.classes = classes or TrainingClasses.of_folders(folders)
        self.sources = open_sources(sources, self.classes, held_out, self.settings.cache_side, folders)
        shares = np.array([opened.source.share for opened in self.sources])
        self._cumulative = np.cumsum(shares / shares.sum())

    def photo_counts(self) -> dict[str, int]:
        """Number of training photos per source, without the validation split."""
        return {source.folder.name: len(source.photos) for source in self.sources}

    def draw(self, step: int) -> list[tuple[int, int]]:
        """The photos of step `step` on all processes as (source, photo) indices, one per slot.

        No photo repeats unless its source has too few.
        """
        rng = self._generator(step, 0)
        size = self.settings.batch_size * self.processes
        # Stratified sampling: evenly spaced points with one random offset keep every batch close to the shares.
        points = (np.arange(size) + rng.random()) / size
        slots = np.minimum(np.searchsorted(self._cumulative, points, side="right"), len(self.sources) - 1)
        drawn: list[tuple[int, int]] = []
        for source, count in zip(*np.unique(slots, return_counts=True), strict=True):
            photos = len(self.sources[source].photos)
            drawn += [(int(source), int(i)) for i in rng.choice(photos, size=int(count), replace=bool(count > photos))]
        return drawn

    def __getitem__(self, step: int) -> TrainingBatch:
        settings = self.settings
        drawn = self.draw(step)
        views = []
        for slot in range(self.process, len(drawn), self.processes):
            rng = self._generator(step, 2 + slot)
            donor = None
            if drawn[1:] and settings.augmentation.paste_probability:
                donor = self._sample(drawn[(slot + int(rng.integers(1, len(drawn)))) % len(drawn)])
            views.append(augment(self._sample(drawn[slot]), donor, settings.crop_size, settings.augmentation, rng))
        smallest = settings.smallest_mask * STRIDE**2
        tables = [LabelTables.of(view, smallest, settings.unlabelled_is_negative) for view in views]
        chosen, names = self._step_vocabulary(drawn, self._generator(step, 1))
        position = np.full(len(self.classes), -1, dtype=np.int64)
        position[chosen] = np.arange(len(chosen))
        pixels = torch.from_numpy(np.stack([view.image for view in views])).permute(0, 3, 1, 2).float()
        targets = [build_target(view, table, position, chosen) for view, table in zip(views, tables, strict=True)]
        is_thing = torch.tensor([self.classes.classes[index].is_thing for index in chosen])
        return TrainingBatch(pixels.contiguous(), targets, names, is_thing)

    def _generator(self, step: int, purpose: int) -> np.random.Generator:
        """Random generator of one step: purpose 0 = photos, 1 = vocabulary, 2 + i = view in slot i."""
        return np.random.default_rng([self.seed, step, purpose])

    def _sample(self, place: tuple[int, int]) -> Sample:
        source, photo = place
        return self.sources[source].sample(photo)

    def _step_vocabulary(
        self, drawn: Sequence[tuple[int, int]], rng: np.random.Generator
    ) -> tuple[np.ndarray, list[tuple[str, ...]]]:
        # Classes of the full photos, even those outside the crop, so that no process needs the views of another.
        present = np.zeros(len(self.classes), dtype=bool)
        for source, photo in drawn:
            present[self.sources[source].classes_of(photo)] = True
        keep = rng.random(len(self.classes)) < rng.uniform(*self.settings.keep_absent)
        keep[self.classes.base_size :] = False
        if self.settings.keep_present != (1.0, 1.0):
            stays = rng.random(len(self.classes)) < rng.uniform(*self.settings.keep_present)
            if (present & stays).any():
                keep &= ~present
                present &= stays
        chosen = np.flatnonzero(present | keep)
        keep_name = rng.uniform(*self.settings.keep_names)
        leading = {self.classes.classes[index].names[0] for index in chosen}
        names = [
            draw_names(self.classes.classes[index], leading, self.settings.keep_label, keep_name, rng)
            for index in chosen
        ]
        return chosen, names


def draw_names(
    word_class: WordClass, leading: Collection[str], keep_label: float, keep_name: float, rng: np.random.Generator
) -> tuple[str, ...]:
    """A random non-empty subset of a class's names, without the first name of any other class of the step."""
    names = [name for i, name in enumerate(word_class.names) if i == 0 or name not in leading]
    chances = np.full(len(names), keep_name)
    chances[0] = keep_label
    kept = tuple(name for name, keep in zip(names, rng.random(len(names)) < chances, strict=True) if keep)
    return kept or (names[int(rng.integers(len(names)))],)


@dataclass
class LabelTables:
    """The meaning of each segment id of a view, as look-up tables: `classes` (65536,) training class or -1, `valid`
    (65536,) bool; `targets` are the ids that become masks; if `complete`, everything else is background."""

    classes: np.ndarray
    valid: np.ndarray
    targets: list[int]
    complete: bool = False

    @classmethod
    def of(cls, view: Sample, smallest_area: int, unlabelled_is_negative: bool = False) -> "LabelTables":
        """Tables of a view. Segments below `smallest_area` pixels become unknown; crowds are labelled, not targets."""
        areas = np.bincount(view.segment_map.ravel(), minlength=_ID_COUNT)
        classes = np.full(_ID_COUNT, -1, dtype=np.int64)
        valid = np.full(_ID_COUNT, unlabelled_is_negative)
        valid[UNLABELLED] = True
        targets = []
        for number, label in view.segments.items():
            if areas[number] < max(smallest_area, 1):
                continue
            classes[number] = label.class_index
            if not label.is_crowd:
                valid[number] = True
                targets.append(number)
        return cls(classes, valid, targets, unlabelled_is_negative)


def build_target(view: Sample, tables: LabelTables, position: np.ndarray, chosen: np.ndarray) -> Target:
    """The target of one view; `position` (C,) maps training classes to those of the step, `chosen` (K,) back."""
    position_of_id = np.where(tables.classes >= 0, position[tables.classes], -1)
    semantic = position_of_id[view.segment_map]
    ids = np.array([number for number in tables.targets if position_of_id[number] >= 0], dtype=np.uint16)
    return Target(
        labels=torch.from_numpy(position_of_id[ids]),
        masks=torch.from_numpy(view.segment_map[None] == ids[:, None, None]),
        valid=torch.from_numpy(tables.valid[view.segment_map]),
        labelled=torch.from_numpy((semantic >= 0) | tables.complete),
        known_classes=torch.from_numpy(view.known[chosen]),
        semantic=torch.from_numpy(semantic),
    )


def xs_batches(data: Path | str, settings: BatchSettings | None = None) -> TrainingBatches:
    """The training batches of XS, read from the folder `data`; the LVIS test photos are excluded from every source."""
    return TrainingBatches(xs_sources(data), settings, held_out=[PanopticFolder(Path(data) / "lvis_val_subset")])


def batch_stream(batches: Dataset[Batch], steps: range, workers: int = 1) -> Iterator[Batch]:
    """The batches of `steps` in order, prefetched by `workers` processes (0 = this one), with identical results.

    Each worker has its own cache of decoded photos (about 0.75 MB per photo), so use few. Raises the `DataError` or
    `OSError` of a photo or label file that a worker cannot read.
    """
    loader = DataLoader(
        _WithErrors(batches),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_as_is,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals_to_the_run,
        generator=torch.Generator(),  # keeps the global random state untouched
    )
    iterator = iter(loader)
    end = getattr(iterator, "_shutdown_workers", lambda: None)
    # Also at exit, because multiprocessing would wait forever for the workers, which ignore its SIGTERM.
    atexit.register(end)
    try:
        for batch in iterator:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        atexit.unregister(end)
        end()


class _WithErrors(Dataset[Batch | Exception]):
    """Returns errors instead of raising them, because the loader would add a worker's traceback to their message."""

    def __init__(self, batches: Dataset[Batch]) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self.batches[step]
        except (EovsegError, OSError) as error:
            return error


def _leave_signals_to_the_run(_worker: int) -> None:
    # Schedulers and launchers signal the entire process group, but the run needs another batch to shut down cleanly.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _as_is(batch: Batch) -> Batch:
    return batch
