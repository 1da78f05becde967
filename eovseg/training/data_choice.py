"""Selects the training photos, the validation photos and the classes of a run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eovseg import distributed
from eovseg.command_options import read_words
from eovseg.data.classes import TrainingClasses
from eovseg.data.data_sets import data_set, detected, missing_parts, open_data_set, unrecognised
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.data.layouts.layout import Layout
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.sources import TrainingSource, xs_sources
from eovseg.data.split import VALIDATION_FRACTION, validation_photos
from eovseg.errors import ConfigError
from eovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class MeasuredPhotos:
    """Labelled photos on which a run is evaluated, and the vocabulary used for it."""

    folder: LabelledFolder
    photos: Sequence[Photo]
    vocabulary: Vocabulary


@dataclass(frozen=True)
class ChosenData:
    """The sources of a run, its base classes (None: those of the sources) and its validation photos, if any."""

    sources: tuple[TrainingSource, ...]
    classes: TrainingClasses | None = None
    validation: MeasuredPhotos | None = None


def choose_data(
    root: Path,
    dataset: str | None = None,
    split: str | None = None,
    words: str = "",
    validate: Path | None = None,
    hold_out: bool = False,
    also: Path | None = None,
    also_share: float = 0.25,
) -> ChosenData:
    """The data of a run: data set `dataset` in `root`, by default detected; `words` override its classes.

    `validate` is another folder of the same format for validation; `hold_out` uses the data set's validation split, or
    else a fifth of its photos, which is excluded from training. `also` is an additional COCO panoptic folder, e.g. of
    pseudo-labels, with the share `also_share` of a batch; its photos are not used with other labels. Raises
    `ConfigError` and `DataError`.
    """
    chosen = _choose(root, dataset, split, words, validate, hold_out)
    if also is None:
        return chosen
    if not 0 < also_share < 1:
        raise ConfigError(f"--also-share is {also_share}; give a number between 0 and 1.")
    present = sum(source.share for source in chosen.sources)
    further = TrainingSource(also, "panoptic", present * also_share / (1 - also_share), replaces=True)
    return replace(chosen, sources=(*chosen.sources, further))


def _choose(
    root: Path, dataset: str | None, split: str | None, words: str, validate: Path | None, hold_out: bool
) -> ChosenData:
    dataset = dataset or detected(root)
    vocabulary = read_words(words, distributed.is_main()) if words else None
    classes = TrainingClasses(vocabulary.classes) if vocabulary else None
    if dataset is None:
        if not any(source.root.is_dir() for source in xs_sources(root)):
            raise unrecognised(root)
        return ChosenData(xs_sources(root), classes, _xs_validation(root, vocabulary, validate, hold_out))
    layout = data_set(dataset)
    split = split or _training_split(layout, root)
    measured, fraction = None, 0.0
    if validate:
        measured = _whole(open_data_set(dataset, validate, _present(layout, validate, ("val", "all"))), vocabulary)
    elif hold_out and _present(layout, root, ("val",)):
        measured = _whole(open_data_set(dataset, root, "val"), vocabulary)
    elif hold_out:
        folder, fraction = open_data_set(dataset, root, split), VALIDATION_FRACTION
        measured = MeasuredPhotos(folder, validation_photos(folder, fraction), vocabulary or _words_of(folder))
    source = TrainingSource(root, layout.labels, 1.0, fraction, dataset=dataset, split=split)
    return ChosenData((source,), classes, measured)


def _xs_validation(
    root: Path, vocabulary: Vocabulary | None, validate: Path | None, hold_out: bool
) -> MeasuredPhotos | None:
    """XS's validation photos, which its sources always exclude, or those of another panoptic folder."""
    if validate:
        return _whole(PanopticFolder(validate), vocabulary)
    if not hold_out:
        return None
    folder = PanopticFolder(root / "coco_panoptic")
    return MeasuredPhotos(folder, validation_photos(folder), vocabulary or _words_of(folder))


def _whole(folder: LabelledFolder, vocabulary: Vocabulary | None) -> MeasuredPhotos:
    return MeasuredPhotos(folder, folder.photos, vocabulary or _words_of(folder))


def _training_split(layout: Layout, root: Path) -> str:
    """The training split, or "all" for an undivided folder."""
    return _present(layout, root, ("train", "all")) or "train"


def _present(layout: Layout, root: Path, splits: Sequence[str]) -> str | None:
    """The first of `splits` that the data set has and whose files exist."""
    return next((s for s in splits if s in layout.splits and not missing_parts(layout, root, s)), None)


def _words_of(folder: LabelledFolder) -> Vocabulary:
    return folder.table.vocabulary if folder.table else Vocabulary.preset("coco-panoptic-133")
