"""Background classes: they compete for pixels but are not reported, so a small vocabulary is not forced on every pixel.

They are appended to the user's classes for the network; everything they win is merged into one segment, "other".
"""

from dataclasses import replace

import numpy as np
import scipy

from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary, WordClass, Words

OTHER = "other"


def with_background(words: Vocabulary, background: Words) -> Vocabulary:
    """`words`, then those classes of `background` that share no name with them (compared without case).

    If `background` is text, its parsing notes are added to those of `words`.
    """
    added = Vocabulary.coerce(background, apart_from=words)
    own = {name.casefold() for name in words.words}
    rest = tuple(c for c in added.classes if own.isdisjoint(name.casefold() for name in c.names))
    added_notes = added.notes if not isinstance(background, Vocabulary) else ()
    return Vocabulary(words.classes + rest, tuple(dict.fromkeys((*words.notes, *added_notes))))


def merge_background(result: Result, words: Vocabulary) -> Result:
    """Merges the background segments of a `result` of `with_background(words, ...)` into a last segment, "other".

    The merged segments are kept in the returned result's `background`. Instances of background classes are dropped,
    because instance masks may overlap.
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
        vocabulary=Vocabulary(with_other_class(words).classes, result.vocabulary.notes),
        instance_masks=masks,
        queries=tuple(queries),
        background=hidden,
        verdicts=tuple(verdict for verdict in result.verdicts if verdict.word in words.labels),
    )


def with_other_class(words: Vocabulary) -> Vocabulary:
    """The classes of a result with merged background: `words`, then "other"."""
    return Vocabulary((*words.classes, WordClass((OTHER,), False)), words.notes)


def _other(hidden: tuple[Segment, ...], number: int, class_id: int, segment_map: np.ndarray) -> Segment:
    """One segment for all of `hidden`; its scores are their area-weighted means."""
    areas = np.array([segment.area for segment in hidden], dtype=np.float64)
    weights = areas / max(areas.sum(), 1.0)

    def mean(name: str) -> float:
        return float(weights @ [getattr(segment, name) for segment in hidden])

    rows, columns = scipy.ndimage.find_objects(segment_map, max_label=number)[number - 1]
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
