"""Words that compete without being asked for, so that a tiny vocabulary is not forced on every pixel.

The background's classes stand behind the visitor's own while the network decides; what they win is shown as one segment
"other", because nobody asked for their names.
"""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from eovseg.result import Result, Segment
from eovseg.vocabulary import Vocabulary, WordClass, Words

OTHER = "other"


def with_background(words: Vocabulary, background: Words) -> Vocabulary:
    """`words`, then those classes of `background` that share no name with them (compared without case).

    Notes of a background that is text are kept beside those of `words`.
    """
    added = Vocabulary.coerce(background)
    own = {name.casefold() for name in words.words}
    rest = tuple(c for c in added.classes if own.isdisjoint(name.casefold() for name in c.names))
    told = added.notes if not isinstance(background, Vocabulary) else ()
    return Vocabulary(words.classes + rest, tuple(dict.fromkeys((*words.notes, *told))))


def merge_background(result: Result, words: Vocabulary) -> Result:
    """`result` of `with_background(words, ...)` with the background's segments as one named "other", last.

    `background` of the answer holds what was merged. Background instances are left out: their masks overlap others.
    """
    named = len(words)
    own = [index for index, segment in enumerate(result.segments) if segment.class_id < named]
    hidden = tuple(segment for segment in result.segments if segment.class_id >= named)
    top = max((segment.id for segment in result.segments), default=0)
    number_of = np.zeros(max(top, int(result.segment_map.max(initial=0))) + 1, dtype=np.int32)
    kept: list[Segment] = []
    for index in own:
        kept.append(replace(result.segments[index], id=len(kept) + 1))
        number_of[result.segments[index].id] = len(kept)
    queries = [result.queries[index] for index in own] if result.queries else []
    masks = None
    if result.instance_masks is not None:
        masks = result.instance_masks[own]
        segment_map = masks.painted()
        hidden = ()
    else:
        other = len(kept) + 1
        number_of[[segment.id for segment in hidden]] = other
        segment_map = number_of[result.segment_map]
        if hidden:
            kept.append(_other(hidden, other, named, segment_map))
            if result.queries:
                queries.append(-1)
    return replace(
        result,
        segment_map=segment_map,
        segments=tuple(kept),
        vocabulary=Vocabulary(with_other(words).classes, result.vocabulary.notes),
        instance_masks=masks,
        queries=tuple(queries),
        background=hidden,
    )


def with_other(words: Vocabulary) -> Vocabulary:
    """The classes of a result whose background was merged: the words, then "other"."""
    return Vocabulary((*words.classes, WordClass((OTHER,), False)), words.notes)


def _other(hidden: tuple[Segment, ...], number: int, class_id: int, segment_map: np.ndarray) -> Segment:
    """One segment for all of `hidden`; its scores are theirs, weighted by area."""
    areas = np.array([segment.area for segment in hidden], dtype=np.float64)
    weights = areas / max(areas.sum(), 1.0)

    def mean(name: str) -> float:
        return float(weights @ [getattr(segment, name) for segment in hidden])

    rows, columns = ndimage.find_objects(segment_map, max_label=number)[number - 1]
    return Segment(
        id=number,
        class_id=class_id,
        label=OTHER,
        is_thing=False,
        score=mean("score"),
        in_vocabulary=mean("in_vocabulary"),
        out_of_vocabulary=mean("out_of_vocabulary"),
        area=int(areas.sum()),
        box=(columns.start, rows.start, columns.stop, rows.stop),
    )
