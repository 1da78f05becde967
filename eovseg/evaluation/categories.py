"""Maps the categories of a data set to the classes of a vocabulary, and loads a photo's truth in these classes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eovseg.assets import asset_path
from eovseg.data.class_table import Category
from eovseg.data.classes import TrainingClasses
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Photo
from eovseg.errors import DataError
from eovseg.presets import preset_names
from eovseg.vocabulary import Vocabulary

SHOWN_CATEGORIES = 12


@dataclass(frozen=True)
class Truth:
    """A photo's labels: `segment_map` (H, W) int, 0 = unlabelled, the class index of each segment id, and crowd ids.

    If the data set has separate labels for them, `semantic` is the (H, W) class index or -1, and `instances` has class
    indices as categories.
    """

    segment_map: np.ndarray
    classes: dict[int, int]
    crowd: frozenset[int]
    semantic: np.ndarray | None = None
    instances: tuple[InstanceMask, ...] | None = None

    def regions(self) -> list[int]:
        """Ids of the segments that are not crowds and have pixels; some may be completely covered by others."""
        present = set(np.unique(self.segment_map).tolist())
        return [i for i in self.classes if i in present and i not in self.crowd]

    def masks(self, ids: Sequence[int]) -> np.ndarray:
        """Masks (m, H, W) bool of the segments `ids`."""
        return self.segment_map[None] == np.array(ids, dtype=self.segment_map.dtype)[:, None, None]

    def class_map(self) -> np.ndarray:
        """Class index of each pixel (H, W) int64, including crowds, -1 = unlabelled."""
        if self.semantic is not None:
            return self.semantic
        ids, places = np.unique(self.segment_map, return_inverse=True)
        labels = np.array([self.classes.get(segment, -1) for segment in ids.tolist()], dtype=np.int64)
        return labels[places].reshape(self.segment_map.shape)


def class_of_category(
    categories: Mapping[int, Category], vocabulary: Vocabulary, ignore_unmapped: bool = False
) -> dict[int, int]:
    """Class index of every category id: by label, by COCO's other spellings, by data set id, by synonym, in this order.

    Case is ignored. Data set ids are used only for a shipped vocabulary, and only if most labels agree with them.
    Synonyms are used only if they belong to one class that is of the same kind (thing or stuff). Raises `DataError`
    with the categories without a class, unless `ignore_unmapped` omits them (their pixels then count as unlabelled).
    """
    labels = _unique_owners((entry.label, index) for index, entry in enumerate(vocabulary.classes))
    synonyms = _unique_owners((name, i) for i, entry in enumerate(vocabulary.classes) for name in entry.names)
    coco = TrainingClasses(vocabulary.classes)
    dataset_ids = _dataset_ids(vocabulary)
    by_label = {i: labels[c.name.lower()] for i, c in categories.items() if c.name.lower() in labels}
    agreeing = sum(dataset_ids.get(i) == index for i, index in by_label.items())
    if 2 * agreeing <= len(by_label):
        dataset_ids = {}  # the folder numbers its categories differently

    mapped, unmapped = {}, []
    for category_id, category in categories.items():
        synonym = synonyms.get(category.name.lower())
        if synonym is not None and vocabulary.classes[synonym].is_thing != category.is_thing:
            synonym = None
        respelled = coco.index(category)
        found = by_label.get(category_id)
        if found is None and respelled < len(vocabulary):
            found = respelled
        if found is None:
            found = dataset_ids.get(category_id, synonym)
        if found is None:
            unmapped.append(category.name)
        else:
            mapped[category_id] = found
    if unmapped and not (ignore_unmapped and mapped):
        names = sorted(unmapped)
        listed = ", ".join(names[:SHOWN_CATEGORIES]) + (", …" if len(names) > SHOWN_CATEGORIES else "")
        raise DataError(  # with `ignore_unmapped`, only if no category has a class
            f"{len(names)} of {len(categories)} categories have no class in the vocabulary: {listed}; "
            "add these words"
            + ("." if ignore_unmapped else ", or treat the categories as unlabelled (--ignore-unmapped).")
        )
    return mapped


def classes_of_folder(
    folder: LabelledFolder, vocabulary: Vocabulary, ignore_unmapped: bool = False
) -> tuple[dict[int, int], Vocabulary]:
    """The class of each category of a folder, and the vocabulary with the folder's kinds (thing or stuff).

    With the own words of a known data set, categories are classes in the same order; for other words, see
    `class_of_category`, which can raise `DataError`.
    """
    if folder.table and folder.table.vocabulary == vocabulary:
        mapping = {i: folder.table.class_index[i] for i in folder.categories}
    else:
        mapping = class_of_category(folder.categories, vocabulary, ignore_unmapped)
    return mapping, with_kinds_of(vocabulary, folder.categories, mapping)


def with_kinds_of(vocabulary: Vocabulary, categories: Mapping[int, Category], mapping: Mapping[int, int]) -> Vocabulary:
    """The vocabulary with the kinds (thing or stuff) of the data set; classes without a category are unchanged."""
    is_thing = vocabulary.is_thing.copy()
    for class_index in set(mapping.values()):
        is_thing[class_index] = any(categories[i].is_thing for i, index in mapping.items() if index == class_index)
    if (is_thing == vocabulary.is_thing).all():
        return vocabulary
    classes = tuple(
        replace(entry, is_thing=bool(thing)) for entry, thing in zip(vocabulary.classes, is_thing, strict=True)
    )
    return Vocabulary(classes, vocabulary.notes)


def load_truth(folder: LabelledFolder, photo: Photo, mapping: Mapping[int, int], is_thing: np.ndarray) -> Truth:
    """The truth of one photo. Unmapped categories become unlabelled, and stuff of one class becomes one segment."""
    segment_map, segments = folder.load_segments(photo)
    classes: dict[int, int] = {}
    stuff: dict[int, int] = {}
    for segment in segments:
        class_index = mapping.get(segment.category_id)
        if class_index is None:
            segment_map = np.where(segment_map == segment.id, 0, segment_map)
        elif not is_thing[class_index] and not segment.is_crowd and class_index in stuff:
            segment_map = np.where(segment_map == segment.id, stuff[class_index], segment_map)
        else:
            classes[segment.id] = class_index
            if not segment.is_crowd:
                stuff[class_index] = segment.id
    crowd = frozenset(segment.id for segment in segments if segment.is_crowd and segment.id in classes)
    class_map, instances = folder.load_class_map(photo), folder.load_instances(photo)
    if class_map is not None:
        lookup = np.full(max(folder.categories) + 2, -1)  # -1 = unlabelled indexes the last entry
        lookup[list(mapping)] = list(mapping.values())
        class_map = lookup[class_map]
    if instances is not None:
        instances = tuple(replace(o, category_id=mapping[o.category_id]) for o in instances if o.category_id in mapping)
    return Truth(segment_map, classes, crowd, class_map, instances)


def preset_of(vocabulary: Vocabulary) -> str | None:
    """Name of the shipped vocabulary with the same words, ignoring thing and stuff, or None."""
    for name in preset_names():
        if [c.names for c in Vocabulary.preset(name).classes] == [c.names for c in vocabulary.classes]:
            return name
    return None


def _unique_owners(names: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Class index by lower-case name, for names that belong to one class only."""
    owners: dict[str, set[int]] = {}
    for name, index in names:
        owners.setdefault(name.lower(), set()).add(index)
    return {name: next(iter(indices)) for name, indices in owners.items() if len(indices) == 1}


def _dataset_ids(vocabulary: Vocabulary) -> dict[int, int]:
    """Class index by the data set's own id, for a shipped vocabulary that contains these ids."""
    name = preset_of(vocabulary)
    if name is None:
        return {}
    document = json.loads(asset_path(f"vocabularies/{name}.json").read_text(encoding="utf-8"))
    ids = {entry.get("dataset_id"): index for index, entry in enumerate(document["classes"])}
    return {dataset_id: index for dataset_id, index in ids.items() if dataset_id is not None}
