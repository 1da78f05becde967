"""Corrections of a result by hand: segments are renamed, merged, deleted, or split into their connected parts.

Each function returns a new `Result`; `eovseg.result.Result` has them as methods. Scores are not changed: they remain
those of the network for the original names. `Result.corrections` lists the corrections.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy

from eovseg.errors import EovsegError
from eovseg.instance_masks import InstanceMasks, MaskCrop
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.typed_settings import is_integer
from eovseg.vocabulary import Vocabulary

_KIND = re.compile(r":\s*(thing|stuff)\s*$", re.IGNORECASE)
_TOUCHING = np.ones((3, 3), dtype=bool)  # pixels that meet at a corner belong together


def rename(result: Result, id: int, name: str) -> Result:
    """See `Result.rename`."""
    place = result.index_of(id)
    segment = result.segments[place]
    vocabulary, class_id = _class_named(result.vocabulary, name, segment.is_thing)
    entry = vocabulary.classes[class_id]
    renamed = replace(segment, class_id=class_id, label=entry.label, is_thing=entry.is_thing)
    segments = [*result.segments[:place], renamed, *result.segments[place + 1 :]]
    done = _changed(result, segments, result.queries, f"rename({id}, {json.dumps(name, ensure_ascii=False)})")
    done = replace(done, vocabulary=vocabulary)
    if entry.is_thing and result.task != "semantic":
        return done
    # Stuff has one segment per class, and so has every class of a semantic result.
    same = [other.id for other in segments if other.class_id == class_id and other.id != id]
    return _merged(done, id, same) if same else done


def merge(result: Result, id: int, *others: int) -> Result:
    """See `Result.merge`."""
    if not others or id in others or len(set(others)) < len(others):
        raise EovsegError(f"Give segment {id} and at least one other segment to merge, without repeats.")
    return replace(
        _merged(result, id, others),
        corrections=(*result.corrections, f"merge({', '.join(map(str, (id, *others)))})"),
    )


def delete(result: Result, id: int) -> Result:
    """See `Result.delete`."""
    place = result.index_of(id)
    queries = result.queries[:place] + result.queries[place + 1 :]
    segments = [*result.segments[:place], *result.segments[place + 1 :]]
    done = _changed(result, segments, queries, f"delete({id})")
    if result.instance_masks is not None:
        kept = [index for index in range(len(result.segments)) if index != place]
        return _painted(done, result.instance_masks[kept])
    return replace(done, segment_map=np.where(result.segment_map == id, 0, result.segment_map))


def split(result: Result, id: int, x: int, y: int) -> Result:
    """See `Result.split`."""
    place = result.index_of(id)
    mask, (height, width) = result.mask(place), result.segment_map.shape
    if not (is_integer(x) and is_integer(y)):
        raise EovsegError(f"A pixel is given by two integers x and y, not by {x!r} and {y!r}.")
    if not (0 <= x < width and 0 <= y < height and mask[y, x]):
        raise EovsegError(f"The pixel ({x}, {y}) is not in segment {id}; give a pixel of the part to split off.")
    parts, count = scipy.ndimage.label(mask, _TOUCHING)
    if count < 2:
        raise EovsegError(f"Segment {id} ({result.names[place]}) is in one piece, so no part can be split off.")
    part = parts == parts[y, x]
    number = 1 + max(segment.id for segment in result.segments)
    both = [
        _measured(result.segments[place], mask & ~part),
        _measured(replace(result.segments[place], id=number), part),
    ]
    if result.background and place == len(result.segments) - 1:
        both.reverse()  # "other" stays last
    segments = [*result.segments[:place], *both, *result.segments[place + 1 :]]
    queries = (*result.queries[: place + 1], *result.queries[place:])
    done = _changed(result, segments, queries if result.queries else (), f"split({id}, {x}, {y})")
    done = replace(done, background=result.background)
    if result.instance_masks is not None:
        crops = list(result.instance_masks.crops)
        crops[place : place + 1] = [MaskCrop.of(mask & ~part), MaskCrop.of(part)]
        return _painted(done, InstanceMasks((height, width), crops))
    return replace(done, segment_map=np.where(part, np.int32(number), result.segment_map))


def _merged(result: Result, id: int, others: Sequence[int]) -> Result:
    place, gone = result.index_of(id), {result.index_of(other) for other in others}
    mask = result.mask(place) | np.any([result.mask(index) for index in gone], axis=0)
    kept = [index for index in range(len(result.segments)) if index not in gone]
    segments = [_measured(s, mask) if s.id == id else s for s in (result.segments[index] for index in kept)]
    queries = tuple(result.queries[index] for index in kept) if result.queries else ()
    done = replace(_changed(result, segments, queries), segments=tuple(segments))
    if result.instance_masks is not None:
        crops = [MaskCrop.of(mask) if index == place else result.instance_masks.crops[index] for index in kept]
        return _painted(done, InstanceMasks(result.instance_masks.size, crops))
    return replace(done, segment_map=np.where(mask, np.int32(id), result.segment_map))


def _changed(result: Result, segments: Sequence[Segment], queries: Sequence[int], call: str = "") -> Result:
    """`result` with other segments, whose masks may still need an update; `call` is the entry for `corrections`."""
    # "other" keeps its background segments as long as it is last and unchanged
    background = result.background if segments and segments[-1] is result.segments[-1] else ()
    masks = result.instance_masks if len(segments) == len(result.segments) else None
    return replace(
        result,
        segments=tuple(segments),
        queries=tuple(queries),
        instance_masks=masks,
        background=background,
        corrections=(*result.corrections, call) if call else result.corrections,
    )


def _painted(result: Result, masks: InstanceMasks) -> Result:
    """An instance result with these masks, one per segment, and the segment map painted from them."""
    ids = np.array([0, *(segment.id for segment in result.segments)], dtype=np.int32)
    return replace(result, instance_masks=masks, segment_map=ids[masks.painted()])


def _measured(segment: Segment, mask: np.ndarray) -> Segment:
    """`segment` with the area and box of `mask` (H, W) bool, which is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return replace(segment, area=int(mask.sum()), box=box)


def _class_named(vocabulary: Vocabulary, name: str, is_thing: bool) -> tuple[Vocabulary, int]:
    """The vocabulary, with the class `name` if it is new, and its index; `name` or else `is_thing` sets its kind."""
    if not isinstance(name, str):
        raise EovsegError(f"Give the new name of the segment as text, not {name!r}.")
    if not name.strip():
        raise EovsegError("The new name of the segment is empty; give a word, such as taxi.")
    given = Vocabulary.parse(name).classes
    if len(given) != 1:
        raise EovsegError(f"A segment has one name, but {len(given)} were given; leave out the semicolons.")
    known = {word.casefold(): index for index in range(len(vocabulary)) for word in vocabulary.classes[index].names}
    index = known.get(given[0].label.casefold())
    if index is not None:
        return vocabulary, index
    added = given[0] if _KIND.search(name) else replace(given[0], is_thing=is_thing)
    return Vocabulary((*vocabulary.classes, added), vocabulary.notes), len(vocabulary)
